"""Non-negative weights of members' log odds, learned from log odds of variants that the members were not fitted to.

Axes: E epoch, V variant, m member.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import nnls
from scipy.special import expit

MAX_LOG_ODDS = 6.0
"""Members' log odds are cut off here: none is surer than 400 to 1."""

SHRINKAGE = 10.0
"""How strongly weights are drawn to each other, as if so many variants asked for it."""

TOTAL_SHRINKAGE = 0.3
"""How strongly the sum of the weights is drawn to 1, and the intercept to 0."""

KERNEL = 0.08
"""Standard deviation, in √(share of training), of the epochs that decide about the weights at one."""

LEAST_KERNEL = 0.05
"""Epochs that count less are left out."""

MAX_STEPS = 50
"""Of Newton's method; a handful is the rule."""

LEAST_STEP = 1e-4
"""Of a whole step."""

TOLERANCE = 1e-6
"""Of the penalised loss, in nats."""


class Stack(NamedTuple):
    """Log odds are `intercept` + Σ weight × log odds of a member, at each of some epochs."""

    weights: Float[np.ndarray, "E m"]
    intercept: Float[np.ndarray, "E"]

    def log_odds(self, at: int, members: Float[np.ndarray, "V m"]) -> Float[np.ndarray, "V"]:
        return limited(members) @ self.weights[at] + self.intercept[at]

    def shifted(self, by: float) -> "Stack":
        """For networks whose log odds of low error are higher by that much than those that it was learned from."""
        return self._replace(intercept=self.intercept + by)


class StackAt(NamedTuple):
    """A stack of the `members` that some inputs allow, at `epochs`."""

    members: list[int]
    epochs: list[int]
    stack: Stack


def limited(log_odds: np.ndarray) -> np.ndarray:
    return np.clip(log_odds, -MAX_LOG_ODDS, MAX_LOG_ODDS)


def stack(members: Float[np.ndarray, "E V m"], low: Bool[np.ndarray, "V"], shares: Float[np.ndarray, "E"]) -> Stack:
    """The penalised maximum likelihood of the classes, at each epoch. `members`: NaN where one says nothing; such rows
    are left out. `shares`: of the training that has passed."""
    E, _, m = members.shape
    finite = np.isfinite(members).all(2)
    stage, found = np.sqrt(shares), np.zeros((E, m + 1))
    start = np.append(np.full(m, 1 / max(m, 1)), 0.0)
    for e in range(E):
        kernel = np.exp(-((stage - stage[e]) ** 2) / (2 * KERNEL**2))
        near = kernel > LEAST_KERNEL
        rows = finite & near[:, None]
        # Several epochs of one variant count as one variant.
        weights = np.broadcast_to((kernel / kernel[near].sum())[:, None], rows.shape)[rows]
        given = limited(members[rows])
        classes = np.broadcast_to(low, rows.shape)[rows].astype(float)
        found[e] = start = _fitted(given, classes, weights, start)
    return Stack(found[:, :m], found[:, m])


def _fitted(given: np.ndarray, classes: np.ndarray, counts: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Newton's method: each step is a quadratic problem with non-negative weights, shortened until the loss falls."""
    m = given.shape[1]
    columns = np.append(given, np.ones((len(given), 1)), 1)
    unequal = np.zeros((m + 1, m + 1))
    unequal[:m, :m] = np.eye(m) - 1 / m
    total = np.append(np.ones(m), 0.0)
    penalty = SHRINKAGE * unequal + TOTAL_SHRINKAGE * (np.outer(total, total) + np.diag(1 - total))

    def loss(at: np.ndarray) -> float:
        log_odds = columns @ at
        of_classes = counts @ (np.logaddexp(0, log_odds) - classes * log_odds)
        return float(of_classes + at @ penalty @ at - 2 * TOTAL_SHRINKAGE * total @ at)

    at, least = start, loss(start)
    for _ in range(MAX_STEPS):
        chance = expit(columns @ at)
        slope = columns.T @ (counts * (chance - classes)) + 2 * (penalty @ at - TOTAL_SHRINKAGE * total)
        curvature = (columns.T * (counts * chance * (1 - chance))) @ columns + 2 * penalty
        step = _least_quadratic(curvature, curvature @ at - slope) - at
        length = 1.0
        while (found := loss(at + length * step)) > least and length > LEAST_STEP:
            length /= 2
        if least - found < TOLERANCE:
            break
        at, least = at + length * step, found
    return at


def _least_quadratic(curvature: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The least ½ xᵀ curvature x − rightᵀ x, all x but the last non-negative."""
    m = len(right) - 1
    of_last = curvature[m, :m] / curvature[m, m]
    factor = np.linalg.cholesky(curvature[:m, :m] - np.outer(curvature[:m, m], of_last))
    weights = nnls(factor.T, np.linalg.solve(factor, right[:m] - right[m] * of_last), maxiter=1000)[0]
    return np.append(weights, right[m] / curvature[m, m] - of_last @ weights)
