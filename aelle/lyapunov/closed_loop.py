"""A network driven by its own output, as an autonomous dynamical system.

Axes: V variant, B sequence (one), N unit, K exponent.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aelle.cells.cell import tanh_and_slope
from aelle.lyapunov.checks import averaged_steps
from aelle.lyapunov.chunks import Chunk
from aelle.lyapunov.ensemble import Ensemble, measure
from aelle.lyapunov.interval import precisions
from aelle.lyapunov.spectrum import Spectrum


class ClosedLoop:
    """x ← (1−dt) x + dt A tanh x, A = M + w_f wᵀ; a tangent system for `aelle.lyapunov.product`.

    One step's Jacobian is (1−dt) I + dt A diag(1 − tanh² x); tangent vectors are rows, so it acts transposed.
    """

    def __init__(self, A: Float[Tensor, "V N N"], dt: float):
        self.A, self.dt, self.N = A, dt, A.shape[-1]
        self.A_of_products = A

    def precisions(self, K: int) -> list[torch.dtype]:
        """In which K tangent vectors can be advanced, the fastest first."""
        return precisions(self.A.dtype, self.N)

    def advance(
        self, t: int, state: Float[Tensor, "V B N"], D: Float[Tensor, "V B K N"], out: Float[Tensor, "V B K N"]
    ) -> Float[Tensor, "V B N"]:
        """The state after step t; `out` becomes the tangent vectors D after it."""
        r, slope = tanh_and_slope(state)
        stays, moves = 1 - self.dt, self.dt
        if self.A_of_products.dtype != D.dtype:
            self.A_of_products = self.A.to(D.dtype)
        pushed, A = (D * slope[:, :, None]).flatten(1, 2), self.A_of_products
        torch.baddbmm(D.flatten(1, 2), pushed, A.mT, beta=stays, alpha=moves, out=out.view(pushed.shape))
        return torch.baddbmm(state, r, self.A.mT, beta=stays, alpha=moves)

    def finite(self, state: Float[Tensor, "V B N"]) -> Bool[Tensor, "V B"]:
        return state.isfinite().all(-1)


@torch.no_grad()
def closed_loop_spectrum(
    M: Float[Tensor, "V N N"],
    w_f: Float[Tensor, "V N"],
    w: Float[Tensor, "V N"],
    x: Float[Tensor, "V N"],
    *,
    dt: float,
    steps: int | None,
    k: int | None = None,
    dtype: torch.dtype = torch.float64,
) -> Spectrum:
    """The leading k exponents (all, if N is less) over `steps` steps from x, nats per step of dt.

    One trajectory per variant, so `stderr` is NaN. A variant with NaN or infinity in w or x gets NaN.
    """
    V, N = x.shape
    K, steps = min(k or N, N), averaged_steps(None, steps, 0)
    finite = (w.isfinite() & x.isfinite()).all(-1)
    rates = torch.full((V, 1, K), torch.nan, dtype=dtype, device=x.device)
    resolved = torch.zeros(V, dtype=torch.int64, device=x.device)
    if finite.any():
        loops = [part[finite].to(dtype) for part in (M, w_f, w, x)]

        def part(chunk: Chunk) -> tuple[ClosedLoop, Tensor]:
            M, w_f, w, x = (tensor[chunk[0]] for tensor in loops)
            return ClosedLoop(torch.baddbmm(M, w_f[:, :, None], w[:, None]), dt), x[:, None]

        ensemble = Ensemble(int(finite.sum()), 1, N, x.device, dtype, True, part, weights=N**2)
        found = measure(ensemble, K=K, warmup=0, steps=steps)
        rates[finite], resolved[finite] = found.per_sequence, found.resolved
    return replace(Spectrum.from_rates(rates, steps, N), resolved=resolved)
