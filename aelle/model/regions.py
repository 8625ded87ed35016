"""Classifiers on the AeLLE plane: where low error is more likely than high error.

Axes: n variant, C component of the embedding. All three have log odds that are quadratic in the point z.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from sklearn.linear_model import LogisticRegression

Points = Float[np.ndarray, "n C"]
Low = Bool[np.ndarray, "n"]


class Region(NamedTuple):
    """Log odds of low error: intercept + linear · z + zᵀ quadratic z; the region is where they are above 0."""

    intercept: Float[np.ndarray, ""]
    linear: Float[np.ndarray, "C"]
    quadratic: Float[np.ndarray, "C C"]

    def log_odds(self, points: Points) -> Float[np.ndarray, "n"]:
        return self.intercept + points @ self.linear + np.einsum("nc,cd,nd->n", points, self.quadratic, points)


def threshold(points: Points, low: Low) -> Region:
    """A cut of PC1."""
    return _linear(points, low, 1)


def hyperplane(points: Points, low: Low) -> Region:
    """A line, or plane, through all components."""
    return _linear(points, low, points.shape[1])


def ellipse(points: Points, low: Low) -> Region:
    """An ellipse with the mean and the shape of the low-error points; its size separates the classes best."""
    inside = points[low]
    mean, C = inside.mean(0), points.shape[1]
    spread = np.cov(inside.T).reshape(C, C) if len(inside) > C else np.diag(points.var(0))
    # The ellipse of points on a line would have no width.
    inverse = np.linalg.inv(spread + 1e-3 * max(np.trace(spread) / C, 1e-12) * np.eye(C))
    distance = np.einsum("nc,cd,nd->n", points - mean, inverse, points - mean)
    logistic = LogisticRegression(solver="newton-cholesky").fit(distance[:, None], low)
    # If distant points are low-error, no ellipse fits: the region is then empty, or the whole plane.
    slope, intercept = min(float(logistic.coef_[0, 0]), 0.0), float(logistic.intercept_[0])
    quadratic = slope * inverse
    return Region(np.array(intercept + mean @ quadratic @ mean), -2 * quadratic @ mean, quadratic)


CLASSIFIERS: dict[str, Callable[[Points, Low], Region]] = {
    "threshold": threshold,
    "hyperplane": hyperplane,
    "ellipse": ellipse,
}


def _linear(points: Points, low: Low, components: int) -> Region:
    logistic = LogisticRegression(solver="newton-cholesky").fit(points[:, :components], low)
    linear = np.zeros(points.shape[1])
    linear[:components] = logistic.coef_[0]
    return Region(np.array(logistic.intercept_[0]), linear, np.zeros((points.shape[1],) * 2))
