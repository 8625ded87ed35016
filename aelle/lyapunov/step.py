"""A user's step as a function of flat states.

Axes: B sequence, I input, S full state.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import FunctionType, MethodType

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.func import functional_call

from aelle.errors import UserError, in_one_line
from aelle.lyapunov.checks import check_real, finite

Step = Callable[..., Tensor | tuple[Tensor, ...]]
"""step(x, state) -> state for one sequence: x [I], or None for an autonomous map; state a tensor or a tuple of them."""

Jacobian = Callable[..., Tensor]
"""jacobian(x, state) -> [N, N], ∂(new state)/∂(state), of the same arguments as the step."""


class StepError(UserError):
    """What is wrong with a user's step or jacobian."""


class FlatStep:
    """`step` from and to a flat state [S]; `sizes` are those of its parts (None: it is one tensor).

    It gets x and the state in memory of its own, so that it may change them in place.
    """

    def __init__(self, step: Step, sizes: Sequence[int] | None, like: Float[Tensor, "B S"]):
        self.step = _ModuleStep(step, like) if isinstance(step, nn.Module) else step
        self.sizes = None if sizes is None else tuple(sizes)

    def __call__(self, x: Float[Tensor, "I"] | None, flat: Float[Tensor, "S"]) -> Float[Tensor, "S_new"]:
        new = self.step(*self.arguments(x, flat))
        if isinstance(new, Tensor):
            return new
        if not isinstance(new, (tuple, list)) or not new or not all(isinstance(part, Tensor) for part in new):
            raise StepError(_not_a_state(new))
        shapes = [list(part.shape) for part in new]
        if not any(shapes):
            raise StepError(f"step returned {len(new)} numbers: return torch.stack(…) of them")
        if any(part.ndim != 1 for part in new) or self.sizes not in (None, tuple(len(part) for part in new)):
            wanted = "one tensor [N]" if self.sizes is None else f"parts of {[[n] for n in self.sizes]}"
            raise StepError(f"step returned parts of {shapes}: return {wanted}, without a batch axis, as it is given")
        return torch.cat(tuple(new))

    def arguments(
        self, x: Float[Tensor, "I"] | None, flat: Float[Tensor, "S"]
    ) -> tuple[Tensor | None, Tensor | tuple[Tensor, ...]]:
        """x and the state as the step takes them."""
        state = flat.clone() if self.sizes is None else tuple(part.clone() for part in flat.split(self.sizes))
        return None if x is None else x.clone(), state


class _ModuleStep:
    """A module with its parameters and buffers in the state's dtype and on its device; those of the module stay as they
    are. Buffers that it changes are changed here, so that a module whose result depends on them gives two answers."""

    def __init__(self, module: nn.Module, like: Tensor):
        self.module, self.buffers = module, [name for name, _ in module.named_buffers()]
        # Tensors of inference mode could not be differentiated.
        with torch.inference_mode(False):
            self.tensors = {
                name: t.detach().to(like.device, like.dtype if t.is_floating_point() else t.dtype, copy=True)
                for name, t in (*module.named_parameters(), *module.named_buffers())
            }

    def __call__(self, x: Tensor | None, state: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        tensors = dict(self.tensors)
        new = functional_call(self.module, tensors, (x, state))
        for name in self.buffers:
            # Those of a transformation by torch.func end with it.
            if not is_functorch_wrapped_tensor(tensors[name]):
                self.tensors[name] = tensors[name].detach()
        return new


@contextmanager
def blamed(name: str, x: Tensor | None, state: Float[Tensor, "... S"]) -> Iterator[None]:
    """What the user's function raises is a StepError of one line that names it, with the original as its cause."""
    try:
        yield
    except StepError:
        raise
    except Exception as error:
        if draws_random_numbers(error):
            raise StepError(f"{name} is not one map: it draws random numbers; {REMEDY}") from error
        text = in_one_line(error)
        kind = type(error).__name__
        given = "x=None" if x is None else f"x of {list(x.shape[-1:])}"
        advice = (
            "; its tensors must have that dtype: convert them, or choose another dtype=…" if "dtype" in text else ""
        )
        raise StepError(
            f"{name} fails on a state of {state.shape[-1]} numbers in {state.dtype}: "
            f"it raised {kind if text == kind else f'{kind}: {text}'} "
            f"(it is called for one sequence, with {given} and without a batch axis{advice})"
        ) from error


REMEDY = (
    "take random numbers and counters out of it, put its modules into evaluation mode, or, if noise is a part of the "
    "system, give stochastic=True and a generator"
)


def draws_random_numbers(error: Exception) -> bool:
    """Whether it is the one by which PyTorch refuses to vectorise random operations."""
    return "in randomness error mode" in str(error)


def own_module(step: object) -> nn.Module | None:
    """The module that a step is, or that it is a method of."""
    while isinstance(step, partial):
        step = step.func
    step = getattr(step, "__self__", step)
    return step if isinstance(step, nn.Module) else None


def modules_of(step: object) -> list[nn.Module]:
    """The modules that a step visibly uses: itself, and those in its closure, arguments, attributes and globals."""
    found, seen, left = [], set(), [(step, 0)]
    while left:
        thing, depth = left.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, nn.Module):
            found.append(thing)
        elif depth < MAX_DEPTH:
            left += [(part, depth + 1) for part in _parts(thing, depth)]
    return found


