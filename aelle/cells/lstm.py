"""The LSTM. Gates in PyTorch's order: i, f, g, o."""

import torch
from jaxtyping import Float
from torch import Tensor

from aelle.cells.cell import Cell, Slopes, State, Weights, preactivation, sigmoids, tanh_and_slope


class LSTM(Cell):
    """c' = f c + i g, h' = o tanh c'."""

    gates, parts = 4, 2

    def step(self, weights: Weights, x: Float[Tensor, "V B I"], state: State) -> State:
        h, c = state
        z_i, z_f, z_g, z_o = preactivation(weights, x, h).chunk(4, -1)
        c = torch.addcmul(z_f.sigmoid() * c, z_i.sigmoid(), z_g.tanh())
        return z_o.sigmoid() * c.tanh(), c

    def linearize(self, weights: Weights, x: Float[Tensor, "V B I"], state: State, full: bool) -> tuple[State, Slopes]:
        """With D_i = diag(g σ'(z_i)), D_f = diag(c σ'(z_f)), D_g = diag(i tanh'(z_g)):

        ∂c'/∂h = D_i W_i + D_f W_f + D_g W_g and ∂h'/∂h = diag(o tanh'(c')) ∂c'/∂h + diag(tanh(c') σ'(z_o)) W_o;
        besides, in the full state, ∂c'/∂c = diag(f) and ∂h'/∂c = diag(o tanh'(c') f).
        """
        h, c = state
        z = preactivation(weights, x, h).unflatten(-1, (4, -1))
        z[..., 2, :] *= 2  # tanh z = σ(2z) − σ(−2z): one pass of σ for all gates
        up, down = sigmoids(z)
        i, f, g_up, o = up.unbind(-2)
        g = g_up - down[..., 2, :]
        new_c = torch.addcmul(f * c, i, g)
        tanh_c, dtanh_c = tanh_and_slope(new_c)

        to_c = torch.stack([g, c, 4 * i, torch.zeros_like(g)], -2)
        c_to_h = o * dtanh_c
        to_h = to_c * c_to_h[..., None, :]
        to_h[..., 3, :] = tanh_c
        dsigmoid = (up * down)[:, :, None]
        if full:
            slopes = torch.stack([to_h, to_c], 2) * dsigmoid
            return (o * tanh_c, new_c), Slopes(slopes, slopes, torch.stack([c_to_h * f, f], 2))
        slopes = to_h[:, :, None] * dsigmoid
        return (o * tanh_c, new_c), Slopes(slopes, slopes, None)
