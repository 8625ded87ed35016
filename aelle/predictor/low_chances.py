"""The chances that known low-error variants had when they were left out, and the cut that keeps most of them.

Axes: n low-error variant, E epoch, V variant, m member.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit

from aelle.errors import TooFewError, UserError
from aelle.model.parameters import is_number
from aelle.predictor.members import Known
from aelle.predictor.observed import INPUTS
from aelle.predictor.stacking import StackAt, stack
from aelle.seeds import generator

FOLDS = 4
"""Of the variants, to stack the members without those that are judged."""


class LowChances(NamedTuple):
    """`chances`: at `epochs`, NaN where a variant has none. `draws`: which variants share a draw of the
    hyperparameters; those of one count as a single variant."""

    epochs: Int[np.ndarray, "E"]
    chances: Float[np.ndarray, "n E"]
    draws: Int[np.ndarray, "n"]

    def cut(self, may_lose: Any, after: int) -> float:
        """The largest chance below which variants can be stopped at any epoch from `after` on, so that at most the
        share `may_lose` of those that would have ended low-error is lost, on average over sweeps like the known one.

        Raises TooFewError if the variants are too few to promise it, UserError for another share than between 0 and 1.
        """
        if not is_number(may_lose) or not 0 < may_lose < 1:
            raise UserError(f"may_lose={may_lose}: give a share of the low-error variants, between 0 and 1")
        least = np.fmin.reduce(self.chances[:, self.epochs >= after], axis=1, initial=np.inf)
        told = np.isfinite(least)
        _, draw, sizes = np.unique(self.draws[told], return_inverse=True, return_counts=True)
        order = np.argsort(least[told])
        # Of n + 1 exchangeable draws, the new one is the lowest with probability 1 / (n + 1), as each of the others.
        counts = 1 / (len(sizes) + 1) / sizes[draw][order]
        lost = 1 / (len(sizes) + 1) + np.cumsum(counts) - counts
        j = int(np.searchsorted(lost, may_lose + 1e-9, side="right"))
        if j < 1:
            several = "low-error variants" if len(sizes) == told.sum() else "draws with low-error variants"
            raise TooFewError(
                f"{len(sizes)} {several} are too few to promise that at most {100 * may_lose:.3g} % are lost: "
                f"at least {int(np.ceil(1 / may_lose)) - 1} are needed; give a chance instead, or allow a larger share"
            )
        return float(least[told][order][j - 1])


def low_chances(
    said: Float[np.ndarray, "E V m"], known: Known, stacks: Mapping[tuple[str, ...], StackAt], shift: float
) -> LowChances:
    """The chances of the known low-error variants, stacked without them, from the inputs that each has, or without
    its spectra if that is less: another sweep may measure spectra at fewer epochs. `shift`: of the log odds; see
    `Stack.shifted`."""
    V, end = said.shape[1], known.at[0].epochs
    draws = np.arange(V) if known.draws is None else np.unique(known.draws, return_inverse=True)[1]
    fold = (generator(known.seed, "stacking").permutation(draws.max() + 1) % FOLDS)[draws]
    chances = np.full(said.shape[:2], np.nan)
    has = np.array([[one.known(name) for name in INPUTS] for one in known.at])
    without = has & (np.array(INPUTS) != "spectra")[:, None]
    for inputs, at in stacks.items():
        rows = [e for e, one in enumerate(known.at) if one.epoch in at.epochs]
        wanted = np.array([name in inputs for name in INPUTS])[:, None]
        alike = (has == wanted).all(1) | (without == wanted).all(1)
        if not alike[rows].any():
            continue
        given = said[rows][:, :, at.members]
        for f in range(FOLDS):
            fitted = stack(given[:, fold != f], known.low[fold != f], np.array(at.epochs) / end).shifted(shift)
            for i, e in enumerate(rows):
                left = (fold == f) & alike[e]
                chances[e, left] = np.fmin(chances[e, left], expit(fitted.log_odds(i, given[i, left])))
    told = np.flatnonzero(np.isfinite(chances).any(1))
    epochs = np.array([known.at[e].epoch for e in told], dtype=int)
    return LowChances(epochs, chances[told].T[known.low], draws[known.low])
