"""The gated recurrent unit. Gates in PyTorch's order: r, z, n."""

import torch
from jaxtyping import Float
from torch import Tensor

from aelle.cells.cell import Cell, Slopes, State, Weights, driven, recurrent, sigmoids, tanh_and_slope
from aelle.cells.fused import GRU_GATES, kernel_for, one_step


class GRU(Cell):
    """n = tanh(a_n + r b_n), h' = (1 − z) n + z h, where a = W_ih x + b_ih, b = W_hh h + b_hh, r = σ(a_r + b_r) …"""

    gates, parts = 3, 1

    def update(self, weights: Weights, driven: Float[Tensor, "V B GH"], state: State) -> State:
        (h,) = state
        if gates := kernel_for(GRU_GATES, h):
            return (one_step(gates, driven, recurrent(weights, h), h)[0].view_as(h),)
        a_r, a_z, a_n = driven.chunk(3, -1)
        b_r, b_z, b_n = recurrent(weights, h).chunk(3, -1)
        n = torch.addcmul(a_n, (a_r + b_r).sigmoid(), b_n).tanh()
        # Within autocast, only h has the full precision.
        return (torch.lerp(n.to(h.dtype), h, (a_z + b_z).sigmoid().to(h.dtype)),)

    def linearize(self, weights: Weights, x: Float[Tensor, "V B I"], state: State, full: bool) -> tuple[State, Slopes]:
        """With D = diag((1 − z) tanh'(n)):

        ∂h'/∂h = D diag(b_n σ'(r)) W_r + diag((h − n) σ'(z)) W_z + D diag(r) W_n + diag(z); by x the same without the
        last term, and with D alone before W_n.
        """
        (h,) = state
        a_rz, a_n = driven(weights, x).tensor_split((2 * h.shape[-1],), -1)
        b_rz, b_n = recurrent(weights, h).tensor_split((2 * h.shape[-1],), -1)
        up, down = sigmoids((a_rz + b_rz).unflatten(-1, (2, -1)))
        r, z = up.unbind(-2)
        n, dtanh_n = tanh_and_slope(torch.addcmul(a_n, r, b_n))
        to_n = down[..., 1, :] * dtanh_n
        gates = up * down * torch.stack([to_n * b_n, h - n], -2)
        by_h, by_x = (torch.cat([gates, d[..., None, :]], -2)[:, :, None] for d in (to_n * r, to_n))
        return (torch.lerp(n, h, z),), Slopes(by_h, by_x, z[:, :, None])
