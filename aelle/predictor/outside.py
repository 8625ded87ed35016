"""Which observations are unlike all that a predictor has learned from.

Axes: n row, F column, c component.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

from aelle.lyapunov.spectrum import signed_log
from aelle.predictor.members import LEAST_LOSS
from aelle.predictor.observed import Observed

NEIGHBOURS = 3
"""The distance is the mean of those to so many known rows."""

LIMIT = 0.99
"""Quantile of the known rows' own distances, each without itself and those of its group, beyond which a row may be
outside."""

SLACK = 1.5
"""A row is outside beyond this multiple of the limit: that of few known rows is uncertain."""

COMPONENTS = 6
"""Principal components in which distances are taken; one more coordinate is what they leave."""


class Neighbourhood(NamedTuple):
    """`points`: the known rows. Columns are standardised, then projected on the leading components."""

    mean: Float[np.ndarray, "F"]
    scale: Float[np.ndarray, "F"]
    components: Float[np.ndarray, "c F"]
    points: Float[np.ndarray, "n c"]
    limit: float

    def outside(self, columns: Float[np.ndarray, "m F"]) -> Bool[np.ndarray, "m"]:
        places = _projected(columns, self.mean, self.scale, self.components)
        distances = KDTree(self.points).query(places, NEIGHBOURS)[0].mean(1)
        return distances > SLACK * self.limit


def neighbourhood(
    columns: Float[np.ndarray, "n F"], groups: Int[np.ndarray, "n"] | None = None
) -> Neighbourhood | None:
    """None for too few rows. `groups`: which rows are alike, as repetitions of one draw of the hyperparameters; None
    for none."""
    same = 1 if groups is None else int(np.unique(groups, return_counts=True)[1].max())
    if len(columns) < same + NEIGHBOURS:
        return None
    mean, scale = columns.mean(0), columns.std(0)
    scale = np.where(scale < 1e-9, 1.0, scale)
    scaled = (columns - mean) / scale
    components = np.linalg.eigh(scaled.T @ scaled)[1][:, ::-1][:, :COMPONENTS].T
    points = _projected(columns, mean, scale, components)
    distances, near = KDTree(points).query(points, same + NEIGHBOURS)
    if groups is None:
        others = distances[:, 1:]
    else:
        own = groups[near] == groups[:, None]
        others = np.sort(np.where(own, np.inf, distances), 1)[:, :NEIGHBOURS]
    distances = others.mean(1)
    return Neighbourhood(mean, scale, components, points, max(float(np.quantile(distances, LIMIT)), 1e-9))


def neighbourhoods(at: Sequence[Observed], draws: Int[np.ndarray, "V"] | None) -> dict[str, dict[int, Neighbourhood]]:
    """Of the learning curves and of the spectra of the known networks, at each epoch. `draws`: which of them share a
    draw of the hyperparameters."""
    found: dict[str, dict[int, Neighbourhood]] = {"losses": {}, "spectra": {}}
    for name, by_epoch in found.items():
        for one in at:
            rows = one.known(name)
            groups = None if draws is None else draws[rows]
            near = neighbourhood(places(name, one.take(rows), one.epoch), groups) if rows.any() else None
            if near is not None:
                by_epoch[one.epoch] = near
    return found


def places(name: str, given: Observed, epoch: int) -> Float[np.ndarray, "V F"]:
    """Where networks are among the others: their log losses up to `epoch`, or their spectra."""
    if name == "losses":
        assert given.losses is not None
        finite = np.where(np.isfinite(given.losses), given.losses, 1.0)
        return np.log(np.maximum(finite, LEAST_LOSS))[:, : epoch + 1]
    assert given.spectra is not None
    return signed_log(np.concatenate([given.spectra.last, given.spectra.mean], 1))


def _projected(columns: np.ndarray, mean: np.ndarray, scale: np.ndarray, components: np.ndarray) -> np.ndarray:
    scaled = (columns - mean) / scale
    along = scaled @ components.T
    rest = np.sqrt(np.maximum((scaled**2).sum(1) - (along**2).sum(1), 0))
    return np.concatenate([along, rest[:, None]], 1)
