"""The trained networks embedded by their weights, their spectra and AeLLE's latent (Vogt et al. 2022, Fig. 1).

Axes: n variant, V variant of the plane, C component.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from aelle.analysis.embeddings import PICTURES, Agreement, agreement, picture, principal_components
from aelle.analysis.plane import TrainedPlane
from aelle.analysis.weights import Weights
from aelle.lyapunov.spectrum import signed_log
from aelle.model.regions import Region


class Embedding(NamedTuple):
    """Where the variants `rows` of the plane lie, and the region of low error where there is one."""

    title: str
    points: Float[np.ndarray, "n C"]
    rows: Int[np.ndarray, "n"]
    region: Region | None = None


class Comparison(NamedTuple):
    """`agreements`: per embedding, that of its test variants, and of those alone whose weights are shown, too.
    `weights`: what the first embedding shows; None where it is not of weights, for the `reason`."""

    embeddings: list[Embedding]
    agreements: list[tuple[Agreement, Agreement]]
    weights: Weights | None
    reason: str


def compare(
    plane: TrainedPlane, weights: Weights | None, reason: str, pictures: Sequence[str], seed: int
) -> Comparison:
    """Weights, spectra, AeLLE's plane, and the named pictures of its latent."""
    every = np.arange(len(plane.points))
    spectra = signed_log(plane.sweep.spectra[:, -1])
    shown = [
        Embedding("spectra, PCA", principal_components([spectra]), every),
        Embedding("AeLLE, PCA", plane.points, every, plane.region),
        *(Embedding(f"AeLLE, {PICTURES[word][0]}", picture(word, plane.latent, seed), every) for word in pictures),
    ]
    common = every
    if weights is not None:
        common = weights.rows
        shown.insert(0, Embedding("weights, PCA", principal_components(weights.blocks()), common))
    return Comparison(shown, [(_of(plane, e, every), _of(plane, e, common)) for e in shown], weights, reason)


def _of(plane: TrainedPlane, embedding: Embedding, among: Int[np.ndarray, "_"]) -> Agreement:
    """Of the embedding's variants that are `among` these."""
    kept = np.isin(embedding.rows, among)
    rows = embedding.rows[kept]
    return agreement(embedding.points[kept], plane.sweep.low_error[rows], plane.test[rows])
