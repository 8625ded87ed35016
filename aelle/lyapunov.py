"""Lyapunov spectra of driven recurrent networks.

The state of a network h_t = f(h_{t-1}, x_t) is driven by an input sequence. With J_t = ∂h_t/∂h_{t-1} the exponents are
λ_i = (1/T) Σ_t log (R_t)_ii, Q_t R_t = J_t Q_{t-1}, Q_0 = I: natural logarithm, nats per step (Benettin et al. 1980;
for recurrent networks Vogt et al. 2022, Engelken et al. 2023).

How it is computed. Only the diagonal of R = R_T ··· R_1 is wanted, so what is carried from step to step need not be
orthogonal: any M_t with J_t M_{t-1} = M_t U_t, U_t upper triangular, gives the same R in the end, as long as M_t stays
well conditioned. LU with row pivoting gives such an M_t (a row-permuted unit lower triangle) at a quarter of the price
of QR, and it keeps the digits of rows of very different size, which saturated gates produce. One QR of M_T closes
the product: log (R_T)_ii = log |diag of that QR| + Σ_t log |diag U_t|.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from aelle import lstm
from aelle.lstm import LSTMWeights

FLOOR = -36.0
"""Nats per step. A faster contraction than ε of float64 in every step, an exactly singular one included, is set to it."""

CPU_CHUNK = 2**17
"""Numbers in one stack of Jacobians on a CPU: a megabyte in float64, which its caches hold."""

DEVICE_CHUNK = 2**27


@dataclass(frozen=True)
class Spectrum:
    """Lyapunov exponents, nats per step; any leading axes (a population's V) come first.

    `per_sequence` [..., B, K] in QR's order; `exponents` [..., K] their mean over sequences, descending; `stderr` [..., K]
    the standard error of that mean in the same order (NaN for one sequence); `clamped` [...] how many of the B·K reached
    the floor; `steps` averaged.
    """

    per_sequence: Float[Tensor, "*V B K"]
    exponents: Float[Tensor, "*V K"]
    stderr: Float[Tensor, "*V K"]
    clamped: Tensor
    steps: int

    @classmethod
    def from_rates(cls, rates: Float[Tensor, "*V B K"], steps: int) -> "Spectrum":
        """From the exponents of each sequence, −∞ where a Jacobian was singular."""
        clamped = (rates <= FLOOR).sum((-2, -1))
        rates = rates.clamp(min=FLOOR)
        exponents, order = rates.mean(-2).sort(-1, descending=True)
        deviation = rates.std(-2) if rates.shape[-2] > 1 else torch.full_like(exponents, torch.nan)
        stderr = deviation.gather(-1, order) / rates.shape[-2] ** 0.5
        return cls(rates, exponents, stderr, clamped, steps)

    @property
    def maximum(self) -> Tensor:
        return self.exponents[..., 0]

    def resample(self, points: int) -> Tensor:
        """The spectrum's curve at a common length, [..., points]: see `resample`."""
        return resample(self.exponents, points)


def resample(exponents: Float[Tensor, "*V K"], points: int) -> Float[Tensor, "*V M"]:
    """Exponent against index fraction, linearly interpolated at `points` fractions from 0 to 1, ends included."""
    if points < 1:
        raise ValueError(f"points={points}: a spectrum is resampled to at least 1 point")
    K = exponents.shape[-1]
    at = torch.linspace(0, K - 1, points, dtype=exponents.dtype, device=exponents.device)
    left = at.floor().long().clamp(max=max(K - 2, 0))
    right = (left + 1).clamp(max=K - 1)
    return torch.lerp(exponents[..., left], exponents[..., right], at - left)


@torch.no_grad()
def population_spectrum(
    weights: LSTMWeights,
    inputs: Float[Tensor, "B T I"],
    *,
    over: str = "hidden",
    dtype: torch.dtype = torch.float64,
) -> Spectrum:
    """Spectra of V LSTMs, each driven from the zero state by the same B sequences of T steps.

    `over`: "hidden", the H exponents of ∂h_t/∂h_{t-1} with the cell state held (the paper's), or "full", the 2H of (h, c).
    Computed in `dtype` on the weights' device; `per_sequence` is [V, B, N]. A variant with non-finite weights
    gets NaN and leaves the others alone.

    Raises ValueError for another `over`, inputs of the wrong shape, and non-finite inputs.
    """
    if over not in ("hidden", "full"):
        raise ValueError(f'over={over!r}: choose "hidden" (the paper\'s) or "full" (hidden and cell state)')
    B, T, I = check_inputs(inputs, weights.weight_ih.shape[-1])
    finite = torch.stack([w.flatten(1).isfinite().all(1) for w in weights]).all(0)
    weights = LSTMWeights(*(w.detach().to(dtype).nan_to_num(0, 0, 0) for w in weights))
    inputs = inputs.detach().to(weights.bias.device, dtype)
    V, _, H = weights.weight_hh.shape
    N = H if over == "hidden" else 2 * H

    def chunk_rates(chunk: tuple[slice, slice]) -> Float[Tensor, "V B N"]:
        variants, sequences = chunk
        part = LSTMWeights(*(w[variants] for w in weights))
        x = inputs[sequences].expand(len(part.bias), -1, -1, -1)
        state = lstm.zero_state(part, x.shape[1])

        def jacobians() -> Iterator[Tensor]:
            nonlocal state
            for t in range(T):
                state, J = lstm.step_with_jacobian(part, x[:, :, t], state, over)
                yield J

        return mean_log_diagonal(jacobians(), T)

    rates = inputs.new_empty(V, B, N)
    chunks = list(_chunks(V, B, N, inputs.device))
    for (variants, sequences), part in zip(chunks, _map(chunk_rates, chunks, inputs.device), strict=True):
        rates[variants, sequences] = part
    rates[~finite] = torch.nan
    return Spectrum.from_rates(rates, T)


def check_inputs(inputs: Tensor, width: int) -> tuple[int, int, int]:
    if inputs.ndim != 3 or 0 in inputs.shape or inputs.shape[-1] != width:
        raise ValueError(
            f"inputs of shape {list(inputs.shape)}: expected [B, T, {width}] with at least one sequence and one step"
        )
    if not inputs.isfinite().all():
        raise ValueError("inputs hold NaN or infinite values: the network cannot be driven by them")
    B, T, I = inputs.shape
    return B, T, I


def mean_log_diagonal(jacobians: Iterator[Float[Tensor, "V B N N"]], steps: int) -> Float[Tensor, "V B N"]:
    """(1/T) log |diag R| of the QR factorisation of J_T ··· J_1, −∞ where the product is singular."""
    M = log_diagonal = None
    for J in jacobians:
        if M is None:
            M, log_diagonal = split_triangular(J)
        else:
            M, log_pivots = split_triangular(J @ M)
            log_diagonal += log_pivots
    R = torch.linalg.qr(M, mode="r").R
    return (log_diagonal + R.diagonal(0, -2, -1).abs().log()) / steps


def split_triangular(A: Float[Tensor, "V B N K"]) -> tuple[Float[Tensor, "V B N K"], Float[Tensor, "V B K"]]:
    """A = M U with U upper triangular and M a row-permuted unit lower triangle: M and log |diag U|."""
    LU, pivots, _ = torch.linalg.lu_factor_ex(A)
    log_pivots = LU.diagonal(0, -2, -1).abs().log()
    P = torch.lu_unpack(LU, pivots, unpack_data=False).P
    N, K = A.shape[-2:]
    row_of_L = (P @ torch.arange(N, dtype=A.dtype, device=A.device)).long()
    L = LU.tril(-1)
    L.diagonal(0, -2, -1).fill_(1)
    offset = torch.arange(0, row_of_L.numel(), N, device=A.device)[:, None]
    rows = (row_of_L.view(-1, N) + offset).flatten()
    return L.reshape(-1, K).index_select(0, rows).view(A.shape), log_pivots


def _chunks(V: int, B: int, N: int, device: torch.device) -> Iterator[tuple[slice, slice]]:
    """Cut [V, B] so that a chunk's Jacobians fit the cache (CPU) or the memory (other devices)."""
    matrices = max(1, (CPU_CHUNK if device.type == "cpu" else DEVICE_CHUNK) // N**2)
    variants, sequences = (max(1, matrices // B), B) if device.type != "cpu" else (1, min(B, matrices))
    for v in range(0, V, variants):
        for b in range(0, B, sequences):
            yield slice(v, v + variants), slice(b, b + sequences)


def _map(function: Callable, chunks: list, device: torch.device) -> Iterator[Tensor]:
    """In order; on a CPU by torch's number of threads, each of which works alone on matrices that its cache holds."""
    threads = torch.get_num_threads()
    if device.type != "cpu" or min(threads, len(chunks)) == 1:
        yield from map(function, chunks)
        return
    with _single_threaded_kernels(), ThreadPoolExecutor(threads) as pool:
        yield from pool.map(_without_gradients(function), chunks)


def _without_gradients(function: Callable) -> Callable:
    """Gradient mode belongs to a thread."""

    def call(chunk):
        with torch.no_grad():
            return function(chunk)

    return call


@contextmanager
def _single_threaded_kernels() -> Iterator[None]:
    """Small factorisations lose by threads inside them, and MKL's threaded LU has given wrong pivots at N = 256."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def curve(exponents: np.ndarray, points: int) -> np.ndarray:
    """`resample` for arrays."""
    return resample(torch.as_tensor(exponents), points).numpy()
