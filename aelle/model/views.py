"""What the autoencoders of a model look at, and which rows each of them learns from.

Axes: V view, n row, F column.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from aelle.model.columns import CONDITIONS, COVARIATES, CURVES, FEATURES, SIZE, Columns, stage
from aelle.seeds import generator

STAGE_WIDTH = 0.15
"""Standard deviation of the stages that a view attends to."""

FOLDS = 3
"""Of the groups, two if there are only two."""


class View(NamedTuple):
    """An autoencoder's `blocks` of columns; the `noise` of its inputs, as a share of the model's; and the `stage` of
    training at which rows count most, None where all count the same."""

    blocks: tuple[str, ...]
    noise: float = 1.0
    stage: float | None = None


BESIDE = (*CONDITIONS, SIZE, COVARIATES)
"""What every view has beside spectra and features, where it is known."""

WHOLE = (*CURVES, *FEATURES, *BESIDE)
SHAPE = (FEATURES[0], *BESIDE)

COMMITTEE = (
    *(View(WHOLE, 1.0, at) for at in (0.0, 1 / 3, 2 / 3, 1.0)),
    *(View(SHAPE, 1 / 3, at) for at in (0.0, 1 / 3, 2 / 3, 1.0)),
    View(WHOLE),
    View((CURVES[1], *BESIDE), 1 / 3),
)
"""Chosen on eight sweeps, on other random splits of them than docs/results.md uses."""

COMMITTEE_OF_SPECTRA = (
    View((CURVES[0], FEATURES[0], SIZE, COVARIATES)),
    View((CURVES[0], SIZE, COVARIATES), 2 / 3),
    View((FEATURES[0], SIZE, COVARIATES), 1 / 3),
)
"""Where neither history nor stage of the training is known."""

SINGLE = (View((CURVES[0], SIZE, COVARIATES)),)
"""The paper's: one autoencoder of the spectrum."""


def usable(views: Sequence[View], blocks: Sequence[str]) -> list[View]:
    """The views of what there is."""
    left = [view._replace(blocks=tuple(name for name in view.blocks if name in blocks)) for view in views]
    return [view for view in dict.fromkeys(left) if set(view.blocks) - set(BESIDE)]


def sees(view: View, given: Columns, leave_out: Sequence[str] = ()) -> Float[np.ndarray, "F"]:
    """1 for its columns, without those of some blocks."""
    mask = np.zeros(given.values.shape[1])
    for name in view.blocks:
        mask[given.blocks[name]] = name not in leave_out
    return mask


def attention(view: View, share: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """How much each row counts, by the stage of training that it is of."""
    if view.stage is None:
        return np.ones(len(share))
    return np.exp(-((stage(share) - view.stage) ** 2) / (2 * STAGE_WIDTH**2)) + 1e-6


def folds(losses: Float[np.ndarray, "n"], groups: Int[np.ndarray, "n"], seed: int) -> Int[np.ndarray, "n"]:
    """A fold for each row, the same for all rows of a group, each with low and high losses alike: the groups, sorted by
    their least loss, are dealt out in rounds. One fold if there is one group."""
    names, inverse = np.unique(groups, return_inverse=True)
    count, least = min(FOLDS, len(names)), np.full(len(names), np.inf)
    np.minimum.at(least, inverse, np.nan_to_num(losses, nan=np.inf))
    order = np.argsort(least, kind="stable")
    random, fold = generator(seed, "folds"), np.zeros(len(names), dtype=int)
    for start in range(0, len(names), count):
        dealt = order[start : start + count]
        fold[dealt] = random.permutation(count)[: len(dealt)]
    return fold[inverse]
