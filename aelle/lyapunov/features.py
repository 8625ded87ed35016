"""Scalar features of a spectrum.

Axes: n spectrum, M point of the common-length spectrum, over index fractions from 0 to 1.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

SLOPE_SHARE = 0.1
"""Share of the points, at either end of the spectrum, over which its slope is taken."""


def _slope(spectra: Float[np.ndarray, "n M"], last: bool) -> Float[np.ndarray, "n"]:
    """Nats per step per unit of index fraction, over the first or the last tenth of the points."""
    M = spectra.shape[1]
    if M == 1:
        return np.zeros(len(spectra))
    points = max(1, round(SLOPE_SHARE * (M - 1)))
    part = spectra[:, -1 - points :] if last else spectra[:, : points + 1]
    return (part[:, -1] - part[:, 0]) / (points / (M - 1))


FEATURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "largest exponent": lambda spectra: spectra[:, 0],
    "share above zero": lambda spectra: (spectra > 0).mean(1),
    "initial slope": lambda spectra: _slope(spectra, last=False),
    "final slope": lambda spectra: _slope(spectra, last=True),
    "mean": lambda spectra: spectra.mean(1),
    "variance": lambda spectra: spectra.var(1),
}


def scalar_features(spectra: Float[np.ndarray, "n M"]) -> Float[np.ndarray, "n features"]:
    return np.stack([feature(spectra) for feature in FEATURES.values()], 1)
