"""The LSTM as a one-step map, and its Jacobian.

Axes: V variant, B sequence, I input, H hidden unit, N state dimension. Gates in PyTorch's order: i, f, g, o.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class LSTMWeights(NamedTuple):
    """Weights of V LSTMs of one shape, as `torch.nn.LSTM` stores them, behind a variant axis."""

    weight_ih: Float[Tensor, "V 4*H I"]
    weight_hh: Float[Tensor, "V 4*H H"]
    bias: Float[Tensor, "V 4*H"]


class LSTMState(NamedTuple):
    h: Float[Tensor, "V B H"]
    c: Float[Tensor, "V B H"]


def zero_state(weights: LSTMWeights, sequences: int) -> LSTMState:
    zeros = weights.weight_hh.new_zeros(len(weights.weight_hh), sequences, weights.weight_hh.shape[-1])
    return LSTMState(zeros, zeros)


def preactivation(weights: LSTMWeights, x: Float[Tensor, "V B I"], h: Float[Tensor, "V B H"]) -> Tensor:
    """W_ih x + W_hh h + b, shape [V, B, 4H]."""
    driven = torch.baddbmm(weights.bias[:, None], x, weights.weight_ih.mT)
    return torch.baddbmm(driven, h, weights.weight_hh.mT)


def step(weights: LSTMWeights, x: Float[Tensor, "V B I"], state: LSTMState) -> LSTMState:
    """c' = f c + i g, h' = o tanh c'."""
    gates = preactivation(weights, x, state.h)
    H = state.h.shape[-1]
    i, f, _, o = gates.sigmoid().chunk(4, -1)
    g = gates[..., 2 * H : 3 * H].tanh()
    c = torch.addcmul(f * state.c, i, g)
    return LSTMState(o * c.tanh(), c)


def dsigmoid(z: Tensor) -> Tensor:
    """σ'(z) = σ(z) σ(−z), which keeps its digits where 1 − σ(z) would have none left."""
    return z.sigmoid() * (-z).sigmoid()


def dtanh(z: Tensor) -> Tensor:
    """tanh'(z) = 4 σ(2z) σ(−2z), likewise."""
    return 4 * dsigmoid(2 * z)


def step_with_jacobian(
    weights: LSTMWeights, x: Float[Tensor, "V B I"], state: LSTMState, over: str
) -> tuple[LSTMState, Float[Tensor, "V B N N"]]:
    """One step and its Jacobian J[to, from].

    Every row of ∂c'/∂h is a weighted sum of rows of W_hh: ∂c'/∂h = D_i W_i + D_f W_f + D_g W_g with
    D_i = diag(g σ'(z_i)), D_f = diag(c σ'(z_f)), D_g = diag(i tanh'(z_g)), and
    ∂h'/∂h = diag(o tanh'(c')) ∂c'/∂h + diag(tanh(c') σ'(z_o)) W_o.

    `over="hidden"`: ∂h'/∂h with c held, N = H. `over="full"`: the Jacobian of (h, c), N = 2H, where besides
    ∂c'/∂c = diag(f) and ∂h'/∂c = diag(o tanh'(c') f).
    """
    gates = preactivation(weights, x, state.h)
    z_i, z_f, z_g, z_o = gates.chunk(4, -1)
    i, f, g, o = z_i.sigmoid(), z_f.sigmoid(), z_g.tanh(), z_o.sigmoid()
    c = torch.addcmul(f * state.c, i, g)
    h = o * c.tanh()

    to_c = torch.stack([g * dsigmoid(z_i), state.c * dsigmoid(z_f), i * dtanh(z_g), torch.zeros_like(g)], -1)
    c_to_h = o * dtanh(c)
    to_h = to_c * c_to_h[..., None]
    to_h[..., 3] = c.tanh() * dsigmoid(z_o)
    V, B, H = h.shape
    rows_VHGH = weights.weight_hh.view(V, 4, H, H).transpose(1, 2)
    dh_dh = _weighted_rows(to_h, rows_VHGH)
    if over == "hidden":
        return LSTMState(h, c), dh_dh
    J = h.new_zeros(V, B, 2 * H, 2 * H)
    J[..., :H, :H] = dh_dh
    J[..., H:, :H] = _weighted_rows(to_c, rows_VHGH)
    J.diagonal(H, -2, -1).copy_(c_to_h * f)
    J[..., H:, H:].diagonal(0, -2, -1).copy_(f)
    return LSTMState(h, c), J


def _weighted_rows(
    weight_VBHG: Float[Tensor, "V B H G"], rows_VHGH: Float[Tensor, "V H G H"]
) -> Float[Tensor, "V B H H"]:
    """J[v, b, i] = Σ_g weight[v, b, i, g] rows[v, i, g]: per row i one product of [B, G] with [G, H]."""
    return torch.matmul(weight_VBHG.transpose(1, 2), rows_VHGH).transpose(1, 2)
