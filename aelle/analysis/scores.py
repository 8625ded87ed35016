"""Scores of predictions, on plain arrays.

Axes: n variant. Class 1 (True) is low-error. A score is higher where low error is more likely.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.stats import rankdata
from sklearn.metrics import precision_recall_curve


class Scores(NamedTuple):
    """How well scores rank low-error variants (`auc`, `average_precision`, `recall_at_precision`: the largest recall at
    which `PRECISION` of what is kept ends low-error), how well a choice finds them (`recall`, `precision`, `f1`), and
    the mean squared error of chances (`brier`). NaN where undefined."""

    auc: float
    average_precision: float
    recall_at_precision: float
    recall: float
    precision: float
    f1: float
    brier: float


METRICS = Scores._fields

PRECISION = 0.9


def score(
    low: Bool[np.ndarray, "n"], scores: Float[np.ndarray, "n"], kept: Bool[np.ndarray, "n"], chances: bool = False
) -> Scores:
    """`scores` rank; `kept` is the choice; `chances`: whether the scores are log odds."""
    scores = np.nan_to_num(scores)
    ranked = 0 < low.sum() < len(low)
    curve = precision_recall_curve(low, scores)[:2] if ranked else None
    hits = (low & kept).sum()
    return Scores(
        auc=area(low, scores),
        average_precision=float(-np.diff(curve[1]) @ curve[0][:-1]) if curve else np.nan,
        recall_at_precision=_recall_on(curve, PRECISION) if curve else np.nan,
        recall=float(hits / low.sum()) if low.any() else np.nan,
        precision=float(hits / kept.sum()) if kept.any() else np.nan,
        f1=float(2 * hits / (low.sum() + kept.sum())) if low.any() or kept.any() else np.nan,
        brier=float(((chance(scores) - low) ** 2).mean()) if chances else np.nan,
    )


def area(low: Bool[np.ndarray, "n"], scores: Shaped[np.ndarray, "n"]) -> float:
    """Under the ROC curve: the chance that a low-error variant is ranked above a high-error one, ties counting half.
    NaN where all are of one class."""
    n = int(low.sum())
    if not 0 < n < len(low):
        return np.nan
    return float((rankdata(scores)[low].sum() - n * (n + 1) / 2) / (n * (len(low) - n)))


def recall_at(precision: float, low: Bool[np.ndarray, "n"], scores: Float[np.ndarray, "n"]) -> float:
    """The largest share of the low-error ones that a cut of the scores can keep at that precision at least."""
    return _recall_on(precision_recall_curve(low, scores)[:2], precision)


def _recall_on(curve: tuple[np.ndarray, np.ndarray], precision: float) -> float:
    precisions, recalls = curve
    return float(recalls[precisions >= precision].max(initial=0))


def chance(log_odds: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    return np.exp(-np.logaddexp(0, -log_odds))
