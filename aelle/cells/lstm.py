"""The LSTM. Gates in PyTorch's order: i, f, g, o."""

import torch
from jaxtyping import Float
from torch import Tensor

from aelle.cells.cell import Cell, Slopes, State, Weights, preactivation, recurrent, sigmoids, tanh_and_slope
from aelle.cells.fused import LSTM_GATES, LSTM_GATES_BACKWARD, kernel_for, one_step
from aelle.cells.lstm_states import LSTMStates
from aelle.cells.lstm_states_cuda import CUDALSTMStates


class LSTM(Cell):
    """c' = f c + i g, h' = o tanh c'."""

    gates, parts = 4, 2

    def update(self, weights: Weights, driven: Float[Tensor, "V B GH"], state: State) -> State:
        h, c = state
        if gates := kernel_for(LSTM_GATES, c):
            new_h, new_c, _ = one_step(gates, driven, recurrent(weights, h), c)
            return new_h.view_as(h), new_c.view_as(c)
        z_i, z_f, z_g, z_o = recurrent(weights, h).add_(driven).chunk(4, -1)
        c = torch.addcmul(z_f.sigmoid() * c, z_i.sigmoid(), z_g.tanh())
        return z_o.sigmoid() * c.tanh(), c

    def states(self, weights: Weights, x: Float[Tensor, "V B T I"]) -> Float[Tensor, "T V B H"]:
        """h after each step, from the zero state; faster than step by step."""
        bias = weights.bias_ih + weights.bias_hh
        if not x.is_cuda:
            return LSTMStates.apply(x, weights.weight_ih, weights.weight_hh, bias, torch.is_grad_enabled())
        fused = kernel_for(LSTM_GATES, x) and kernel_for(LSTM_GATES_BACKWARD, x)
        # Neither backward pass knows mixed precision.
        with torch.autocast("cuda", enabled=False):
            states = CUDALSTMStates if fused else LSTMStates
            return states.apply(x, weights.weight_ih, weights.weight_hh, bias, torch.is_grad_enabled())

    def linearize(self, weights: Weights, x: Float[Tensor, "V B I"], state: State, full: bool) -> tuple[State, Slopes]:
        """With D_i = diag(g σ'(z_i)), D_f = diag(c σ'(z_f)), D_g = diag(i tanh'(z_g)):

        ∂c'/∂h = D_i W_i + D_f W_f + D_g W_g and ∂h'/∂h = diag(o tanh'(c')) ∂c'/∂h + diag(tanh(c') σ'(z_o)) W_o;
        besides, in the full state, ∂c'/∂c = diag(f) and ∂h'/∂c = diag(o tanh'(c') f).
        """
        h, c = state
        z = preactivation(weights, x, h).unflatten(-1, (4, -1))
        z[..., 2, :].mul_(2)  # tanh z = σ(2z) − σ(−2z): one pass of σ for all gates.
        up, down = sigmoids(z)
        i, f, g_up, o = up.unbind(-2)
        g = g_up - down[..., 2, :]
        new_c = torch.addcmul(f * c, i, g)
        tanh_c, dtanh_c = tanh_and_slope(new_c)

        gates, c_to_h = up * down, o * dtanh_c
        gates[..., 2, :].mul_(4)
        to_c = torch.stack([g, c, i], -2)
        to_h = torch.cat([to_c * c_to_h[..., None, :], tanh_c[..., None, :]], -2)
        if full:
            to_c = torch.nn.functional.pad(to_c, (0, 0, 0, 1))
            slopes = torch.stack([to_h, to_c], 2) * gates[:, :, None]
            return (o * tanh_c, new_c), Slopes(slopes, slopes, torch.stack([c_to_h * f, f], 2))
        slopes = (to_h * gates)[:, :, None]
        return (o * tanh_c, new_c), Slopes(slopes, slopes, None)
