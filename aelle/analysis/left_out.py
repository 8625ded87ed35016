"""Leaving values of a hyperparameter out: predictors learn from the variants with some of its values, and are tested on
those with the others.

The hyperparameter itself is hidden from them: what it is elsewhere, its known values cannot tell. So are those that not
every variant reads, such as the options of one architecture.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int

from aelle.analysis.architectures import ARCHITECTURE
from aelle.analysis.early import Part, Study, study_of
from aelle.analysis.predictors import RECOMMENDED, WITHOUT_SPECTRA, Plane
from aelle.analysis.shares import MAX_GROUPS, grouped
from aelle.analysis.verdict import gain_over
from aelle.errors import TooFewError, UserError
from aelle.hyperparameters import not_read
from aelle.model.estimator import AeLLE
from aelle.predictor.members import HYPERPARAMETERS_ONLY, LOSS_AND_HYPERPARAMETERS
from aelle.seeds import generator
from aelle.sweep.table import SweepTable

KNOWN_VALUES = 0.4
"""Share of the values that are learned from, where there are more than `MAX_GROUPS`."""

MIN_OF_A_CLASS = 2
"""Known variants that AeLLE needs of each class."""

SHOWN = (RECOMMENDED, WITHOUT_SPECTRA, Plane.name, LOSS_AND_HYPERPARAMETERS, HYPERPARAMETERS_ONLY)
"""The predictors that are shown, of those that there are."""


class LeftOut(NamedTuple):
    """`values`: of the hyperparameter `name`, or intervals of its values; `known`: how many of them a split of `study`
    learns from."""

    name: str
    values: int
    known: int
    study: Study

    @property
    def table(self) -> pd.DataFrame:
        """A row per predictor and epoch: ROC AUC and its 95 % interval over the splits."""
        columns = ["predictor", "epoch", "auc", "auc_low", "auc_high"]
        return self.study.summary[columns].assign(left_out=self.name)

    @property
    def gain(self) -> tuple[float, float, float]:
        """What spectra add to the ROC AUC before the last epoch, and its 95 % interval."""
        return gain_over(self.study, [k for k in self.study.epochs if k < self.study.end])


def check_generalise(name: str | None, sweep: SweepTable) -> str | None:
    """The hyperparameter whose values are left out; "auto" is the architecture, where there are many. Raises UserError
    for one in which the variants do not differ."""
    varied = sweep.varied
    if name == "auto":
        many = ARCHITECTURE in varied and sweep.variants[ARCHITECTURE].nunique() > MAX_GROUPS
        return ARCHITECTURE if many else None
    if name is not None and name not in varied:
        raise UserError(
            f"generalise={name}: the variants do not differ in it; choose one of {', '.join([*varied, 'auto', 'null'])}"
        )
    return name


def left_out(sweep: SweepTable, model: AeLLE, name: str, splits: int) -> LeftOut:
    """Each value of the hyperparameter `name` left out in turn; of more than eight, those that are not among a random
    40 %, `splits` times. A hyperparameter that is drawn from a distribution has intervals of values.

    Raises TooFewError where no value that is left out, or none that is left, has variants of both classes.
    """
    _, group = grouped(sweep.variants[name])
    values = np.unique(group)
    if len(values) > MAX_GROUPS:
        known = max(round(KNOWN_VALUES * len(values)), 1)
        chosen = [generator(model.seed + s, "values").permutation(values)[:known] for s in range(splits)]
    else:
        known = len(values) - 1
        chosen = [np.delete(values, i) for i in range(len(values))]
    parts = [part for some in chosen if (part := _part(sweep, group, some)) is not None]
    if not parts:
        raise TooFewError(
            f"generalise={name}: no split of its {len(values)} values has low-error and high-error variants on both "
            "sides; train more variants, or choose another threshold=…"
        )
    shared = [one for one in sweep.hyperparameters if not sweep.variants[one].map(not_read).any()]
    hidden = replace(sweep, hyperparameters=[one for one in shared if one != name])
    return LeftOut(name, len(values), known, study_of(hidden, model, parts))


def _part(sweep: SweepTable, group: Int[np.ndarray, "V"], known: Int[np.ndarray, "n"]) -> Part | None:
    """None if the tested side lacks a class, or the other has fewer than two variants of one."""
    learned = np.isin(group, known)
    fewest = [np.bincount(sweep.low_error[side], minlength=2).min() for side in (learned, ~learned)]
    if fewest[0] < MIN_OF_A_CLASS or fewest[1] < 1:
        return None
    return Part(np.flatnonzero(learned), np.flatnonzero(~learned))
