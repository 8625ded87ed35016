"""The contents of the report's page, as its template takes them: the first paragraph, and the tables."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from aelle.analysis.early import Study
from aelle.analysis.predictors import RECOMMENDED
from aelle.analysis.savings import HALVING, NO_CUT
from aelle.sweep.table import SweepTable

MIN_SPLITS = 10
"""Splits that a verdict on the difference of two predictors needs."""


def recommended(early: Study, sweep: SweepTable, chances: Float[np.ndarray, "V E"]) -> list[dict]:
    """The variants to keep after the first epoch, in descending order of their chance of low error."""
    now = np.nan_to_num(chances[:, early.first_epoch])
    order = np.argsort(-now, kind="stable")
    return [{"number": sweep.variants["variant"][v], "chance": now[v]} for v in order[: int((now > 0.5).sum())]]


def first_cut(early: Study, worth: pd.DataFrame) -> dict | None:
    """The savings and cost of pruning after the first epoch by the recommended predictor; None where it is the last."""
    rows = worth[(worth["rule"] == RECOMMENDED) & (worth["epoch"] == early.first_epoch)]
    return dict(rows.iloc[0]) if len(rows) else None


def answer(early: Study, complete: SweepTable) -> dict:
    """The report's first paragraph: scores of the recommended predictor after the first epoch, and their difference
    from the best predictor without spectra."""
    k = early.first_epoch
    at = early.summary.set_index(["epoch", "predictor"]).loc[k]
    best = early.best_without_spectra(k)
    gain, low, high = early.gain(k, RECOMMENDED, best)
    return {
        "epoch": k,
        "ours": dict(at.loc[RECOMMENDED]),
        "best": {"name": best, **at.loc[best]},
        "gain": gain,
        "overtaken": early.overtaken(RECOMMENDED),
        "low": low,
        "high": high,
        "base_rate": complete.low_error.mean(),
        "verdict": early.splits >= MIN_SPLITS,
    }


def early_table(early: Study, epochs: int) -> list[dict]:
    """A row per predictor; a cell per stage of training, with the metrics and their intervals."""
    summary = early.summary.set_index(["predictor", "epoch"])
    rows = []
    for name in summary.index.unique("predictor"):
        cells = [dict(summary.loc[(name, k)]) for k in early.stages(epochs)]
        rows.append({"name": name, "spectra": name not in early.without_spectra, "cells": cells})
    return rows


def savings_table(worth: pd.DataFrame, stages: list[int]) -> list[dict]:
    """A row per pruning rule; a cell per stage of training. Successive halving has one cell."""
    at = worth.set_index(["rule", "epoch"])
    rules = [rule for rule in at.index.unique("rule") if rule not in (HALVING, NO_CUT)]
    if not rules:
        return []
    epochs = [k for k in stages if k in at.loc[rules[0]].index]
    rows = [{"rule": rule, "cells": [dict(at.loc[(rule, k)]) for k in epochs]} for rule in rules]
    return [{"epochs": epochs}, *rows, {"rule": HALVING, "cells": [dict(at.loc[HALVING].iloc[0])]}]
