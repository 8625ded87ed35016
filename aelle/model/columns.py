"""What enters an autoencoder: columns made of a network's spectra so far, and what else is known of it.

Axes: n row, M point of the spectrum that enters, c covariate, F column.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from aelle.lyapunov.features import scalar_features
from aelle.lyapunov.spectra_so_far import SpectraSoFar
from aelle.lyapunov.spectrum import curve, signed_log

CURVES = ("spectrum", "mean")
"""The last spectrum, and the mean of the spectra so far."""

FEATURES = ("features", "features of the mean")
"""The scalar features of either."""

SIZE = "length"
"""The logarithm of how many exponents the network has, which a spectrum of common length no longer shows."""

COVARIATES = "covariates"
"""What is known of the network beside its spectra, if anything is."""

CONDITIONS = ("stage",)
"""The stage of the training, which is not reconstructed: it is no property of the network."""

EXACT = (*CONDITIONS, SIZE)
"""Known exactly: they get no noise."""


class Columns(NamedTuple):
    values: Float[np.ndarray, "n F"]
    blocks: dict[str, slice]
    """Where the columns of each block are."""


def columns(
    seen: SpectraSoFar, points: int, logarithmic: bool, covariates: Float[np.ndarray, "n c"] | None = None
) -> Columns:
    """All blocks, with logarithms of spectra and features; or the spectrum as it is, as the paper has it, and
    covariates. `points`: the length to which spectra are resampled."""
    spectra = dict(zip(CURVES, (seen.last, seen.mean), strict=True))
    parts = {name: one if one.shape[1] == points else curve(one, points) for name, one in spectra.items()}
    if not logarithmic:
        del parts["mean"]
    else:
        parts = {name: signed_log(part) for name, part in parts.items()}
        for name, one in zip(FEATURES, spectra.values(), strict=True):
            parts[name] = signed_log(scalar_features(one))
        parts["stage"] = 2 * stage(seen.share)[:, None] - 1
        parts[SIZE] = np.log(seen.exponents)[:, None]
    if covariates is not None:
        parts[COVARIATES] = covariates
    ends = np.cumsum([part.shape[1] for part in parts.values()]).tolist()
    starts = [0, *ends[:-1]]
    blocks = {name: slice(start, end) for name, start, end in zip(parts, starts, ends, strict=True)}
    return Columns(np.concatenate(list(parts.values()), 1), blocks)


def stage(share: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """0 before training, 1 at its end; early epochs are further apart, since spectra change fastest there."""
    return np.sqrt(share)
