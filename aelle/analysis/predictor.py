"""What a predictor of low error is.

It is made from the known variants of a split, of which it may see everything, and is asked for scored ones after epoch
k, of which it sees epochs 0 to k only. It gives log odds of low error; what is above 0 is kept.

Axes: V variant, F input.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from aelle.sweep.table import SweepTable

Scores = Float[np.ndarray, "V"]
Inputs = Float[np.ndarray, "V F"]

CERTAIN = 30.0
"""Log odds beyond which nothing is told apart."""


class Predictor(ABC):
    """`gives_chances`: whether its scores are log odds, or only rank."""

    name: str
    gives_chances: ClassVar[bool] = True
    sees_spectra: ClassVar[bool] = False

    @abstractmethod
    def score(self, sweep: SweepTable, k: int) -> Scores: ...


def where_known(inputs: Inputs, log_odds: Callable[[Inputs], Scores]) -> Scores:
    """Of rows that are finite; the others have diverged and will not end low-error."""
    known = np.isfinite(inputs).all(1)
    scores = np.full(len(inputs), -np.inf)
    if known.any():
        scores[known] = log_odds(inputs[known])
    return scores
