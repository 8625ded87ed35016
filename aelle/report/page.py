"""What the report's page says, as its template takes it: the answer, and the tables with their cells."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from aelle.analysis.early import Study
from aelle.analysis.predictors import COMBINED
from aelle.analysis.savings import HALVING, NO_CUT
from aelle.sweep.table import SweepTable

ENOUGH = 10
"""Splits, to tell a difference from their spread."""


def keep(early: Study, sweep: SweepTable, chances: Float[np.ndarray, "V E"]) -> list[dict]:
    """The variants to keep after the first epoch, those of the highest chance first."""
    now = np.nan_to_num(chances[:, early.first_epoch])
    order = np.argsort(-now, kind="stable")
    return [{"number": sweep.variants["variant"][v], "chance": now[v]} for v in order[: int((now > 0.5).sum())]]


def first_cut(early: Study, worth: pd.DataFrame) -> dict | None:
    """What a cut after the first epoch saves and costs by the recommendation; None where there is no such cut."""
    rows = worth[(worth["way"] == COMBINED) & (worth["epoch"] == early.first_epoch)]
    return dict(rows.iloc[0]) if len(rows) else None


def answer(early: Study, ended: SweepTable) -> dict:
    """The report's first sentences: the combination's choice after the first epoch, and what it gains on what one has
    without spectra."""
    k = early.first_epoch
    at = early.summary.set_index(["epoch", "predictor"]).loc[k]
    best = early.best_without_spectra(k)
    gain, low, high = early.gain(k, COMBINED, best)
    return {
        "epoch": k,
        "ours": dict(at.loc[COMBINED]),
        "best": {"name": best, **at.loc[best]},
        "gain": gain,
        "last": early.overtaken(COMBINED),
        "from": low,
        "to": high,
        "base": ended.low_error.mean(),
        "verdict": early.splits >= ENOUGH,
    }


def early_table(early: Study, epochs: int) -> list[dict]:
    """A row per predictor, a cell of metrics with their intervals per stage of training."""
    summary = early.summary.set_index(["predictor", "epoch"])
    rows = []
    for name in summary.index.unique("predictor"):
        cells = [dict(summary.loc[(name, k)]) for k in early.stages(epochs)]
        rows.append({"name": name, "spectra": name not in early.without_spectra, "cells": cells})
    return rows


def savings_table(worth: pd.DataFrame, stages: list[int]) -> list[dict]:
    """A row per way to cut, a cell per stage of training at which it can; one for successive halving."""
    at = worth.set_index(["way", "epoch"])
    ways = [way for way in at.index.unique("way") if way not in (HALVING, NO_CUT)]
    if not ways:
        return []
    epochs = [k for k in stages if k in at.loc[ways[0]].index]
    rows = [{"way": way, "cells": [dict(at.loc[(way, k)]) for k in epochs]} for way in ways]
    return [{"epochs": epochs}, *rows, {"way": HALVING, "cells": [dict(at.loc[HALVING].iloc[0])]}]
