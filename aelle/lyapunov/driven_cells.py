"""V networks of cells that are PyTorch modules as one driven dynamical system, by automatic differentiation.

Axes: V variant, B sequence, T step, I input, N state dimension, K tangent vector. Tangent vectors are rows:
D [V, B, K, N].
"""

import warnings
from collections.abc import Callable
from functools import cached_property, partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.func import jvp, vjp, vmap

from aelle.cells.module_cell import ModuleStack, Tensors


class DrivenCells:
    """Networks that read B sequences; a tangent system for `aelle.lyapunov.product`.

    The state is flat, [V, B, N], layer by layer. The spectrum is always the full state's, since of a module that is
    only a function nothing says which part of the state is "hidden" and may be differentiated with the rest held fixed.
    Sequences do not depend on each other, so a row of all their Jacobians is one reverse-mode derivative, and a product
    with all of them one forward-mode derivative: rows are faster unless there are few tangent vectors.
    """

    def __init__(self, stack: ModuleStack, inputs: Float[Tensor, "B T I"]):
        self.stack, self.inputs, self.N = stack, inputs, stack.dimension()

    def start(self, flat: Float[Tensor, "1 B N"] | None) -> Float[Tensor, "V B N"]:
        """The zero state, or a given one for all networks."""
        V, B = len(self.stack), len(self.inputs)
        return self.inputs.new_zeros(V, B, self.N) if flat is None else flat.expand(V, -1, -1)

    def precisions(self, K: int) -> list[torch.dtype]:
        """In which K tangent vectors can be advanced, the fastest first."""
        return [self.inputs.dtype if self._pushes(K) else torch.float64]

    def advance(
        self, t: int, state: Float[Tensor, "V B N"], D: Float[Tensor, "V B K N"], out: Float[Tensor, "V B K N"]
    ) -> Float[Tensor, "V B N"]:
        """The state after step t; `out` becomes the tangent vectors D after it."""
        mapped = vmap(partial(self._advanced, self.inputs[:, t]))
        new, pushed = mapped(self.stack.tensors, state, D)
        out.copy_(pushed)
        return new

    def finite(self, state: Float[Tensor, "V B N"]) -> Bool[Tensor, "V B"]:
        """Which sequences' states contain no NaN and no infinity."""
        return state.isfinite().all(-1)

    def _pushes(self, K: int) -> bool:
        """Whether K tangent vectors are advanced by forward-mode derivatives, in the precision of the state."""
        return 2 * K <= self.N and self._forward_mode

    def _advanced(
        self, x: Float[Tensor, "B I"], tensors: tuple[Tensors, ...], state: Float[Tensor, "B N"], D: Tensor
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B K N"]]:
        """One network's."""
        step = partial(self.stack.step, tensors, x)
        if self._pushes(D.shape[1]):
            return step(state), _pushed(step, state, D)
        new, pulled = vjp(step, state)[:2]
        rows = torch.eye(self.N, dtype=state.dtype, device=state.device)
        J = vmap(lambda row: pulled(row.expand_as(state))[0], out_dims=1)(rows)  # [B, N, N]
        return new, D @ J.mT.double()

    @cached_property
    def _forward_mode(self) -> bool:
        """Whether the module's operations have forward-mode derivatives."""
        zeros = self.start(None)[0]
        tensors = self.stack.map(lambda w: w[0]).tensors
        with warnings.catch_warnings():
            # PyTorch's first forward-mode derivative warns of PyTorch's own use of torch.jit.
            warnings.simplefilter("ignore", FutureWarning)
            try:
                _pushed(partial(self.stack.step, tensors, self.inputs[:, 0]), zeros, zeros[:, None])
            except (RuntimeError, NotImplementedError):
                return False
        return True


def _pushed(step: Callable[[Tensor], Tensor], state: Float[Tensor, "B N"], D: Float[Tensor, "B K N"]) -> Tensor:
    return vmap(lambda d: jvp(step, (state,), (d,))[1], in_dims=1, out_dims=1)(D)
