"""How spectra and losses are scaled for the autoencoder, and back."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from aelle.errors import TooFewError, UserError
from aelle.lyapunov.spectrum import signed_exp, signed_log

SCALINGS = ("log", "range")


class Scaling(NamedTuple):
    """`logarithmic`: a spectrum enters as sign(λ) log(1 + |λ|), a loss as its logarithm, both standardised on the
    training rows; the curve has a mean per point and one scale for all, so that its shape is kept. Otherwise a spectrum
    enters as it is, a loss divided by the range of losses, as the paper has it.
    """

    mean: Float[np.ndarray, "M"]
    scale: float
    loss_mean: float
    loss_scale: float
    worst: float
    """The largest finite loss, which replaces losses that are not finite."""
    logarithmic: bool

    @classmethod
    def of(cls, spectra: Float[np.ndarray, "n M"], losses: Float[np.ndarray, "n"], scaling: str = "log") -> "Scaling":
        """Fit the scaling. Raises ValueError if no loss is finite, or one is not positive."""
        finite = losses[np.isfinite(losses)]
        if not len(finite):
            raise TooFewError("no finite loss to fit to: every variant has diverged")
        if (finite <= 0).any():
            raise UserError(
                f"a loss of {finite.min():g} is not positive: AeLLE predicts the logarithm; give losses above 0"
            )
        worst = float(finite.max())
        if scaling == "range":
            return cls(np.zeros(spectra.shape[1]), 1.0, 0.0, float(np.ptp(finite)) or 1.0, worst, False)
        curves = signed_log(spectra)
        logs = np.log(np.where(np.isfinite(losses), losses, worst))
        scales = float(curves.std()) or 1.0, float(logs.std()) or 1.0
        return cls(curves.mean(0), scales[0], float(logs.mean()), scales[1], worst, True)

    def curves(self, spectra: Float[np.ndarray, "n M"]) -> Float[Tensor, "n M"]:
        values = signed_log(spectra) if self.logarithmic else spectra
        return torch.as_tensor((values - self.mean) / self.scale, dtype=torch.float32)

    def targets(self, losses: Float[np.ndarray, "n"]) -> Float[Tensor, "n"]:
        finite = np.where(np.isfinite(losses), losses, self.worst)
        values = np.log(finite) if self.logarithmic else finite
        return torch.as_tensor((values - self.loss_mean) / self.loss_scale, dtype=torch.float32)

    def spectra(self, curves: Float[Tensor, "n M"]) -> Float[np.ndarray, "n M"]:
        values = curves.double().numpy() * self.scale + self.mean
        return signed_exp(values) if self.logarithmic else values

    def losses(self, targets: Float[Tensor, "n"]) -> Float[np.ndarray, "n"]:
        values = targets.double().numpy() * self.loss_scale + self.loss_mean
        return np.exp(values) if self.logarithmic else values
