"""V networks of cells that are PyTorch modules as one driven dynamical system, by automatic differentiation.

Axes: V variant, B sequence, T step, I input, N state dimension, K tangent vector. Tangent vectors are rows:
D [V, B, K, N].
"""

from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.func import jvp, vjp, vmap

from aelle.cells.module_cell import ModuleStack, Tensors


class DrivenCells:
    """Networks that read B sequences; a tangent system for `aelle.lyapunov.product`.

    The state is flat, [V, B, N], layer by layer. The spectrum is always the full state's, since of a module that is
    only a function nothing says which part of the state is "hidden" and may be differentiated with the rest held fixed.
    Sequences do not depend on each other, so a product with the Jacobians of all B is one forward-mode derivative; a
    module that supports only reverse mode is differentiated row by row of its Jacobian.
    """

    def __init__(self, stack: ModuleStack, inputs: Float[Tensor, "B T I"]):
        self.stack, self.inputs, self.N = stack, inputs, stack.dimension()
        state = self.start(None)
        try:
            self.forward_mode = True
            self.advance(0, state, D := state[:, :, None], torch.empty_like(D))
        except (RuntimeError, NotImplementedError):
            self.forward_mode = False

    def start(self, flat: Float[Tensor, "1 B N"] | None) -> Float[Tensor, "V B N"]:
        """The zero state, or a given one for all networks."""
        V, B = len(self.stack), len(self.inputs)
        return self.inputs.new_zeros(V, B, self.N) if flat is None else flat.expand(V, -1, -1)

    def advance(
        self, t: int, state: Float[Tensor, "V B N"], D: Float[Tensor, "V B K N"], out: Float[Tensor, "V B K N"]
    ) -> Float[Tensor, "V B N"]:
        """The state after step t; `out` becomes the tangent vectors D after it."""
        x = self.inputs[:, t]

        def of_one(tensors: tuple[Tensors, ...], state: Tensor, D: Tensor) -> tuple[Tensor, Tensor]:
            step = partial(self.stack.step, tensors, x)
            if self.forward_mode:
                return step(state), vmap(lambda d: jvp(step, (state,), (d,))[1], in_dims=1, out_dims=1)(D)
            new, pulled = vjp(step, state)
            rows = torch.eye(self.N, dtype=state.dtype, device=state.device)
            J = vmap(lambda row: pulled(row.expand_as(state))[0], out_dims=1)(rows)  # [B, N, N]
            return new, D @ J.mT

        new, pushed = vmap(of_one)(self.stack.tensors, state, D)
        out.copy_(pushed)
        return new

    def finite(self, state: Float[Tensor, "V B N"]) -> Bool[Tensor, "V B"]:
        """Which sequences' states contain no NaN and no infinity."""
        return state.isfinite().all(-1)
