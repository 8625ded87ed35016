"""A stack of recurrent layers as one driven dynamical system.

Axes: V variant, B sequence, T step, I input, H hidden unit, G gate, P part of a layer's state, N state dimension,
K tangent vector. Tangent vectors are rows: D [V, B, K, N].
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aelle.cells.cell import State
from aelle.cells.stack import Stack
from aelle.lyapunov.interval import precisions


class DrivenStack:
    """A stack that reads B sequences; a tangent system for `aelle.lyapunov.product`.

    The state is a tuple of the layers' states. A step's Jacobian is block lower triangular over the layers and is never
    assembled: D_l' = D_l (∂s_l'/∂s_l)ᵀ + D_{l-1}' (∂s_l'/∂h_{l-1}')ᵀ.
    """

    def __init__(self, stack: Stack, inputs: Float[Tensor, "B T I"], full: bool):
        self.stack, self.inputs, self.full = stack, inputs, full
        self.parts = stack.cell.parts if full else 1
        self.N = stack.dimension(full)
        B, gates = len(inputs), stack.cell.gates
        self.recurrent = [Block(layer.weight_hh, gates, B, self.parts) for layer in stack.layers]
        self.driven = [Block(layer.weight_ih, gates, B, self.parts) for layer in stack.layers[1:]]

    def start(self, flat: Float[Tensor, "1 B S"] | None) -> tuple[State, ...]:
        """The zero state, or the layers' states from a flat one: layer by layer, h before c."""
        parts, layers, H = self.stack.cell.parts, len(self.stack.layers), self.stack.hidden_size
        if flat is None:
            flat = self.inputs.new_zeros(1, len(self.inputs), layers * parts * H)
        tensors = flat.expand(len(self.stack), -1, -1).split(H, -1)
        return tuple(tuple(tensors[i : i + parts]) for i in range(0, layers * parts, parts))

    def precisions(self, K: int) -> list[torch.dtype]:
        """In which K tangent vectors can be advanced, the fastest first."""
        return precisions(self.inputs.dtype, self.N)

    def advance(
        self, t: int, state: tuple[State, ...], D: Float[Tensor, "V B K N"], out: Float[Tensor, "V B K N"]
    ) -> tuple[State, ...]:
        """The state after step t; `out` becomes the tangent vectors D after it."""
        before, after = D.flatten(0, 1), out.flatten(0, 1)
        H, width = self.stack.hidden_size, self.parts * self.stack.hidden_size
        x, states = self.inputs[:, t].expand(len(self.stack), -1, -1), []
        for l, weights in enumerate(self.stack.layers):
            new, slopes = self.stack.cell.linearize(weights, x, state[l], self.full)
            slopes = slopes.to(D.dtype)
            at = l * width
            by_state = self.recurrent[l](slopes.recurrent)
            if slopes.carried is not None and self.parts == 1:
                by_state.diagonal(0, -2, -1).add_(slopes.carried.flatten(0, 2))
            D_l = torch.bmm(before[..., at : at + H], by_state, out=after[..., at : at + width])
            if l:
                D_l.baddbmm_(after[..., at - width : at - width + H], self.driven[l - 1](slopes.driven))
            if slopes.carried is not None and self.parts > 1:
                last = before[..., None, at + width - H : at + width]
                D_l.unflatten(-1, (self.parts, H)).addcmul_(last, slopes.carried.flatten(0, 1)[:, None])
            states.append(new)
            x = new[0]
        return tuple(states)

    def finite(self, state: tuple[State, ...]) -> Bool[Tensor, "V B"]:
        """Which sequences' states contain no NaN and no infinity."""
        return torch.stack([part.isfinite().all(-1) for layer in state for part in layer]).all(0)


class Block:
    """A block of the Jacobian, ∂(a layer's state)/∂(F numbers that a weight multiplies), in its own buffer.

    It is in the precision of the slopes.
    """

    def __init__(self, weight: Float[Tensor, "V GH F"], gates: int, B: int, parts: int):
        self.rows = weight.unflatten(1, (gates, -1)).permute(2, 0, 1, 3).flatten(0, 1).contiguous()  # [HV, G, F]
        V, H, F = len(weight), weight.shape[1] // gates, weight.shape[2]
        self.shape, self.of_all = (parts, H * V, B, F), (parts * H, V * B, F)
        self.buffer = weight.new_empty(0)

    def __call__(self, slopes: Float[Tensor, "V B P G H"]) -> Float[Tensor, "VB F PH"]:
        """Σ_g slopes[v, b, p, g, i] rows[i, v, g, from]: one product of [B, G] with [G, F] for every row i."""
        factors = slopes.permute(2, 4, 0, 1, 3).flatten(1, 2).contiguous()  # [P, HV, B, G]
        if self.buffer.dtype != slopes.dtype or not self.buffer.numel():
            self.rows, self.buffer = self.rows.to(slopes.dtype), slopes.new_empty(self.shape)
        for part, block in zip(factors, self.buffer, strict=True):
            torch.bmm(part, self.rows, out=block)
        return self.buffer.view(self.of_all).permute(1, 2, 0)
