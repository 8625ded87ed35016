"""Splits of variants, and scores of predictions, on plain arrays.

Axes: n variant. Class 1 (True) is low-error. A score is higher where low error is more likely.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.metrics import roc_auc_score

from aelle.errors import UserError
from aelle.variants import generator


class Scores(NamedTuple):
    """Fractions from 0 to 1; NaN where undefined. `auc` is the area under the ROC curve."""

    recall: float
    precision: float
    f1: float
    auc: float


def stratified_parts(low: Bool[np.ndarray, "n"], shares: Sequence[float], seed: int) -> list[Int[np.ndarray, "_"]]:
    """Indices of disjoint random parts of these shares, which sum to 1, with both classes in each like in the whole.

    Raises UserError where a class has fewer members than there are parts.
    """
    parts: list[list[int]] = [[] for _ in shares]
    for kind, name in ((True, "low"), (False, "high")):
        members = np.flatnonzero(low == kind)
        if len(members) < len(shares):
            raise UserError(
                f"{len(members)} of {len(low)} variants are {name}-error, too few for {len(shares)} parts that each "
                "hold some: train more variants, or choose a threshold nearer the middle of their losses"
            )
        shuffled = generator(seed, "split", name).permutation(members)
        cuts = np.round(np.cumsum(shares) * len(members)).astype(int)
        # Each part gets at least one, the largest gives.
        sizes = np.diff(cuts, prepend=0)
        while (sizes == 0).any():
            sizes[sizes.argmin()] += 1
            sizes[sizes.argmax()] -= 1
        for part, chunk in zip(parts, np.split(shuffled, np.cumsum(sizes)[:-1]), strict=True):
            part.extend(chunk)
    return [np.sort(part) for part in parts]


def score(low: Bool[np.ndarray, "n"], scores: Float[np.ndarray, "n"], kept: Bool[np.ndarray, "n"]) -> Scores:
    """How well `scores` rank the low-error variants, and how well the decision `kept` finds them."""
    hits = int((low & kept).sum())
    recall = hits / low.sum() if low.any() else np.nan
    precision = hits / kept.sum() if kept.any() else np.nan
    f1 = 2 * hits / (low.sum() + kept.sum()) if low.any() or kept.any() else np.nan
    auc = roc_auc_score(low, np.nan_to_num(scores)) if 0 < low.sum() < len(low) else np.nan
    return Scores(float(recall), float(precision), float(f1), float(auc))


def best_f1_cut(low: Bool[np.ndarray, "n"], scores: Float[np.ndarray, "n"]) -> float:
    """The cut, midway between two scores, above which the low-error variants are found with the highest F1."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    hits, kept = np.cumsum(low[order]), np.arange(1, len(low) + 1)
    f1 = 2 * hits / (kept + low.sum())
    last_of_ties = np.append(ranked[:-1] != ranked[1:], True)
    best = int(np.where(last_of_ties, f1, -1).argmax())
    return -np.inf if best == len(low) - 1 else float((ranked[best] + ranked[best + 1]) / 2)
