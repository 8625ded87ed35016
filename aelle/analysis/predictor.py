"""The interface of a predictor of low error.

It is fitted to the known variants of a split with all their epochs, and scores other variants after epoch k, of which
it sees epochs 0 to k only. Its scores are log odds of low error: above 0, it predicts low error.

Axes: V variant, F input.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from aelle.sweep.table import SweepTable

LogOdds = Float[np.ndarray, "V"]
Inputs = Float[np.ndarray, "V F"]

MAX_LOG_ODDS = 30.0
"""Where all known variants are of one class."""


class Predictor(ABC):
    """`gives_chances`: whether its scores are log odds; otherwise they only rank."""

    name: str
    gives_chances: ClassVar[bool] = True
    sees_spectra: bool = False

    @abstractmethod
    def score(self, sweep: SweepTable, k: int) -> LogOdds: ...


def where_known(inputs: Inputs, log_odds: Callable[[Inputs], LogOdds]) -> LogOdds:
    """The log odds of finite rows. The others have diverged: −∞."""
    known = np.isfinite(inputs).all(1)
    scores = np.full(len(inputs), -np.inf)
    if known.any():
        scores[known] = log_odds(inputs[known])
    return scores
