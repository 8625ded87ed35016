"""What is said of networks: log odds of low error, and what lies outside of what is known.

Axes: V variant.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import expit

from aelle.predictor.observed import Observed

CERTAIN = 30.0
"""Log odds of what is known: the final loss, or that a network has diverged."""


NO_SPECTRUM = "its spectrum is not finite, and nothing else is known"


class Prediction(NamedTuple):
    """`log_odds` [V] of low error; NaN where nothing is known of a network. `outside`: for each, what lies outside of
    what was learned from, in words, or ""; its chance is the share of low error among the known variants. Also why
    there is no chance, where the spectrum is not finite and nothing else is known."""

    log_odds: Float[np.ndarray, "V"]
    outside: list[str]

    @property
    def chance(self) -> Float[np.ndarray, "V"]:
        return expit(self.log_odds)


def with_what_is_certain(
    given: Observed, threshold: float, log_odds: Float[np.ndarray, "V"], outside: list[str]
) -> Prediction:
    """A final loss that is known decides; without it, a network that has not come so far has no chance."""
    log_odds = np.where(given.reached, log_odds, np.nan)
    said = np.where(given.reached & np.isnan(given.final), np.array(outside, dtype=object), "")
    if given.spectra is not None:
        said[given.reached & np.isnan(log_odds) & np.isnan(given.final) & ~given.spectra.known] = NO_SPECTRUM
    certain = np.where(given.final < threshold, CERTAIN, -CERTAIN)
    return Prediction(np.where(np.isnan(given.final), log_odds, certain), said.tolist())