MAX_DEPTH = 5
"""Functions of functions, and lists in them, that are looked into."""


def _parts(thing: object, depth: int) -> list[object]:
    if isinstance(thing, partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, MethodType):
        return [thing.__func__, thing.__self__, *getattr(thing.__self__, "__dict__", {}).values()]
    if isinstance(thing, (list, tuple)):
        return list(thing)
    if isinstance(thing, dict):
        return list(thing.values())
    if isinstance(thing, FunctionType):
        if thing.__module__ is not None and thing.__module__.partition(".")[0] == "torch":
            return []
        cells = [cell.cell_contents for cell in thing.__closure__ or () if _is_filled(cell)]
        named = [thing.__globals__[name] for name in thing.__code__.co_names if name in thing.__globals__]
        return [*cells, *named, *(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()]
    # Of other objects, only the step itself.
    return [type(thing).__call__, *getattr(thing, "__dict__", {}).values()] if depth == 0 and callable(thing) else []


def _is_filled(cell: object) -> bool:
    try:
        cell.cell_contents  # noqa: B018 # pyright: ignore[reportAttributeAccessIssue]
    except ValueError:
        return False
    return True


def parts_of(state: object) -> tuple[Tensor, ...]:
    """Of a state that is a tensor or a tuple of them. Raises ValueError for anything else."""
    parts = (state,) if not isinstance(state, (tuple, list)) else tuple(state)
    if isinstance(state, (tuple, list)) and not all(isinstance(part, Tensor) for part in parts):
        kinds = sorted({type(part).__name__ for part in parts})
        raise ValueError(
            f"state is a {type(state).__name__} of {' and '.join(kinds)}: give one tensor, e.g. "
            "torch.as_tensor(state), or a tuple of tensors"
        )
    for part in parts:
        check_real("state", part)
    return parts  # pyright: ignore[reportReturnType]


def by_layer(state: Tensor | Sequence[Tensor], layers: int, parts: int) -> Tensor | Sequence[Tensor]:
    """PyTorch's state of a module, [layers, B, H] or as many of them as it has `parts`, layer by layer; a flat one, or
    the parts of a single layer, as they are. Raises ValueError for other tuples, in which the order is not known."""
    given = parts_of(state)
    in_layers = all(part.ndim == 3 and len(part) == layers for part in given)
    if not isinstance(state, Tensor):
        of_one_layer = layers == 1 and all(part.ndim in (1, 2) for part in given)
        alike = len({part.shape[-1] for part in given if part.ndim}) == 1
        if len(given) != parts or not alike or not (in_layers or of_one_layer):
            wanted = "h and c" if parts == 2 else "h alone"
            each = "" if layers * parts == 1 else f"{layers * parts} · "
            raise ValueError(
                f"state is a tuple of shapes {[list(part.shape) for part in given]}: give {wanted} as PyTorch has it, "
                f"[{layers}, B, H] each, or one flat tensor [B, {each}H], layer by layer, h before c"
            )
    return [part[layer] for layer in range(layers) for part in given] if in_layers else state


def flat_state(
    state: Tensor | Sequence[Tensor], sequences: int | None, device: torch.device | None, dtype: torch.dtype
) -> tuple[Float[Tensor, "B S"], tuple[int, ...] | None]:
    """The state [B, S] and the sizes of its parts (None for one tensor), from parts [n], for every sequence, or [B, n].

    Raises ValueError for other shapes, a number of sequences other than `sequences`, and non-finite numbers.
    """
    parts = parts_of(state)
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


def _not_a_state(new: object) -> str:
    if isinstance(new, np.ndarray):
        return (
            "step returned a NumPy array: write it in PyTorch's operations, or return torch.from_numpy(…) and give "
            "jacobian=…, as PyTorch cannot differentiate it"
        )
    kind = "None" if new is None else f"a {type(new).__name__}"
    if isinstance(new, (tuple, list)):
        kind += f" of {' and '.join(sorted({type(part).__name__ for part in new})) or 'nothing'}"
    return f"step returned {kind}: return the new state, a tensor or a tuple of tensors as it is given (torch.stack)"
