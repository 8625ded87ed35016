"""The weights of trained networks, read from their packs' checkpoints.

Axes: n variant, V variant of a pack, D weight.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aelle.errors import in_one_line
from aelle.runs.checkpoint import read_checkpoint
from aelle.runs.reader import DamagedRunError
from aelle.sweep.table import SweepTable

NAMES = {
    "network.weight_hh_l0": "recurrent weights",
    "network.w": "readout weights (the only ones that FORCE trains)",
}
"""The weights that are read, by their name in the checkpoint."""

MAX_NETWORKS = 600
"""LSTMs of 512 units have a million recurrent weights each, and the cost of the PCA grows with n² D."""

BLOCK = 4096
"""Weights of each network that are in memory at once: 19 MiB of 600 networks in double precision."""


class PackWeights(NamedTuple):
    """Memory-mapped weights of a pack, and which of them are read: `members` of the pack, and their `rows` in the
    sweep's table."""

    weights: Float[Tensor, "V D"]
    rows: Int[np.ndarray, "n"]
    members: Int[np.ndarray, "n"]


@dataclass(frozen=True)
class TrainedWeights:
    """`what` the weights are, their `shape`, how many networks of the sweep are `alike` in it, and the packs read."""

    what: str
    shape: tuple[int, ...]
    alike: int
    packs: list[PackWeights]

    @property
    def rows(self) -> Int[np.ndarray, "n"]:
        """The networks' rows in the sweep's table."""
        return np.concatenate([pack.rows for pack in self.packs])

    def blocks(self) -> Iterator[Float[np.ndarray, "n _"]]:
        """Blocks of columns of the weights [n, D], in double precision."""
        for start in range(0, self.packs[0].weights.shape[1], BLOCK):
            columns = [pack.weights[:, start : start + BLOCK][pack.members] for pack in self.packs]
            yield torch.cat(columns).double().numpy()


def load_weights(folder: Path, sweep: SweepTable) -> tuple[TrainedWeights | None, list[str]]:
    """The weights of at most `MAX_NETWORKS` networks of one shape, or None where no two can be read; and a line for
    each pack that could not be read.

    The shape is the one with the most networks of the rarer class, then the most networks.
    """
    by_shape: dict[tuple, list[PackWeights]] = {}
    problems = []
    for run, variants in sweep.variants.groupby("run"):
        rows, members = variants.index.to_numpy(), variants["row"].to_numpy()
        try:
            what, weights = _read(folder / str(run), sweep.epochs, members, variants["number"].tolist())
        except DamagedRunError as error:
            problems.append(f"{run}: {error}")
            continue
        by_shape.setdefault((what, *weights.shape[1:]), []).append(PackWeights(weights.flatten(1), rows, members))
    if not any(len(packs) > 1 or len(packs[0].rows) > 1 for packs in by_shape.values()):
        return None, [*problems, "no two networks of the same shape could be read"]
    what, *shape = max(by_shape, key=lambda key: _both_classes(sweep.low_error, by_shape[key]))
    packs = by_shape[(what, *shape)]
    alike = sum(len(pack.rows) for pack in packs)
    return TrainedWeights(what, tuple(shape), alike, _some(packs, alike)), problems


def _both_classes(low: Bool[np.ndarray, "_"], packs: list[PackWeights]) -> tuple[int, int]:
    """The number of networks of the rarer class, and of both."""
    classes = np.concatenate([low[pack.rows] for pack in packs])
    return int(min(classes.sum(), (~classes).sum())), len(classes)


def _some(packs: list[PackWeights], n: int) -> list[PackWeights]:
    """At most `MAX_NETWORKS` of their n variants, spread evenly over the sweep."""
    rows = np.sort(np.concatenate([pack.rows for pack in packs]))
    chosen = rows[np.linspace(0, n - 1, min(n, MAX_NETWORKS)).round().astype(int)]
    masks = [(pack, np.isin(pack.rows, chosen)) for pack in packs]
    return [PackWeights(pack.weights, pack.rows[take], pack.members[take]) for pack, take in masks if take.any()]


def _read(folder: Path, epoch: int, members: Int[np.ndarray, "n"], numbers: list[int]) -> tuple[str, Tensor]:
    """What the weights are, and the weights [V, ...] after that epoch, memory-mapped. Raises DamagedRunError, also
    unless the checkpoint has these variants there."""
    epochs, variants, contents = read_checkpoint(folder, "cpu")
    try:
        if epochs != epoch:
            raise ValueError(f"it is of epoch {epochs}, not {epoch}")
        if int(members.max()) >= len(variants) or [variants[member] for member in members] != numbers:
            raise ValueError("it is of other variants than variants.parquet")
        state = contents["state_dict"]
        name = next((name for name in NAMES if name in state), None)
        if name is None:
            raise ValueError(f"it contains neither {' nor '.join(NAMES)}")
        weights = state[name]
        if weights.ndim < 2 or len(weights) != len(variants) or not weights.is_floating_point():
            raise ValueError(
                f"{name} is of shape {list(weights.shape)}, and has no weights of {len(variants)} networks"
            )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedRunError(f"checkpoint.ckpt: {in_one_line(error)}") from error
    return NAMES[name], weights
