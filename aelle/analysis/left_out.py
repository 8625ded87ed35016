"""Leaving values of a hyperparameter out: predictors learn from the variants with some of its values, and are tested on
those with the others.

Hidden from them are the hyperparameter itself, whose effect at other values cannot be learned from the known ones, and
hyperparameters that apply to some of the variants only, such as the options of one architecture. Variants unlike all
known ones are counted, and scored as all others: with one chance for all of them, the score would be that of the mark.
"""

from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from aelle.analysis.architectures import ARCHITECTURE
from aelle.analysis.early import INTERVAL, Split, Study, study_of
from aelle.analysis.predictors import RECOMMENDED, WITHOUT_SPECTRA, Plane
from aelle.analysis.shares import MAX_GROUPS, grouped
from aelle.analysis.verdict import Gain, gain_of_spectra
from aelle.errors import TooFewError, UserError
from aelle.hyperparameters import not_read
from aelle.model.estimator import AeLLE
from aelle.predictor.members import HYPERPARAMETERS_ONLY, LOSS_AND_HYPERPARAMETERS
from aelle.seeds import generator
from aelle.sweep.table import SweepTable

KNOWN_VALUES = 0.4
"""Share of the values that are learned from, where there are more than `MAX_GROUPS`."""

MAX_TRIES = 5
"""Random choices of known values for each split that is wanted, at most."""

MIN_OF_A_CLASS = 2
"""Known variants that AeLLE needs of each class."""

SHOWN = (RECOMMENDED, WITHOUT_SPECTRA, Plane.name, LOSS_AND_HYPERPARAMETERS, HYPERPARAMETERS_ONLY)
"""The predictors that are shown, of those that there are."""


class LeftOut(NamedTuple):
    """`values`: how many the hyperparameter `name` has, each left out `in_turn` or some at random, or how many
    `intervals` of its values; `known`: how many of them a split of `study` learns from. `untested`: those that could
    not be left out in turn; `missing`: how many of the random splits were not found."""

    name: str
    values: int
    known: int
    study: Study
    in_turn: bool
    intervals: bool
    untested: list[str]
    missing: int

    @property
    def table(self) -> pd.DataFrame:
        """A row per predictor and epoch: the mean ROC AUC over the splits, and the range of 95 % of them; of values
        that are left out in turn, which are few, the least and the greatest."""
        aucs = self.study.scores.groupby(["predictor", "epoch"], sort=False)["auc"]
        low, high = (0.0, 1.0) if self.in_turn else INTERVAL
        columns = {"auc": aucs.mean(), "auc_low": aucs.quantile(low), "auc_high": aucs.quantile(high)}
        return pd.DataFrame(columns).reset_index().assign(left_out=self.name)

    @property
    def gain(self) -> Gain:
        """What spectra add before the last epoch."""
        return gain_of_spectra(self.study, [k for k in self.study.epochs if k < self.study.end])


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

    Raises TooFewError where no value that is left out, or none that is left, has variants of both classes, and where
    spectra were measured after the last epoch only.
    """
    if all(k == sweep.epochs for k in sweep.measured_epochs):
        raise TooFewError(f"generalise={name}: no spectrum was measured before the last epoch, when the loss is known")
    labels, group = grouped(sweep.variants[name])
    values, measured = np.unique(group), np.logical_or.reduce(np.isfinite(sweep.spectra).all(2), axis=1)
    in_turn, untested = len(values) <= MAX_GROUPS, []
    if in_turn:
        known = len(values) - 1
        tried = [(labels[value], _split(sweep, measured, group != value)) for value in values]
        untested = [label for label, split in tried if split is None]
        found = [split for _, split in tried if split is not None]
    else:
        known = max(round(KNOWN_VALUES * len(values)), 1)
        seeds = range(model.seed, model.seed + MAX_TRIES * splits)
        chosen = (generator(seed, "values").permutation(values)[:known] for seed in seeds)
        possible = (split for some in chosen if (split := _split(sweep, measured, np.isin(group, some))) is not None)
        found = list(islice(possible, splits))
    if not found:
        raise TooFewError(
            f"generalise={name}: no split of its {len(values)} values has low-error and high-error variants with "
            "spectra on both sides; train more variants, or choose another threshold=…"
        )
    shared = [one for one in sweep.hyperparameters if not sweep.variants[one].map(not_read).any()]
    hidden = replace(sweep, hyperparameters=[one for one in shared if one != name])
    if sweep.exponents is not None and _tell_values(sweep.exponents[measured], group[measured]):
        hidden = replace(hidden, exponents=None)
    return LeftOut(
        name,
        len(values),
        known,
        study_of(hidden, model, found, guarded=False),
        in_turn=in_turn,
        intervals=sweep.variants[name].nunique() > MAX_GROUPS and in_turn,
        untested=untested,
        missing=0 if in_turn else splits - len(found),
    )


def _split(sweep: SweepTable, measured: Bool[np.ndarray, "V"], known: Bool[np.ndarray, "V"]) -> Split | None:
    """None if, of the variants with a `measured` spectrum, the tested side lacks a class, or the known side has fewer
    than two of one."""
    of_known, of_tested = (np.bincount(sweep.low_error[side & measured], minlength=2).min() for side in (known, ~known))
    if of_known < MIN_OF_A_CLASS or of_tested < 1:
        return None
    return Split(np.flatnonzero(known), np.flatnonzero(~known))


def _tell_values(exponents: Int[np.ndarray, "n"], group: Int[np.ndarray, "n"]) -> bool:
    """Whether the numbers of exponents tell values apart: they differ, and every value has a single one, or every one
    occurs with a single value."""
    pairs = len(np.unique(np.stack([group, exponents], 1), axis=0))
    numbers = len(np.unique(exponents))
    return numbers > 1 and pairs in (numbers, len(np.unique(group)))
