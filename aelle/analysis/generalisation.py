"""How well AeLLE ranks what is unlike the variants that it has learned from: other inputs, other networks, other tasks.

Every area is that of AeLLE's plane, on variants that it has not seen, by the epochs so far.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from aelle.analysis.early import INTERVAL, STAGES, Study
from aelle.analysis.scores import area
from aelle.analysis.shares import MANY, groupable
from aelle.errors import TooFewError
from aelle.model.chances import chances, fit_to_all
from aelle.model.estimator import AeLLE
from aelle.seeds import generator
from aelle.sweep.table import SweepTable

RESAMPLES = 400
"""Of the scored variants, for an interval."""


class Transfer(NamedTuple):
    """Learned from the one, scored on the other, after a share of the training: the area, and its 95 % interval."""

    learned: str
    scored: str
    training: float
    epoch: int
    area: float
    area_from: float
    area_to: float


def to_test_inputs(sweep: SweepTable, study: Study) -> list[Transfer]:
    """The study's models, learned from spectra of the validation probe, on spectra of the test probe beside their own.

    The interval is over the splits. Nothing where the test probe was not measured.
    """
    if sweep.test_spectra is None:
        return []
    found = []
    for name, spectra in (("validation inputs", sweep.spectra), ("test inputs", sweep.test_spectra)):
        seen = replace(sweep, spectra=spectra)
        for k in study.stages(sweep.epochs):
            areas = []
            for model, test in zip(study.models, study.tests, strict=True):
                part = seen.take(test)
                areas.append(area(part.low_error, np.nan_to_num(chances(model, part, [k])[:, k], nan=-1)))
            low, high = np.nanquantile(areas, INTERVAL)
            mean = float(np.nanmean(areas))
            found.append(Transfer("validation inputs", name, k / sweep.epochs, k, mean, float(low), float(high)))
    return found


def across_hyperparameters(sweep: SweepTable, model: AeLLE) -> list[Transfer]:
    """Learned from the variants with one value of a hyperparameter of few values, scored on those with each other one.

    A value whose variants are too few, or of one class, is not learned from. The interval is over resampled variants.
    """
    found = []
    for name in groupable(sweep):
        values = sweep.variants[name]
        if values.nunique() > MANY:
            continue
        parts = {value: sweep.take(np.flatnonzero(values == value)) for value in sorted(values.unique())}
        for value, part in parts.items():
            fitted = _fitted(part, model)
            for other, scored in parts.items():
                if fitted is not None and other != value:
                    found += transfers(fitted, f"{name} {value}", f"{name} {other}", scored)
    return found


def transfers(model: AeLLE, learned: str, scored: str, sweep: SweepTable) -> list[Transfer]:
    """A fitted model on the variants of `sweep`, at the measured epochs nearest to the report's stages of training;
    nothing where those are all of one class."""
    low = sweep.low_error
    if low.all() or not low.any():
        return []
    epochs = np.array(sweep.measured_epochs)
    stages = sorted({int(epochs[np.abs(epochs - share * sweep.epochs).argmin()]) for share in STAGES})
    given = np.nan_to_num(chances(model, sweep, stages), nan=-1)
    random, found = generator(model.seed, "resamples"), []
    rows = [random.integers(len(low), size=len(low)) for _ in range(RESAMPLES)]
    for k in stages:
        resampled = [area(low[r], given[r, k]) for r in rows]
        start, end = np.nanquantile(resampled, INTERVAL)
        mean = area(low, given[:, k])
        found.append(Transfer(learned, scored, k / sweep.epochs, k, mean, float(start), float(end)))
    return found


def as_table(found: Sequence[Transfer]) -> pd.DataFrame:
    return pd.DataFrame(found, columns=list(Transfer._fields))


def transfer_table(elsewhere: list[Transfer]) -> list[dict]:
    """A row per pair of what was learned from and what was scored, a cell per stage of training."""
    rows: dict[tuple[str, str], list[Transfer]] = {}
    for one in elsewhere:
        rows.setdefault((one.learned, one.scored), []).append(one)
    return [{"learned": learned, "scored": scored, "cells": cells} for (learned, scored), cells in rows.items()]


def _fitted(part: SweepTable, model: AeLLE) -> AeLLE | None:
    try:
        return fit_to_all(part, model)
    except TooFewError:
        return None
