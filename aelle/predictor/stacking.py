"""Non-negative weights of members' log odds, learned from log odds of variants that the members were not fitted to.

Axes: E epoch, V variant, m member.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import minimize
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


class Stack(NamedTuple):
    """Log odds are `intercept` + Σ weight × log odds of a member, at each of some epochs."""

    weights: Float[np.ndarray, "E m"]
    intercept: Float[np.ndarray, "E"]

    def log_odds(self, at: int, members: Float[np.ndarray, "V m"]) -> Float[np.ndarray, "V"]:
        return limited(members) @ self.weights[at] + self.intercept[at]


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
    m = given.shape[1]

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights, intercept = parameters[:m], parameters[m]
        log_odds = given @ weights + intercept
        unequal, excess = weights - weights.mean(), weights.sum() - 1
        loss = counts @ (np.logaddexp(0, log_odds) - classes * log_odds)
        loss += SHRINKAGE * unequal @ unequal + TOTAL_SHRINKAGE * (excess**2 + intercept**2)
        slope = counts * (expit(log_odds) - classes)
        by_weight = given.T @ slope + 2 * (SHRINKAGE * unequal + TOTAL_SHRINKAGE * excess)
        return float(loss), np.append(by_weight, slope.sum() + 2 * TOTAL_SHRINKAGE * intercept)

    bounds = [(0, None)] * m + [(None, None)]
    return minimize(
        objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 100, "ftol": 1e-8}
    ).x
