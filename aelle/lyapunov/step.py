"""A user's step as a function of flat states, and the checks that it is one map.

Axes: B sequence, I input, S full state.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from aelle.cells.without_trace import random_states_kept
from aelle.errors import in_one_line
from aelle.lyapunov.checks import check_real, finite

Step = Callable[..., Tensor | tuple[Tensor, ...]]
"""step(x, state) -> state for one sequence: x [I], or None for an autonomous map; state a tensor or a tuple of them."""

Jacobian = Callable[..., Tensor]
"""jacobian(x, state) -> [N, N], ∂(new state)/∂(state), of the same arguments as the step."""

REMEDY = (
    "take random numbers and counters out of it, put its modules into evaluation mode, or, if noise is a part of the "
    "system, give stochastic=True and a generator"
)


class FlatStep:
    """`step` from and to a flat state [S]; `sizes` are those of its parts (None: it is one tensor)."""

    def __init__(self, step: Step, sizes: Sequence[int] | None, like: Float[Tensor, "B S"]):
        self.step, self.sizes = _in_precision(step, like), sizes

    def __call__(self, x: Float[Tensor, "I"] | None, flat: Float[Tensor, "S"]) -> Float[Tensor, "S_new"]:
        new = self.step(x, self.parts(flat))
        return new if isinstance(new, Tensor) else torch.cat(tuple(new))

    def parts(self, flat: Float[Tensor, "S"]) -> Tensor | tuple[Tensor, ...]:
        """The state as the step takes it, in memory of its own: a step may change it in place."""
        flat = flat.clone()
        return flat if self.sizes is None else flat.split(tuple(self.sizes))


def check_step(step: FlatStep, x: Float[Tensor, "I"] | None, state: Float[Tensor, "S"], seed: int | None) -> None:
    """Raises ValueError if the step fails, changes the state's shape or dtype, or is not one map.

    With a `seed` it may draw from PyTorch's global generators, and from nothing else.
    """
    try:
        new, again = _called_twice(step, x, state, seed)
    except (RuntimeError, IndexError, TypeError, ValueError) as error:
        raise ValueError(
            f"step fails on a state of {len(state)} numbers in {state.dtype}: {in_one_line(error)} "
            f"({_how_it_is_called(x)}; its tensors must have that dtype: convert them, or choose another dtype=…)"
        ) from error
    if new.shape != state.shape or new.dtype != state.dtype:
        raise ValueError(
            f"step returned a state of {list(new.shape)} numbers in {new.dtype} for one of {list(state.shape)} "
            f"in {state.dtype}: return one of the same shape and dtype"
        )
    if agree(new, again, exactly=state.device.type == "cpu"):
        return
    if seed is None:
        raise ValueError(f"step is not one map: two calls with the same x and state gave different states; {REMEDY}")
    raise ValueError(
        "step is not one map even with PyTorch's generators seeded alike: draw its noise by torch.randn and the like, "
        "from no other generator, and take counters out of it"
    )


def agree(one: Tensor, other: Tensor, exactly: bool = False) -> bool:
    """Whether two evaluations of a step are the same up to rounding, NaN included."""
    tolerance = 0.0 if exactly else torch.finfo(one.dtype).eps ** 0.5
    known = one[one.isfinite()].abs()
    scale = float(known.max()) if len(known) else 0.0
    return torch.allclose(one, other, rtol=tolerance, atol=tolerance * scale, equal_nan=True)


@contextmanager
def noise(seed: int | None, device: torch.device) -> Iterator[None]:
    """PyTorch's global generators start from `seed`, if there is one; afterwards all are as they were."""
    with random_states_kept({device}):
        if seed is not None:
            torch.manual_seed(seed)
        yield


def by_layer(state: Tensor | Sequence[Tensor], layers: int) -> Tensor | Sequence[Tensor]:
    """PyTorch's state of a module, [layers, B, H] or several such parts, layer by layer; any other as it is."""
    parts = (state,) if isinstance(state, Tensor) else tuple(state)
    if not all(isinstance(part, Tensor) and part.ndim == 3 and len(part) == layers for part in parts):
        return state
    return [part[layer] for layer in range(layers) for part in parts]


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
        wide = any(part.ndim > 2 for part in parts)
        more = "; flatten states of more axes, and reshape them inside the step" if wide else ""
        raise ValueError(
            f"state of shape {shapes}: give [N], the same for every sequence, or [B, N], one for each{driven}{more}"
        )
    B = max(counts, default=1)
    parts = [finite("state", part.detach(), device, dtype).expand(B, -1) for part in parts]
    sizes = None if isinstance(state, Tensor) else tuple(part.shape[-1] for part in parts)
    return torch.cat(parts, -1), sizes


def _called_twice(step: FlatStep, x: Tensor | None, state: Tensor, seed: int | None) -> list[Tensor]:
    results = []
    with random_states_kept({state.device}):
        for _ in range(2):
            if seed is not None:
                torch.manual_seed(seed)
            results.append(step(x, state))
    return results


def _how_it_is_called(x: Tensor | None) -> str:
    given = "no x" if x is None else f"x of {list(x.shape)}"
    return f"it is called for one sequence, with {given} and without a batch axis"


def _in_precision(step: Step, like: Tensor) -> Step:
    """The same map with a module's parameters in the state's dtype and on its device; the module is not changed."""
    if not isinstance(step, nn.Module):
        return step
    tensors = {
        name: t.detach().to(like.device, like.dtype if t.is_floating_point() else t.dtype)
        for name, t in (*step.named_parameters(), *step.named_buffers())
    }
    return lambda x, state: functional_call(step, tensors, (x, state))
