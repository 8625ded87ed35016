"""PyTorch's own kernels for the elementwise operations of one step of `nn.GRUCell` and `nn.LSTMCell` on an NVIDIA GPU.

Their names are private, so they are looked up when they are used: without them, cells use their formulas.

Axes: V variant, B sequence, G gate, H hidden unit.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

GRU_GATES = "_thnn_fused_gru_cell"
"""(W_ih x + b_ih, W_hh h + b_hh, h) -> (h', what the backward pass needs)."""

LSTM_GATES = "_thnn_fused_lstm_cell"
"""(W_ih x + b, W_hh h, c) -> (h', c', the gates)."""

LSTM_GATES_BACKWARD = "_thnn_fused_lstm_cell_backward_impl"
"""(dh', dc' or None, c, c', the gates, whether there is a bias) -> (dz, dc, dbias)."""


def kernel(name: str) -> Callable[..., tuple[Tensor, ...]] | None:
    """None if this PyTorch has none of that name."""
    return getattr(torch.ops.aten, name, None)


def kernel_for(name: str, tensor: Tensor) -> Callable[..., tuple[Tensor, ...]] | None:
    """None also where the tensor is not on a GPU."""
    return kernel(name) if tensor.is_cuda else None


def one_step(
    gates: Callable[..., tuple[Tensor, ...]],
    driven: Float[Tensor, "V B GH"],
    recurrent: Float[Tensor, "V B GH"],
    carried: Float[Tensor, "V B H"],
) -> tuple[Tensor, ...]:
    """What the kernel returns, in the precision of the state that is carried on, also within autocast."""
    driven, recurrent = (z.flatten(0, 1).to(carried.dtype) for z in (driven, recurrent))
    with torch.autocast(carried.device.type, enabled=False):
        return gates(driven, recurrent, carried.flatten(0, 1))
