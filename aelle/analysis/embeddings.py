"""Embeddings of variants as points on a plane, compared by how often nearest neighbours are of one class.

Source of the comparison: Vogt et al. 2022, Fig. 1. Axes: n variant, V variant of the plane, D dimension, C component.
"""

from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA, KernelPCA
from sklearn.manifold import TSNE

from aelle.analysis.plane import TrainedPlane
from aelle.analysis.weights import TrainedWeights
from aelle.errors import UserError
from aelle.lyapunov.spectrum import signed_log
from aelle.model.regions import Region

Points = Float[np.ndarray, "n C"]
Latent = Float[np.ndarray, "n L"]

MIN_POINTS = 4
"""Distinct points that t-SNE and UMAP need; fewer are shown by PCA."""


class Agreement(NamedTuple):
    """Nearest-neighbour `accuracy`: of `n` variants, the share whose nearest neighbour is of their class. Random
    neighbours would give `chance_level`. NaN where there are none."""

    accuracy: float
    chance_level: float
    n: int


def agreement(
    points: Points,
    low: Bool[np.ndarray, "n"],
    scored: Bool[np.ndarray, "n"],
    draws: Int[np.ndarray, "n"] | None = None,
) -> Agreement:
    """Of the `scored` variants; every other point can be their neighbour, unless it shares their draw of the
    hyperparameters, and equally near ones count equally."""
    rows, group = np.flatnonzero(scored), np.arange(len(points)) if draws is None else draws
    if len(np.unique(group)) < 2 or not len(rows):
        return Agreement(np.nan, np.nan, 0)
    other = group[rows, None] != group
    distances = np.where(other, cdist(points[rows], points), np.inf)
    nearest = distances == distances.min(1, keepdims=True)
    same = low[rows, None] == low
    chance = (same & other).sum(1) / other.sum(1)
    return Agreement(float(((nearest & same).sum(1) / nearest.sum(1)).mean()), float(chance.mean()), len(rows))


def principal_components(blocks: Iterable[Float[np.ndarray, "n _"]]) -> Points:
    """The first two principal components of values [n, D] that come as blocks of columns: exact, by the n × n Gram
    matrix. One block is in memory at a time; the cost is n² D multiplications.
    """
    products: Float[np.ndarray, "n n"] | None = None
    for block in blocks:
        centred = block - block.mean(0)
        products = centred @ centred.T + (0 if products is None else products)
    if products is None:
        raise ValueError("no values: principal components need at least one block of columns")
    return KernelPCA(min(2, len(products)), kernel="precomputed", eigen_solver="dense").fit_transform(products)


def tsne(latent: Latent, seed: int) -> Points:
    """Preserves neighbourhoods, not distances."""
    start = "pca" if latent.shape[1] > 1 else "random"
    return TSNE(perplexity=min(30.0, (len(latent) - 1) / 3), init=start, random_state=seed).fit_transform(latent)


def umap(latent: Latent, seed: int) -> Points:
    """Preserves neighbourhoods and, in part, distances. One thread, so that the seed determines the result."""
    # Importing it takes seconds.
    from umap import UMAP

    neighbours = min(15, len(latent) - 1)
    return UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(latent)  # pyright: ignore[reportReturnType]


MAX_PICTURED = 500
"""Variants in a picture, about: t-SNE of many takes minutes."""

PICTURES: dict[str, tuple[str, Callable[[Latent, int], Points]]] = {"tsne": ("t-SNE", tsne), "umap": ("UMAP", umap)}
"""Embeddings for viewing only, by their name in the configuration: title and function."""


def picture(word: str, latent: Latent, seed: int) -> Points:
    """Equal points share one place. Fewer than `MIN_POINTS` distinct ones are shown by PCA."""
    different, which = np.unique(latent, axis=0, return_inverse=True)
    if len(different) < MIN_POINTS:
        return PCA(min(2, *latent.shape)).fit_transform(latent) if len(different) > 1 else np.zeros((len(latent), 2))
    return PICTURES[word][1](different, seed).astype(np.float64)[which.ravel()]


def check_pictures(words: object) -> list[str]:
    """The names as a list without repetition. Raises UserError for an unknown one, or if umap-learn is missing."""
    chosen = [words] if isinstance(words, str) else list(words) if isinstance(words, (list, tuple)) else [words]
    for word in chosen:
        if not isinstance(word, str) or word not in PICTURES:
            raise UserError(f"pictures={word}: choose {', '.join(PICTURES)}, several as [tsne,umap], or none as []")
    if "umap" in chosen and find_spec("umap") is None:
        raise UserError("pictures=umap needs a package that is not installed: pip install umap-learn")
    return list(dict.fromkeys(map(str, chosen)))


class Embedding(NamedTuple):
    """The places of the plane's variants `rows`, and the region of low error where there is one."""

    title: str
    points: Float[np.ndarray, "n C"]
    rows: Int[np.ndarray, "n"]
    region: Region | None = None


class Comparison(NamedTuple):
    """`agreements`: per embedding, that of all its test variants, and that of those whose weights are shown. `weights`:
    what the first embedding shows, or None for the `reason`."""

    embeddings: list[Embedding]
    agreements: list[tuple[Agreement, Agreement]]
    weights: TrainedWeights | None
    reason: str


def compare(
    plane: TrainedPlane, weights: TrainedWeights | None, reason: str, pictures: Sequence[str], seed: int
) -> Comparison:
    """Embeddings of weights and spectra, AeLLE's plane, and the named pictures of its latent."""
    every = np.arange(len(plane.points))
    spectra = signed_log(plane.sweep.spectra[:, -1])
    some = every[:: -(-len(every) // MAX_PICTURED)]
    shown = [
        Embedding("spectra, PCA", principal_components([spectra]), every),
        Embedding("AeLLE, PCA", plane.points, every, plane.region),
        *(Embedding(f"AeLLE, {PICTURES[word][0]}", picture(word, plane.latent[some], seed), some) for word in pictures),
    ]
    common = every
    if weights is not None:
        common = weights.rows
        shown.insert(0, Embedding("weights, PCA", principal_components(weights.blocks()), common))
    return Comparison(shown, [(_of(plane, e, every), _of(plane, e, common)) for e in shown], weights, reason)


def _of(plane: TrainedPlane, embedding: Embedding, among: Int[np.ndarray, "_"]) -> Agreement:
    """Of the embedding's variants that are `among` these."""
    taken = np.isin(embedding.rows, among)
    rows = embedding.rows[taken]
    sweep = plane.sweep.take(rows)
    return agreement(embedding.points[taken], sweep.low_error, plane.test[rows], sweep.draws)
