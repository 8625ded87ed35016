"""How columns and losses are scaled for the autoencoder, and back.

Axes: n row, F column.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aelle.errors import TooFewError
from aelle.model.columns import CONDITIONS, COVARIATES, CURVES, SIZE, Columns
from aelle.model.targets import check_positive

SCALINGS = ("log", "range")

DEVIATION_BESIDE = 2.0
"""Standard deviation of the length and of covariates, that of the other columns being 1: beside dozens of correlated
points, a single column has little weight. With 4, mixed sizes are ranked better still, but mixed cells worse."""

MAX_COLUMN = 8.0
"""Standard deviations at which a column is cut off: a network unlike those of the fit gets no extreme input."""

MAX_TARGET = 1 - 1e-6
"""Predicted targets are cut off here, before tanh is inverted: at 1, the loss would be infinite."""


class Scaling(NamedTuple):
    """`logarithmic`: columns are standardised on the training rows (see `DEVIATION_BESIDE`), a spectrum by a mean per
    point and one scale for all, so that its shape is kept; the target is tanh(log(loss / threshold) / spread),
    standardised: losses far from the threshold count as low or high, however far they are. Otherwise covariates are
    standardised, all else enters as it is, and a loss is divided by the range of losses, as the paper has it.
    """

    mean: Float[np.ndarray, "F"]
    scale: Float[np.ndarray, "F"]
    """Infinite for a length, feature or covariate that is the same in all rows of the fit: it enters as 0, whatever it
    is later, since nothing was learned about it."""
    loss_mean: float
    loss_scale: float
    spread: float
    """Standard deviation of the log losses."""
    threshold: float
    worst: float
    """The largest finite loss, but at least e times the threshold; it replaces losses that are not finite."""
    logarithmic: bool

    @classmethod
    def of(cls, given: Columns, losses: Float[np.ndarray, "n"], threshold: float, scaling: str = "log") -> "Scaling":
        """Fit the scaling. Raises ValueError if no loss is finite, or one is not positive."""
        finite = losses[np.isfinite(losses)]
        if not len(finite):
            raise TooFewError("no finite loss to fit to: every variant has diverged")
        check_positive(finite)
        # A diverged variant is high-error, also where all others are low-error.
        worst, logarithmic = max(float(finite.max()), threshold * np.e), scaling == "log"
        mean, scale = given.values.mean(0), given.values.std(0)
        scale[constant(given.values)] = np.inf
        for name, block in given.blocks.items():
            if name in CONDITIONS or (not logarithmic and name != COVARIATES):
                mean[block], scale[block] = 0, 1
            elif name in CURVES:
                deviation = float((given.values[:, block] - mean[block]).std())
                scale[block] = deviation if deviation >= 1e-9 else 1
            elif name in (SIZE, COVARIATES) and logarithmic:
                scale[block] /= DEVIATION_BESIDE
        if not logarithmic:
            return cls(mean, scale, 0.0, float(np.ptp(finite)) or 1.0, 1.0, threshold, worst, False)
        spread = float(np.log(np.where(np.isfinite(losses), losses, worst)).std()) or 1.0
        plain = cls(mean, scale, 0.0, 1.0, spread, threshold, worst, True)
        targets = plain.targets(losses).double()
        return plain._replace(loss_mean=float(targets.mean()), loss_scale=float(targets.std(correction=0)) or 1.0)

    def inputs(self, values: Float[np.ndarray, "n F"]) -> Float[Tensor, "n F"]:
        scaled = (values - self.mean) / self.scale
        return torch.as_tensor(np.clip(scaled, -MAX_COLUMN, MAX_COLUMN) if self.logarithmic else scaled)

    def targets(self, losses: Float[np.ndarray, "n"]) -> Float[Tensor, "n"]:
        finite = np.where(np.isfinite(losses), losses, self.worst)
        values = np.tanh(np.log(finite / self.threshold) / self.spread) if self.logarithmic else finite
        return torch.as_tensor((values - self.loss_mean) / self.loss_scale)

    def losses(self, targets: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        values = targets * self.loss_scale + self.loss_mean
        if not self.logarithmic:
            return values
        return self.threshold * np.exp(self.spread * np.arctanh(np.clip(values, -MAX_TARGET, MAX_TARGET)))


def constant(values: Float[np.ndarray, "n F"]) -> Bool[np.ndarray, "F"]:
    """Which columns are the same in all rows, but for rounding."""
    return values.std(0) < 1e-9 * (1 + np.abs(values.mean(0)))
