"""A fitted committee: autoencoders whose predictions are weighted by the stage of training, and their common latent.

Axes: S autoencoder, V view, G stage, n row, F column, L latent of the committee, l latent of a member.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import nnls
from torch import Tensor

from aelle.model.autoencoder import Autoencoders

STAGE_KERNEL = 0.05
"""Standard deviation of the stages whose rows decide about the weights at one."""

SHRINKAGE = 0.1
"""How strongly weights are drawn to equal ones, relative to the variance of the standardised targets."""

PRIOR = 0.5
"""Sum of the equal weights: predictions of what is hard to predict should stay small."""

LEADING = 1.5
"""Variance of the latent's first coordinate, relative to that of the next."""

BATCH = 1024
"""Rows that pass through the networks at a time."""


class Weights(NamedTuple):
    """Of the views' predictions, at each of some stages of training; in between they are interpolated."""

    stages: Float[np.ndarray, "G"]
    of_views: Float[np.ndarray, "G V"]

    def at(self, stage: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n V"]:
        return np.stack([np.interp(stage, self.stages, column) for column in self.of_views.T], 1)


class Gauge(NamedTuple):
    """The linear map from the members' latents and the prediction, next to each other, to the committee's latent.

    The first coordinate is the prediction, stretched to be the leading direction. The others are the principal
    components of what in the members' latents is uncorrelated with it, the leading ones if there are more than fit.
    """

    center: Float[np.ndarray, "i"]
    matrix: Float[np.ndarray, "i L"]

    def __call__(self, latents: Float[np.ndarray, "n i"]) -> Float[np.ndarray, "n L"]:
        return (latents - self.center) @ self.matrix


class Committee:
    """`networks`: a member for each fold and view, fold after fold. Without a gauge, the latent is that of the members,
    next to each other. `reconstructing`: the views that reconstruct the spectrum of any stage."""

    def __init__(
        self, networks: Autoencoders, weights: Weights, gauge: Gauge | None, reconstructing: Bool[np.ndarray, "V"]
    ):
        # In float32, a row's result would depend on the other rows of its batch.
        self.networks, self.weights, self.gauge, self.reconstructing = networks.double(), weights, gauge, reconstructing

    @property
    def views(self) -> int:
        return self.weights.of_views.shape[1]

    def predict(self, x: Float[Tensor, "n F"], stage: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """The weighted predictions: the standardised target."""
        return self.combined(self.members(x)[1], stage)

    def latent(self, x: Float[Tensor, "n F"], stage: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n L"]:
        latents, predictions = self.members(x)
        return self.common(latents, self.combined(predictions, stage))

    def common(
        self, latents: Float[np.ndarray, "n Sl"], prediction: Float[np.ndarray, "n"]
    ) -> Float[np.ndarray, "n L"]:
        """The latent of the committee, from its members' latents and its prediction."""
        return latents if self.gauge is None else self.gauge(np.concatenate([latents, prediction[:, None]], 1))

    @torch.no_grad()
    def decode(self, x: Float[Tensor, "n F"]) -> Float[np.ndarray, "n F"]:
        """The mean reconstruction of the members that are `reconstructing`."""
        count = len(self.networks.head.weight)
        reconstructing = self.networks.part([s for s in range(count) if self.reconstructing[s % self.views]])
        found = [
            reconstructing.decode(reconstructing.encode(part)).mean(0).numpy() for part in _batches(x, reconstructing)
        ]
        return np.concatenate(found)

    def combined(self, predictions: Float[np.ndarray, "S n"], stage: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        by_view = predictions.reshape(-1, self.views, len(stage)).mean(0)
        return np.einsum("nv,vn->n", self.weights.at(stage), by_view)

    @torch.no_grad()
    def members(self, x: Float[Tensor, "n F"]) -> tuple[Float[np.ndarray, "n Sl"], Float[np.ndarray, "S n"]]:
        """Their latents, next to each other, and predictions."""
        latents, predictions = [], []
        for part in _batches(x, self.networks):
            latent = self.networks.encode(part)
            latents.append(latent.transpose(0, 1).flatten(1).numpy())
            predictions.append(self.networks.predict(latent).numpy())
        return np.concatenate(latents), np.concatenate(predictions, 1)


def held_out(committee: Committee, x: Float[Tensor, "n F"], fold: Int[np.ndarray, "n"]) -> Float[np.ndarray, "V n"]:
    """What members predict of rows that they did not learn from."""
    predictions = np.zeros((committee.views, len(x)))
    for part, rows in _of_folds(committee, fold):
        predictions[:, rows] = part.members(x[rows])[1]
    return predictions


def held_out_decoded(
    committee: Committee, x: Float[Tensor, "n F"], fold: Int[np.ndarray, "n"]
) -> Float[np.ndarray, "n F"]:
    """How members reconstruct rows that they did not learn from."""
    decoded = np.zeros(x.shape)
    for part, rows in _of_folds(committee, fold):
        decoded[rows] = part.decode(x[rows])
    return decoded


def _of_folds(committee: Committee, fold: Int[np.ndarray, "n"]) -> Iterator[tuple[Committee, Int[np.ndarray, "m"]]]:
    V = committee.views
    for f in np.unique(fold):
        networks = committee.networks.part(slice(f * V, (f + 1) * V))
        yield Committee(networks, committee.weights, None, committee.reconstructing), np.flatnonzero(fold == f)


def weighted(
    predictions: Float[np.ndarray, "V n"], targets: Float[np.ndarray, "n"], stage: Float[np.ndarray, "n"]
) -> Weights:
    """The non-negative weights with the least squared error at each stage, drawn to equal ones."""
    at, where = np.unique(stage.round(2), return_inverse=True)
    counts = np.bincount(where)
    products = np.zeros((len(at), len(predictions), len(predictions)))
    np.add.at(products, where, np.einsum("vn,wn->nvw", predictions, predictions))
    answers = np.zeros((len(at), len(predictions)))
    np.add.at(answers, where, (predictions * targets).T)
    products, answers = products / counts[:, None, None], answers / counts[:, None]
    V, found = len(predictions), []
    for one in at:
        kernel = np.exp(-((at - one) ** 2) / (2 * STAGE_KERNEL**2))
        kernel /= kernel.sum()
        factor = np.linalg.cholesky(np.tensordot(kernel, products, 1) + SHRINKAGE * np.eye(V))
        right = np.linalg.solve(factor, kernel @ answers + SHRINKAGE * PRIOR / V)
        found.append(nnls(factor.T, right)[0])
    return Weights(at, np.array(found))


def gauge(latents: Float[np.ndarray, "n Sl"], prediction: Float[np.ndarray, "n"], latent_size: int) -> Gauge:
    center = np.append(latents.mean(0), prediction.mean())
    Z, T = latents - center[:-1], prediction - center[-1]
    variance = max(float(T @ T), 1e-12)
    slopes = Z.T @ T / variance
    rest = Z - T[:, None] * slopes
    values, vectors = np.linalg.eigh(rest.T @ rest)
    largest = np.argsort(values)[::-1][: latent_size - 1]
    stretch = np.sqrt(LEADING * max(float(values.max()), variance) / variance)
    matrix = np.zeros((len(center), latent_size))
    matrix[-1, 0] = stretch
    matrix[:-1, 1 : 1 + len(largest)] = vectors[:, largest]
    matrix[-1, 1 : 1 + len(largest)] = -slopes @ vectors[:, largest]
    return Gauge(center, matrix)


def _batches(x: Float[Tensor, "n F"], networks: Autoencoders) -> list[Float[Tensor, "S B F"]]:
    members = len(networks.head.weight)
    return [part.double().expand(members, -1, -1) for part in x.split(BATCH)]
