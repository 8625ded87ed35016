"""The LSTM's states along a sequence on an NVIDIA GPU, with a hand-written backward pass.

There a step's elementwise operations wait for memory, so each pass over the gates counts: they are one kernel, the one
that PyTorch has for `nn.LSTMCell`. A one beside each input makes the bias a column of W_ih, and its gradient part of a
product.

Axes: V variant, B sequence, T step, I input, H hidden unit.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from aelle.cells.fused import LSTM_GATES, LSTM_GATES_BACKWARD, kernel


class CUDALSTMStates(torch.autograd.Function):
    """h_1 … h_T from the zero state; with `backward=False` nothing is stored for a backward pass."""

    @staticmethod
    def forward(
        ctx,
        x: Float[Tensor, "V B T I"],
        weight_ih: Float[Tensor, "V GH I"],
        weight_hh: Float[Tensor, "V GH H"],
        bias: Float[Tensor, "V GH"],
        backward: bool,
    ) -> Float[Tensor, "T V B H"]:
        V, B, T, I = x.shape
        H = weight_hh.shape[-1]
        fused_gates = kernel(LSTM_GATES)
        assert fused_gates, "LSTM.states asks before"
        x_and_1 = x.new_ones(T, V, B, I + 1)
        x_and_1[..., :I] = x.permute(2, 0, 1, 3)
        W_ih, W_hh = torch.cat([weight_ih, bias[..., None]], -1).mT, weight_hh.mT
        h, cells, gates = [], [x.new_zeros(V * B, H)], []
        for x_t in x_and_1:
            driven = torch.bmm(x_t, W_ih).flatten(0, 1)
            recurrent = torch.bmm(h[-1], W_hh).flatten(0, 1) if h else torch.zeros_like(driven)
            new_h, c, gates_t = fused_gates(driven, recurrent, cells[-1])
            h.append(new_h.view(V, B, H))
            if backward:
                cells.append(c)
                gates.append(gates_t)
            else:
                cells = [c]
        if backward:
            ctx.save_for_backward(x_and_1, weight_ih, weight_hh, *h, *cells, *gates)
        return torch.stack(h)

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients: Float[Tensor, "T V B H"]):  # pyright: ignore[reportIncompatibleMethodOverride]
        (dh_all,) = gradients
        fused_gates_backward = kernel(LSTM_GATES_BACKWARD)
        assert fused_gates_backward, "LSTM.states asks before"
        x_and_1, weight_ih, weight_hh, *stored = ctx.saved_tensors
        T, V, B, _ = x_and_1.shape
        h, cells, gates = stored[:T], stored[T : 2 * T + 1], stored[2 * T + 1 :]
        dx = x_and_1.new_empty(V, B, T, weight_ih.shape[-1]) if ctx.needs_input_grad[0] else None
        dW_ih, dW_hh = x_and_1.new_zeros(*weight_ih.shape[:2], x_and_1.shape[-1]), torch.zeros_like(weight_hh)
        dh, dc = dh_all[-1], None
        for t in reversed(range(T)):
            dh = dh.contiguous().flatten(0, 1)
            dz, dc, _ = fused_gates_backward(dh, dc, cells[t], cells[t + 1], gates[t], False)
            dz = dz.unflatten(0, (V, B))
            dW_ih.baddbmm_(dz.mT, x_and_1[t])
            if dx is not None:
                dx[:, :, t] = dz @ weight_ih
            if t:
                dW_hh.baddbmm_(dz.mT, h[t - 1])
                dh = torch.baddbmm(dh_all[t - 1], dz, weight_hh)
        return dx, dW_ih[..., :-1], dW_hh, dW_ih[..., -1], None
