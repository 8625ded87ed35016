"""The Lyapunov spectrum as a result: exponents, their uncertainty, and quantities derived from them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from aelle.lyapunov.checks import check_whole


def floor(dtype: torch.dtype, N: int) -> float:
    """The least exponent that `dtype` resolves, log(2 N ε) nats per step: −31.2 (float64), −11.1 (float32) for N = 64.

    A direction that contracts faster is set to it, and so is one that an exactly singular Jacobian has removed, as
    rounding makes it reappear below 2 N ε, as in the numerical rank of a matrix.
    """
    return math.log(2 * N * torch.finfo(dtype).eps)


RESOLVED = 5e-4
"""Nats per step: the largest estimated error of an exponent that counts as resolved. Half of what is promised, because
estimates have been found too low."""


@dataclass(frozen=True, repr=False)
class Spectrum:
    """Lyapunov exponents, nats per step of length `dt`, that is, per unit of time; per step where dt is 1.

    A population's variant axis V comes first in every field. `per_sequence` [..., B, K] in QR's order; `exponents`
    [..., K] their mean over sequences, descending; `stderr` [..., K] the standard error of that mean in the same order:
    over the sequences, or, of a single one, over blocks of time (NaN if there are too few steps); `clamped` [...] how
    many of the B·K reached the floor; `resolved` [...] how many of the K, from the largest on, have enough digits: they
    are within 1e-3 nats per step of exact arithmetic along the same trajectory, by the engine's own estimate; `steps`
    averaged; `history` [..., steps, K], on request, the exponents after 1, 2, … steps, in the order of `exponents`,
    with which its last row agrees. Tensors are on the device and in the precision of the measurement.
    """

    per_sequence: Float[Tensor, "*V B K"]
    exponents: Float[Tensor, "*V K"]
    stderr: Float[Tensor, "*V K"]
    clamped: Int[Tensor, "*V"]
    resolved: Int[Tensor, "*V"]
    steps: int
    history: Float[Tensor, "*V steps K"] | None = None
    dt: float = 1.0

    @classmethod
    def from_rates(
        cls,
        rates: Float[Tensor, "*V B K"],
        steps: int,
        N: int,
        running: Float[Tensor, "*V B steps K"] | None = None,
        stderr: Float[Tensor, "*V B K"] | None = None,
        error: Float[Tensor, "*V B K"] | None = None,
        dt: float = 1.0,
    ) -> "Spectrum":
        """From each sequence's exponents per step, −∞ for singular Jacobians, and (`running`) those after each step.

        `stderr`: each sequence's own standard error, which a single sequence's is. `error`: what rounding may have
        added to its exponents, per step; by default nothing.
        """
        lowest = floor(rates.dtype, N)
        at_floor = rates <= lowest
        known = rates.isfinite().all(-2) & ~at_floor.any(-2)
        if error is not None:
            known &= error.mean(-2) <= RESOLVED
        rates = rates.clamp(min=lowest) / dt
        exponents, order = rates.mean(-2).sort(-1, descending=True)
        if rates.shape[-2] > 1:
            spread = rates.std(-2) / rates.shape[-2] ** 0.5
        else:
            spread = torch.full_like(exponents, torch.nan) if stderr is None else stderr[..., 0, :] / dt
        resolved = known.gather(-1, order).long().cumprod(-1).sum(-1)
        history = None
        if running is not None:
            history = running.clamp(min=lowest).mean(-3) / dt
            history = history.gather(-1, order[..., None, :].expand_as(history))
        return cls(rates, exponents, spread.gather(-1, order), at_floor.sum((-2, -1)), resolved, steps, history, dt)

    def __repr__(self) -> str:
        shape = list(self.per_sequence.shape)
        time = "" if self.dt == 1 else f", dt={self.dt}"
        return (
            f"Spectrum(exponents={self.exponents}, per_sequence={shape}, steps={self.steps}, "
            f"clamped={self.clamped}, resolved={self.resolved}{time})"
        )

    def of_variant(self, v: int) -> "Spectrum":
        """The spectrum of member `v` of a population, without the variant axis."""
        history = None if self.history is None else self.history[v]
        own = self.per_sequence[v], self.exponents[v], self.stderr[v], self.clamped[v], self.resolved[v]
        return Spectrum(*own, self.steps, history, self.dt)

    @property
    def maximum(self) -> Float[Tensor, "*V"]:
        """The largest exponent, in nats per unit of time: positive for chaos."""
        return self.exponents[..., 0]

    @property
    def entropy_rate(self) -> Float[Tensor, "*V"]:
        """The sum of the positive exponents, in nats per unit of time: an upper bound of the Kolmogorov–Sinai entropy
        (Pesin 1977)."""
        return entropy_rate(self.exponents)

    @property
    def kaplan_yorke_dimension(self) -> Float[Tensor, "*V"]:
        """D = j + (λ_1 + … + λ_j) / |λ_{j+1}|, with the largest j whose sum is not negative: an estimate of the
        attractor's dimension (Kaplan & Yorke 1979). 0 if λ_1 < 0; K, then a lower bound, if no sum is negative."""
        return kaplan_yorke_dimension(self.exponents)

    def resample(self, points: int) -> Float[Tensor, "*V M"]:
        """The spectrum as a curve of `points` points, to compare networks of different size: exponent against index
        fraction, linearly interpolated from 0 to 1, ends included. Raises ValueError for less than one point."""
        return resample(self.exponents, points)

    def plot(self, axes: Any = None) -> Any:
        """A matplotlib figure: the exponents with their standard errors and, with `history`, how they converge.

        `axes`: an array of two Axes to draw into, of one if there is no history. Of a population, take one member's
        (`of_variant`) first.
        """
        from aelle.lyapunov.plot import plot

        return plot(self, axes)


