"""Scores of predictions, on plain arrays.

Axes: n variant. Class 1 (True) is low-error. A score is higher where low error is more likely.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.special import expit
from scipy.stats import rankdata


class Scores(NamedTuple):
    """Of the ranking: ROC AUC (`auc`), `average_precision`, and `recall_at_precision`, the largest recall with a
    precision of at least `PRECISION`. Of the predicted class: `recall`, `precision`, `f1`. Of the chances: the Brier
    score, their mean squared error. NaN where undefined."""

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
    low: Bool[np.ndarray, "n"], scores: Float[np.ndarray, "n"], predicted: Bool[np.ndarray, "n"], chances: bool = False
) -> Scores:
    """`low`, `predicted`: the true and the predicted class; `scores` rank; `chances`: whether they are log odds."""
    scores = np.nan_to_num(scores)
    ranked = 0 < low.sum() < len(low)
    curve = _precision_recall(low, scores) if ranked else None
    hits = (low & predicted).sum()
    return Scores(
        auc=roc_auc(low, scores),
        average_precision=float(np.diff(curve[1], prepend=0) @ curve[0]) if curve else np.nan,
        recall_at_precision=_recall_on(curve, PRECISION) if curve else np.nan,
        recall=float(hits / low.sum()) if low.any() else np.nan,
        precision=float(hits / predicted.sum()) if predicted.any() else np.nan,
        f1=float(2 * hits / (low.sum() + predicted.sum())) if low.any() or predicted.any() else np.nan,
        brier=float(((expit(scores) - low) ** 2).mean()) if chances else np.nan,
    )


def roc_auc(low: Bool[np.ndarray, "n"], scores: Shaped[np.ndarray, "n"]) -> float:
    """The probability that a low-error variant is ranked above a high-error one, ties counting half; NaN where there is
    one class only. scikit-learn's, without its checks: it is called hundreds of times per resampled interval."""
    n = int(low.sum())
    if not 0 < n < len(low):
        return np.nan
    return float((rankdata(scores)[low].sum() - n * (n + 1) / 2) / (n * (len(low) - n)))


def recall_at(precision: float, low: Bool[np.ndarray, "n"], scores: Float[np.ndarray, "n"]) -> float:
    """The largest recall, over all thresholds of the scores, with at least that precision."""
    return _recall_on(_precision_recall(low, scores), precision)


def _precision_recall(low: Bool[np.ndarray, "n"], scores: Float[np.ndarray, "n"]) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall at each distinct score, the highest first."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(low[order])
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(low) - 1)
    return hits[ends] / (ends + 1), hits[ends] / hits[-1]


def _recall_on(curve: tuple[np.ndarray, np.ndarray], precision: float) -> float:
    precisions, recalls = curve
    return float(recalls[precisions >= precision].max(initial=0))
