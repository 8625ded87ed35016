"""Any differentiable one-step callable as a driven dynamical system, by automatic differentiation.

Axes: B sequence, T step, I input, S full state, N the part of it whose spectrum is wanted, K tangent vector.
The variant axis of a tangent system is 1 here.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.func import functional_call, jvp, vmap

from aelle.lyapunov.checks import check_real, finite

Step = Callable[..., Tensor | tuple[Tensor, ...]]
"""step(x, state) -> state for one sequence: x [I], or None for an autonomous map; state a tensor or a tuple of them."""


class DrivenMap:
    """B copies of a callable, each with its own input; a tangent system for `aelle.lyapunov.product`.

    The state is flat, [B, S]; `sizes` are those of its parts (None: it is one tensor). The spectrum is that of the
    first N numbers, with the others held fixed. A step that cannot be vectorised, because it branches on values or
    supports only reverse mode, is differentiated for each sequence separately.
    """

    def __init__(
        self,
        step: Step,
        inputs: Float[Tensor, "B T I"] | None,
        state: Float[Tensor, "B S"],
        sizes: Sequence[int] | None,
        N: int,
    ):
        self.step, self.inputs, self.sizes, self.N = in_precision(step, state), inputs, sizes, N
        self.in_dims = (None if inputs is None else 0, 0)
        try:
            new = self._flat_step(None if inputs is None else inputs[0, 0], state[0])
        except RuntimeError as error:
            what = str(error).splitlines()[0]
            raise ValueError(
                f"step fails on a state of {len(state[0])} numbers in {state.dtype}: {what} (its tensors must have "
                "that dtype: convert them, or choose another dtype=…)"
            ) from error
        if new.shape != state[0].shape or new.dtype != state.dtype:
            raise ValueError(
                f"step returned a state of {list(new.shape)} numbers in {new.dtype} for one of {list(state[0].shape)} "
                f"in {state.dtype}: return one of the same shape and dtype"
            )
        try:
            vmap(self._flat_step, self.in_dims)(self._input(0), state)
            self._pushed(self._input(0), state, state.new_zeros(len(state), 1, N))
        except RuntimeError:
            self.vectorised = False
        else:
            self.vectorised = True
            return
        try:
            self._jacobian(None if inputs is None else inputs[0, 0], state[0])
        except RuntimeError as error:
            raise ValueError(f"step cannot be differentiated by PyTorch: {str(error).splitlines()[0]}") from error

    def advance(
        self, t: int, state: Float[Tensor, "B S"], D: Float[Tensor, "1 B K N"], out: Float[Tensor, "1 B K N"]
    ) -> Float[Tensor, "B S"]:
        """The state after step t; `out` becomes the tangent vectors D after it."""
        x, N = self._input(t), self.N
        if self.vectorised:
            out[0] = self._pushed(x, state, D[0])
            return vmap(self._flat_step, self.in_dims)(x, state)
        pairs = [(x if x is None else x[b], s) for b, s in enumerate(state)]
        J = torch.stack([self._jacobian(x_b, s) for x_b, s in pairs])
        torch.matmul(D[0], J[:, :N, :N].mT, out=out[0])
        return torch.stack([self._flat_step(x_b, s) for x_b, s in pairs])

    def finite(self, state: Float[Tensor, "B S"]) -> Bool[Tensor, "1 B"]:
        return state.isfinite().all(-1)[None]

    def _pushed(self, x: Tensor | None, state: Float[Tensor, "B S"], D: Float[Tensor, "B K N"]) -> Tensor:
        tangents = nn.functional.pad(D, (0, state.shape[1] - self.N))

        def of_one(x_b: Tensor | None, s: Float[Tensor, "S"], tangents: Float[Tensor, "K S"]) -> Tensor:
            return vmap(lambda v: jvp(lambda s: self._flat_step(x_b, s), (s,), (v,))[1])(tangents)

        return vmap(of_one, (*self.in_dims, 0))(x, state, tangents)[..., : self.N]

    def _jacobian(self, x: Float[Tensor, "I"] | None, state: Float[Tensor, "S"]) -> Float[Tensor, "S S"]:
        with torch.enable_grad():
            return torch.autograd.functional.jacobian(partial(self._flat_step, x), state)  # pyright: ignore[reportReturnType]

    def _input(self, t: int) -> Float[Tensor, "B I"] | None:
        return None if self.inputs is None else self.inputs[:, t]

    def _flat_step(self, x: Tensor | None, flat: Tensor) -> Tensor:
        flat = flat.clone()  # A step may change its state in place.
        if self.sizes is None:
            new = self.step(x, flat)
            return new if isinstance(new, Tensor) else torch.cat(new)
        new = self.step(x, flat.split(tuple(self.sizes)))
        return new if isinstance(new, Tensor) else torch.cat(new)


def in_precision(step: Step, like: Tensor) -> Step:
    """The same map with a module's parameters in the state's dtype and on its device; the module is not changed."""
    if not isinstance(step, nn.Module):
        return step
    tensors = {
        name: t.detach().to(like.device, like.dtype if t.is_floating_point() else t.dtype)
        for name, t in (*step.named_parameters(), *step.named_buffers())
    }
    return lambda x, state: functional_call(step, tensors, (x, state))


def flat_state(
    state: Tensor | Sequence[Tensor], sequences: int | None, device: torch.device | None, dtype: torch.dtype
) -> tuple[Float[Tensor, "B S"], tuple[int, ...] | None]:
    """The state [B, S] and the sizes of its parts (None for one tensor), from parts [n], for every sequence, or [B, n].

    Raises ValueError for other shapes, a number of sequences other than `sequences`, and non-finite numbers.
    """
    parts = (state,) if isinstance(state, Tensor) else tuple(state)
    for part in parts:
        check_real("state", part)
    shapes = [list(part.shape) for part in parts]
    counts = {len(part) for part in parts if part.ndim == 2} | (set() if sequences is None else {sequences})
    if not parts or any(part.ndim not in (1, 2) or 0 in part.shape for part in parts) or len(counts) > 1:
        driven = "" if sequences is None else f"; the inputs have {sequences} sequences"
        raise ValueError(
            f"state of shape {shapes}: give [N], the same for every sequence, or [B, N], one for each{driven}"
        )
    B = max(counts, default=1)
    parts = [finite("state", part.detach(), device, dtype).expand(B, -1) for part in parts]
    sizes = None if isinstance(state, Tensor) else tuple(part.shape[-1] for part in parts)
    return torch.cat(parts, -1), sizes
