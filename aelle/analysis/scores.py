"""Scores of predictions, on plain arrays.

Axes: n variant. Class 1 (True) is low-error. A score is higher where low error is more likely.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.special import expit


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
    counts = _counts(low, scores) if 0 < low.sum() < len(low) else None
    curve = _precision_recall(counts) if counts else None
    hits = (low & predicted).sum()
    return Scores(
        auc=_area(counts) if counts else np.nan,
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
    return _area(_counts(low, scores)) if 0 < low.sum() < len(low) else np.nan


def recall_at(precision: float, low: Bool[np.ndarray, "n"], scores: Float[np.ndarray, "n"]) -> float:
    """The largest recall, over all thresholds of the scores, with at least that precision."""
    return _recall_on(_precision_recall(_counts(low, scores)), precision)


class Counts(NamedTuple):
    """At each distinct score, the highest first: how many low-error variants, and how many of any kind, score as high
    or higher."""

    hits: Shaped[np.ndarray, "s"]
    of: Shaped[np.ndarray, "s"]


def _counts(low: Bool[np.ndarray, "n"], scores: Shaped[np.ndarray, "n"]) -> Counts:
    order = np.argsort(scores, kind="stable")[::-1]
    ranked = scores[order]
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(low) - 1)
    return Counts(np.cumsum(low[order])[ends], ends + 1)


def _area(counts: Counts) -> float:
    """Under the ROC curve."""
    hits, misses = (np.append(0, one) for one in (counts.hits, counts.of - counts.hits))
    return float(np.trapezoid(hits, misses) / (hits[-1] * misses[-1]))


def _precision_recall(counts: Counts) -> tuple[np.ndarray, np.ndarray]:
    return counts.hits / counts.of, counts.hits / counts.hits[-1]


def _recall_on(curve: tuple[np.ndarray, np.ndarray], precision: float) -> float:
    precisions, recalls = curve
    return float(recalls[precisions >= precision].max(initial=0))
