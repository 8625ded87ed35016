"""The mean of a network's spectra so far.

Axes: V variant, M point of the common-length spectrum.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from aelle.lyapunov.spectrum import signed_exp, signed_log


class RunningMean:
    """The mean of sign(λ) log(1 + |λ|) over all spectra that were added, in nats per step again.

    One epoch's spectrum is noisy; the mean so far is a better predictor until late in the training.
    """

    def __init__(self):
        self.total, self.count = np.zeros((1, 1)), np.zeros((1, 1))

    def add(self, spectra: Float[np.ndarray, "V M"]) -> Float[np.ndarray, "V M"]:
        """The mean including these; NaN for a variant whose spectrum is not finite and thus not counted."""
        known = np.isfinite(spectra).all(1, keepdims=True)
        self.total = self.total + np.where(known, signed_log(spectra), 0)
        self.count = self.count + known
        with np.errstate(invalid="ignore"):
            return signed_exp(np.where(known, self.total / self.count, np.nan))

    def take(self, rows: Sequence[int]) -> None:
        """Continue with these variants only."""
        self.total, self.count = self.total[list(rows)], self.count[list(rows)]