def entropy_rate(exponents: Float[Tensor, "*V K"]) -> Float[Tensor, "*V"]:
    """Sum of the positive exponents, nats per unit of theirs: Pesin's bound of the Kolmogorov–Sinai entropy."""
    return exponents.clamp(min=0).sum(-1)


def kaplan_yorke_dimension(exponents: Float[Tensor, "*V K"]) -> Float[Tensor, "*V"]:
    """D = j + (λ_1 + … + λ_j) / |λ_{j+1}| with the largest j whose sum is not negative; 0 if λ_1 < 0.

    K if even the sum of all K is not negative: the attractor fills the space; for the leading k only, a lower bound.
    """
    sums = torch.nn.functional.pad(exponents.cumsum(-1), (1, 0))
    j = (sums[..., 1:] >= 0).sum(-1, keepdim=True)
    following = torch.nn.functional.pad(exponents, (0, 1), value=-torch.inf).gather(-1, j)
    dimension = (j + sums.gather(-1, j) / following.abs())[..., 0]
    return torch.where(exponents.isnan().any(-1), torch.nan, dimension)


def resample(exponents: Float[Tensor, "*V K"], points: int) -> Float[Tensor, "*V M"]:
    """`exponents` [..., K], descending, as a curve of common length [..., M], in the same unit: exponent against index
    fraction, linearly interpolated at `points` fractions from 0 to 1, ends included. Raises ValueError for less than
    one point. Source: Vogt et al. 2022."""
    check_whole("points", points, 1)
    K = exponents.shape[-1]
    at = torch.linspace(0, K - 1, points, dtype=exponents.dtype, device=exponents.device)
    left = at.floor().long().clamp(max=max(K - 2, 0))
    right = (left + 1).clamp(max=K - 1)
    return torch.lerp(exponents[..., left], exponents[..., right], at - left)


def curve(exponents: np.ndarray, points: int) -> np.ndarray:
    """`resample` for arrays."""
    return resample(torch.as_tensor(exponents), points).numpy()


def common_length(spectra: Float[np.ndarray, "*n K"]) -> tuple[Float[np.ndarray, "*n K"], Int[np.ndarray, "*n"]]:
    """Spectra of networks of several sizes, NaN after the last exponent of a smaller one, resampled to K points; and
    how many exponents each has. NaN, and 0, where a spectrum is empty or not finite before its end."""
    curves, exponents = np.full_like(spectra, np.nan), np.zeros(spectra.shape[:-1], dtype=int)
    lengths, finite = (~np.isnan(spectra)).sum(-1), np.isfinite(spectra)
    for K in np.unique(lengths[lengths > 0]):
        rows = (lengths == K) & finite[..., :K].all(-1)
        curves[rows], exponents[rows] = curve(spectra[rows][:, :K], spectra.shape[-1]), K
    return curves, exponents


def signed_log(spectra: Float[np.ndarray, "*n M"]) -> Float[np.ndarray, "*n M"]:
    """sign(λ) log(1 + |λ|): compresses strong contraction, where spectra differ by tens of nats."""
    return np.sign(spectra) * np.log1p(np.abs(spectra))


def signed_exp(curves: Float[np.ndarray, "*n M"]) -> Float[np.ndarray, "*n M"]:
    """The inverse of `signed_log`."""
    return np.sign(curves) * np.expm1(np.abs(curves))
