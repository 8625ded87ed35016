"""Ridge regression with its leave-one-out predictions in closed form, of single rows or of groups of rows.

Axes: n row, F column, P penalty, G group of one size, k row of a group.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm

PENALTIES = np.logspace(-2, 5, 22)
"""Of standardised columns; the leave-one-out error chooses."""

MAX_COLUMN = 6.0
"""Standard deviations at which a column is cut off."""


class Ridge(NamedTuple):
    """`error`: the standard deviation of the leave-one-out errors."""

    mean: Float[np.ndarray, "F"]
    scale: Float[np.ndarray, "F"]
    coefficients: Float[np.ndarray, "F"]
    intercept: float
    error: float

    def predict(self, columns: Float[np.ndarray, "n F"]) -> Float[np.ndarray, "n"]:
        return self.intercept + self._scaled(columns) @ self.coefficients

    def log_odds_below(self, level: float, prediction: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """Log odds that a value ends below `level`, if errors are normal."""
        z = (level - prediction) / self.error
        return norm.logcdf(z) - norm.logsf(z)

    def _scaled(self, columns: Float[np.ndarray, "n F"]) -> Float[np.ndarray, "n F"]:
        return np.clip((columns - self.mean) / self.scale, -MAX_COLUMN, MAX_COLUMN)


def fit_ridge(
    columns: Float[np.ndarray, "n F"], target: Float[np.ndarray, "n"], groups: Int[np.ndarray, "n"] | None = None
) -> tuple[Ridge, Float[np.ndarray, "n"]]:
    """The regression, and what it predicts for each row when fitted to the others, or to those of the other groups."""
    n = len(target)
    mean, scale = columns.mean(0), columns.std(0)
    scale = np.where(scale < 1e-9, 1.0, scale)
    bare = Ridge(mean, scale, np.zeros(columns.shape[1]), float(target.mean()), 1.0)
    U, d, Wt = np.linalg.svd(bare._scaled(columns), full_matrices=False)
    centred = target - target.mean()
    # The hat matrix is U diag(share) Uᵀ + 1/n, and the error without row i is eᵢ / (1 − hᵢ).
    shares = d**2 / (d**2 + PENALTIES[:, None])
    errors = centred - (shares * (U.T @ centred)) @ U.T
    if groups is None:
        errors = errors / (1 - np.minimum(shares @ (U**2).T + 1 / n, 1 - 1e-6))
    else:
        errors = _without_groups(errors, U, shares, groups)
    best = int((errors**2).mean(1).argmin())
    coefficients = Wt.T @ (d / (d**2 + PENALTIES[best]) * (U.T @ centred))
    error = max(float((errors[best] ** 2).mean()) ** 0.5, 1e-6)
    return bare._replace(coefficients=coefficients, error=error), target - errors[best]


def _without_groups(
    errors: Float[np.ndarray, "P n"],
    U: Float[np.ndarray, "n r"],
    shares: Float[np.ndarray, "P r"],
    groups: Int[np.ndarray, "n"],
) -> Float[np.ndarray, "P n"]:
    """The errors of a group's rows g when fitted to the others: (1 − H_gg)⁻¹ e_g. Groups of one size are solved at
    once."""
    found = np.empty_like(errors)
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    by_group, size_of_row = np.argsort(group, kind="stable"), sizes[group]
    for k in np.unique(sizes):
        rows = by_group[size_of_row[by_group] == k].reshape(-1, k)
        for p, share in enumerate(shares):
            hat = (U[rows] * share) @ U[rows].swapaxes(1, 2) + 1 / len(groups)
            found[p][rows] = np.linalg.solve((1 + 1e-6) * np.eye(k) - hat, errors[p][rows][..., None])[..., 0]
    return found
