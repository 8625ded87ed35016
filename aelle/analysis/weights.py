"""The weights of trained networks, as their packs' checkpoints hold them.

Axes: n variant, V variant of a pack, D weight.
"""

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aelle.errors import in_one_line
from aelle.runs.reader import DamagedRunError
from aelle.sweep.table import SweepTable

NAMES = {
    "network.weight_hh_l0": "recurrent weights",
    "network.w": "readout weights, all that FORCE trains,",
}
"""What of a network is read, by its name in the checkpoint."""

MOST = 600
"""Networks. Of 512 units, LSTMs have a million recurrent weights each, and the time grows with n² D."""

BLOCK = 4096
"""Weights of each network that are in memory at once: 19 MiB of 600 networks in double precision."""


class Pack(NamedTuple):
    """Memory-mapped weights of a pack, and where variants lie: in the sweep's table (`rows`) and in the pack
    (`members`)."""

    weights: Float[Tensor, "V D"]
    rows: Int[np.ndarray, "n"]
    members: Int[np.ndarray, "n"]


@dataclass(frozen=True)
class Weights:
    """Of networks of one `shape`, of which there are `alike`: `what` they are, and the packs that hold them."""

    what: str
    shape: tuple[int, ...]
    alike: int
    packs: list[Pack]

    @property
    def rows(self) -> Int[np.ndarray, "n"]:
        """Of the sweep's table."""
        return np.concatenate([pack.rows for pack in self.packs])

    def blocks(self) -> Iterator[Float[np.ndarray, "n _"]]:
        """Columns of the weights [n, D], from the first on, in double precision."""
        for start in range(0, self.packs[0].weights.shape[1], BLOCK):
            columns = [pack.weights[:, start : start + BLOCK][pack.members] for pack in self.packs]
            yield torch.cat(columns).double().numpy()


def load_weights(folder: Path, sweep: SweepTable) -> tuple[Weights | None, list[str]]:
    """Of at most `MOST` networks of one shape, and what could not be read, a line each; None where no two can be.

    The shape is the one that shows most of both classes: the rarer class decides, then the number of networks.
    """
    by_shape: dict[tuple, list[Pack]] = {}
    problems = []
    for run, variants in sweep.variants.groupby("run"):
        rows, members = variants.index.to_numpy(), variants["row"].to_numpy()
        try:
            what, weights = _read(folder / str(run) / "checkpoint.ckpt", sweep.epochs, int(members.max()) + 1)
        except DamagedRunError as error:
            problems.append(f"{run}: {error}")
            continue
        by_shape.setdefault((what, *weights.shape[1:]), []).append(Pack(weights.flatten(1), rows, members))
    if not any(len(packs) > 1 or len(packs[0].rows) > 1 for packs in by_shape.values()):
        return None, [*problems, "no two networks of one shape are left"]
    what, *shape = max(by_shape, key=lambda key: _both_classes(sweep.low_error, by_shape[key]))
    packs = by_shape[(what, *shape)]
    alike = sum(len(pack.rows) for pack in packs)
    return Weights(what, tuple(shape), alike, _some(packs, alike)), problems


def _both_classes(low: Bool[np.ndarray, "_"], packs: list[Pack]) -> tuple[int, int]:
    """How many the rarer class has, and both."""
    classes = np.concatenate([low[pack.rows] for pack in packs])
    return int(min(classes.sum(), (~classes).sum())), len(classes)


def _some(packs: list[Pack], n: int) -> list[Pack]:
    """At most `MOST` of their n variants, evenly over the sweep."""
    rows = np.sort(np.concatenate([pack.rows for pack in packs]))
    chosen = rows[np.linspace(0, n - 1, min(n, MOST)).round().astype(int)]
    kept = [(pack, np.isin(pack.rows, chosen)) for pack in packs]
    return [Pack(pack.weights, pack.rows[keep], pack.members[keep]) for pack, keep in kept if keep.any()]


def _read(path: Path, epoch: int, networks: int) -> tuple[str, Float[Tensor, "V ..."]]:
    """What the weights are, and they, memory-mapped, after that epoch. Raises DamagedRunError, too for fewer networks.

    `torch.load` compares no checksums. Here the structure's and the weights' are, not those of the optimiser's state.
    """
    try:
        if not path.is_file():
            raise ValueError("it is missing")
        with zipfile.ZipFile(path) as archive:
            checksums = {entry.CRC for entry in archive.infolist()}
            for structure in (name for name in archive.namelist() if name.endswith("data.pkl")):
                archive.read(structure)
        checkpoint = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        if checkpoint["epoch"] + 1 != epoch:
            raise ValueError(f"it is of epoch {checkpoint['epoch'] + 1}, not {epoch}")
        state = checkpoint["state_dict"]
        name = next((name for name in NAMES if name in state), None)
        if name is None:
            raise ValueError(f"it holds neither {' nor '.join(NAMES)}")
        weights = state[name]
        if zlib.crc32(weights.numpy()) not in checksums:
            raise ValueError(f"{name} does not match its checksum")
        if len(weights) < networks:
            raise ValueError(f"it holds {len(weights)} networks, and variants.parquet at least {networks}")
    except Exception as error:
        raise DamagedRunError(f"{path.name}: {in_one_line(error)}") from error
    return NAMES[name], weights
