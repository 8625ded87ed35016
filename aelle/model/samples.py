"""What an AeLLE is fitted to, checked, and split into rows that train it and rows that set its classifier."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.utils.validation import check_X_y, column_or_1d
from torch import Tensor

from aelle.errors import TooFewError, UserError
from aelle.seeds import generator
from aelle.sweep.table import SweepTable


class Sample(NamedTuple):
    """What one AeLLE is fitted to; see `AeLLE.fit`."""

    spectra: Any
    losses: Any
    groups: Any = None
    validation: tuple[Any, Any] | None = None


class Rows(NamedTuple):
    spectra: Float[np.ndarray, "n M"]
    losses: Float[np.ndarray, "n"]


def train_and_validation(sample: Sample, threshold: float, seed: int) -> tuple[Rows, Rows]:
    """The rows that train the autoencoder and those that set the classifier: the sample's `validation`, or a fifth of
    its groups. Raises ValueError for spectra that are not finite, and for arrays of different lengths.
    """
    spectra, losses = _checked(sample.spectra, sample.losses)
    if sample.validation is not None:
        return Rows(spectra, losses), _checked(*sample.validation)
    groups = np.arange(len(losses)) if sample.groups is None else np.asarray(as_array(sample.groups))
    if groups.shape != losses.shape:
        raise UserError(f"groups of shape {list(groups.shape)}: give one group for each of the {len(losses)} rows")
    names, firsts = np.unique(groups, return_index=True)
    _, held_back = stratified_parts(losses[firsts] < threshold, (0.8, 0.2), seed)
    held = np.isin(groups, names[held_back])
    return Rows(spectra[~held], losses[~held]), Rows(spectra[held], losses[held])


def sweep_sample(
    sweep: SweepTable, running_mean: bool, train: Int[np.ndarray, "n"], validation: Int[np.ndarray, "m"] | None = None
) -> Sample:
    """A row per variant and measured epoch with a finite spectrum, or the mean up to it, each with the final loss; the
    groups are the variants.
    """

    def rows(variants: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        spectra = sweep.seen(running_mean)[variants][:, sweep.measured_epochs]
        losses = np.repeat(np.nan_to_num(sweep.final_loss[variants], nan=np.inf), spectra.shape[1])
        groups = np.repeat(variants, spectra.shape[1])
        spectra = spectra.reshape(-1, spectra.shape[-1])
        finite = np.isfinite(spectra).all(1)
        return spectra[finite], losses[finite], groups[finite]

    return Sample(*rows(train), validation=None if validation is None else rows(validation)[:2])


def stratified_parts(low: Bool[np.ndarray, "n"], shares: Sequence[float], seed: int) -> list[Int[np.ndarray, "_"]]:
    """Indices of disjoint random parts of these shares, which sum to 1, each with both classes in their proportions.

    Raises TooFewError if a class has fewer members than there are parts.
    """
    parts: list[list[int]] = [[] for _ in shares]
    for kind, name in ((True, "low"), (False, "high")):
        members = np.flatnonzero(low == kind)
        if len(members) < len(shares):
            raise TooFewError(
                f"{len(members)} of {len(low)} variants are {name}-error, too few for {len(shares)} parts that each "
                "need some; train more variants, or choose another threshold=…"
            )
        shuffled = generator(seed, "split", name).permutation(members)
        cuts = np.round(np.cumsum(shares) * len(members)).astype(int)
        # Each part gets at least one, taken from the largest.
        sizes = np.diff(cuts, prepend=0)
        while (sizes == 0).any():
            sizes[sizes.argmin()] += 1
            sizes[sizes.argmax()] -= 1
        for part, chunk in zip(parts, np.split(shuffled, np.cumsum(sizes)[:-1]), strict=True):
            part.extend(chunk)
    return [np.sort(part) for part in parts]


def as_array(values: Any) -> Any:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def _checked(spectra: Any, losses: Any) -> Rows:
    losses = np.asarray(column_or_1d(as_array(losses), warn=True), dtype=np.float64)
    spectra, _ = check_X_y(as_array(spectra), np.nan_to_num(losses), dtype="float64", ensure_min_samples=2)
    return Rows(spectra, losses)
