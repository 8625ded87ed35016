"""Splits of variants, and scores of predictions, on plain arrays.

Axes: n variant. Class 1 (True) is low-error. A score is higher where low error is more likely.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.metrics import roc_auc_score

from aelle.errors import TooFewError
from aelle.variants import generator


class Scores(NamedTuple):
    """Counts of low-error variants, of kept ones and of those that are both, and the area under the ROC curve."""

    low: int
    kept: int
    hits: int
    auc: float

    @property
    def recall(self) -> float:
        return self.hits / self.low if self.low else np.nan

    @property
    def precision(self) -> float:
        return self.hits / self.kept if self.kept else np.nan

    @property
    def f1(self) -> float:
        return 2 * self.hits / (self.low + self.kept) if self.low + self.kept else np.nan


def stratified_parts(low: Bool[np.ndarray, "n"], shares: Sequence[float], seed: int) -> list[Int[np.ndarray, "_"]]:
    """Indices of disjoint random parts of these shares, which sum to 1, with both classes in each like in the whole.

    Raises TooFewError where a class has fewer members than there are parts.
    """
    parts: list[list[int]] = [[] for _ in shares]
    for kind, name in ((True, "low"), (False, "high")):
        members = np.flatnonzero(low == kind)
        if len(members) < len(shares):
            raise TooFewError(
                f"{len(members)} of {len(low)} variants are {name}-error, too few for {len(shares)} parts that each "
                "hold some; train more variants, or judge by another threshold=…"
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
    auc = roc_auc_score(low, np.nan_to_num(scores)) if 0 < low.sum() < len(low) else np.nan
    return Scores(int(low.sum()), int(kept.sum()), int((low & kept).sum()), float(auc))
