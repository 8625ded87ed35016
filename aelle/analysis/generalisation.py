"""How well AeLLE ranks variants unlike those it was trained on: other inputs, other networks, other tasks.

Every ROC AUC is that of AeLLE's plane on variants it was not fitted to, from the epochs so far.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from aelle.analysis.early import INTERVAL, Study, stages
from aelle.analysis.scores import roc_auc
from aelle.analysis.shares import MAX_GROUPS, groupable
from aelle.errors import TooFewError
from aelle.model.chances import chances, fit_to_all
from aelle.model.estimator import AeLLE
from aelle.seeds import generator
from aelle.sweep.table import SweepTable

RESAMPLES = 400
"""Bootstrap resamples of the scored variants, for an interval."""


class Transfer(NamedTuple):
    """ROC AUC with its 95 % interval, after the share `progress` of the training."""

    trained_on: str
    scored_on: str
    progress: float
    epoch: int
    auc: float
    auc_low: float
    auc_high: float


def to_test_inputs(sweep: SweepTable, study: Study) -> list[Transfer]:
    """The study's models, trained on spectra of the validation probe, scored on those and on spectra of the test probe.

    The interval is over the splits. Empty where the test probe was not measured, and where spectra are all equal.
    """
    if sweep.test_spectra is None or not study.models:
        return []
    found = []
    for name, spectra in (("validation inputs", sweep.spectra), ("test inputs", sweep.test_spectra)):
        seen = replace(sweep, spectra=spectra)
        for k in study.stages(sweep.epochs):
            aucs = []
            for model, test in zip(study.models, study.tests, strict=True):
                part = seen.take(test)
                aucs.append(roc_auc(part.low_error, np.nan_to_num(chances(model, part, [k])[:, k], nan=-1)))
            low, high = np.nanquantile(aucs, INTERVAL)
            mean = float(np.nanmean(aucs))
            found.append(Transfer("validation inputs", name, k / sweep.epochs, k, mean, float(low), float(high)))
    return found


def across_hyperparameters(sweep: SweepTable, model: AeLLE) -> list[Transfer]:
    """Trained on the variants with one value of a hyperparameter of few values, scored on those with each other value.

    Values with too few variants of either class, or without spectra, are left out. The interval is over resampled
    variants.
    """
    found = []
    for name in groupable(sweep):
        values = sweep.variants[name]
        if values.nunique() > MAX_GROUPS:
            continue
        parts = {value: sweep.take(np.flatnonzero(values == value)) for value in sorted(values.dropna().unique())}
        for value, part in parts.items():
            fitted = _fitted(part, model)
            for other, scored in parts.items():
                if fitted is not None and other != value:
                    found += transfers(fitted, f"{name} {value}", f"{name} {other}", scored)
    return found


def transfers(model: AeLLE, trained_on: str, scored_on: str, sweep: SweepTable) -> list[Transfer]:
    """A fitted model scored on the variants of `sweep`, at the measured epochs nearest to the report's stages of
    training; empty where all variants are of one class, and where none has a measured spectrum."""
    low = sweep.low_error
    if low.all() or not low.any() or not sweep.measured_epochs:
        return []
    epochs = stages(sweep.measured_epochs, sweep.epochs)
    given = np.nan_to_num(chances(model, sweep, epochs), nan=-1)
    scores = [(k, *resampled_auc(low, given[:, k], model.seed, sweep.draws)) for k in epochs]
    return [Transfer(trained_on, scored_on, k / sweep.epochs, k, *auc) for k, *auc in scores]


def resampled_auc(
    low: Bool[np.ndarray, "V"], given: Float[np.ndarray, "V"], seed: int, draws: Int[np.ndarray, "V"] | None = None
) -> tuple[float, float, float]:
    """ROC AUC with its 95 % interval over resampled variants; those that share a draw of the hyperparameters are
    resampled together."""
    random, n = generator(seed, "resamples"), len(low)
    if draws is None:
        rows = [random.integers(n, size=n) for _ in range(RESAMPLES)]
    else:
        members = [np.flatnonzero(draws == draw) for draw in np.unique(draws)]
        n = len(members)
        rows = [np.concatenate([members[i] for i in random.integers(n, size=n)]) for _ in range(RESAMPLES)]
    start, end = np.nanquantile([roc_auc(low[r], given[r]) for r in rows], INTERVAL)
    return roc_auc(low, given), float(start), float(end)


def as_table(found: Sequence[Transfer]) -> pd.DataFrame:
    return pd.DataFrame(found, columns=list(Transfer._fields))


def transfer_table(elsewhere: list[Transfer]) -> list[dict]:
    """A row per pair of `trained_on` and `scored_on`, a cell per stage of training."""
    rows: dict[tuple[str, str], list[Transfer]] = {}
    for one in elsewhere:
        rows.setdefault((one.trained_on, one.scored_on), []).append(one)
    return [{"trained_on": trained, "scored_on": scored, "cells": cells} for (trained, scored), cells in rows.items()]


def _fitted(part: SweepTable, model: AeLLE) -> AeLLE | None:
    try:
        return fit_to_all(part, model)
    except TooFewError:
        return None
