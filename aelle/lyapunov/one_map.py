"""Whether a user's step is one map: the same question has the same answer, now and later.

Axes: B sequence, I input, S full state.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from aelle.cells.without_trace import random_states_kept
from aelle.lyapunov.step import REMEDY, FlatStep, StepError, blamed

Inputs = Float[Tensor, "B I"] | None

NEARBY = 1e-3
"""How far from the first state a step is asked again, in units of each of its numbers, and of 1: noise that multiplies
the state vanishes at zero."""


def check_step(step: FlatStep, x: Float[Tensor, "I"] | None, state: Float[Tensor, "S"], seed: int | None) -> None:
    """Raises StepError if the step fails, changes the state's shape, dtype or device, or is not one map.

    With a `seed` it may draw from PyTorch's global generators, and from nothing else.
    """
    with blamed("step", x, state), noise(seed, state.device):
        new = step(x, state)
    if new.shape != state.shape or new.dtype != state.dtype:
        raise StepError(
            f"step returned a state of {list(new.shape)} numbers in {new.dtype} for one of {list(state.shape)} "
            f"in {state.dtype}: return one of the same shape and dtype"
        )
    if new.device != state.device:
        raise StepError(
            f"step returned a state on {new.device} for one on {state.device}: move its tensors and the state to one "
            "device"
        )
    check_one_map("step", step, x, state, seed)


def check_one_map(
    name: str,
    function: Callable[[Tensor | None, Tensor], Tensor],
    x: Float[Tensor, "I"] | None,
    state: Float[Tensor, "S"],
    seed: int | None = None,
) -> None:
    """Raises StepError if two calls differ, for this state or those beside it, or if they move a global generator.

    Beside it the function need not be defined.
    """
    with blamed(name, x, state):
        _ask_twice(name, function, x, state, seed)
    for other in nearby(state):
        try:
            _ask_twice(name, function, x, other, seed)
        except StepError:
            raise
        except Exception:
            continue


def nearby(state: Float[Tensor, "S"], distance: float = NEARBY) -> list[Float[Tensor, "S"]]:
    """Two states beside it, on opposite sides."""
    u = torch.rand(len(state), generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(state)
    return [state + sign * distance * (0.5 + u) * (1 + state.abs()) for sign in (1.0, -1.0)]


def _ask_twice(name: str, function: Callable, x: Tensor | None, state: Tensor, seed: int | None) -> None:
    results = []
    with random_states_kept({state.device}):
        for _ in range(2):
            if seed is not None:
                torch.manual_seed(seed)
            before = _global_states(state.device)
            results.append(function(x, state))
            moved = _moved(before, _global_states(state.device))
            if seed is not None:
                moved.discard("PyTorch")
            if moved and seed is None:
                raise StepError(f"{name} is not one map: it draws random numbers from {_listed(moved)}; {REMEDY}")
            if moved:
                raise StepError(f"{name} draws random numbers from {_listed(moved)}: {STOCHASTIC_REMEDY}")
    if agree(*results, exactly=state.device.type == "cpu"):
        return
    if seed is None:
        raise StepError(f"{name} is not one map: two calls with the same x and state gave different states; {REMEDY}")
    raise StepError(f"{name} is not one map even with PyTorch's generators seeded alike: {STOCHASTIC_REMEDY}")


STOCHASTIC_REMEDY = "draw its noise by torch.randn and the like, from no other generator, and take counters out of it"


class Transition(NamedTuple):
    """A step that has been made: `t` as the caller counts them."""

    t: int
    x: Inputs
    state: Float[Tensor, "B S"]
    new: Float[Tensor, "B S"]


class Witness:
    """Asks a step again now and then what it has answered before, and sees whether global generators move.

    The time from an answer to its repetition grows up to `MAX_STEPS_BETWEEN` steps: that costs little.
    """

    def __init__(
        self, again: Callable[[int, Inputs, Tensor], Float[Tensor, "some S"]], device: torch.device, seeded: bool
    ):
        self.again, self.device, self.seeded = again, device, seeded
        self.between, self.seen, self.generators = 1, None, self._generators()

    def see(self, transition: Transition) -> None:
        """Raises StepError if the step is not what it was."""
        if self.seen is not None and transition.t - self.seen.t < self.between:
            return
        if self.seen is not None:
            span = f"between steps {self.seen.t} and {transition.t + 1}"
            new = self.again(self.seen.t, self.seen.x, self.seen.state)
            generators = self._generators()
            if moved := _moved(self.generators, generators):
                raise StepError(f"step is not one map: {span} it drew random numbers from {_listed(moved)}; {REMEDY}")
            if not agree(new, self.seen.new[: len(new)]):
                raise StepError(f"step is not one map: {span} it changed; {REMEDY}")
            self.between = min(2 * self.between, MAX_STEPS_BETWEEN)
        self.seen = transition

    def _generators(self) -> dict[str, Any]:
        return {} if self.seeded else _global_states(self.device)


MAX_STEPS_BETWEEN = 16


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


def _global_states(device: torch.device) -> dict[str, Any]:
    """Not Python's, from which other libraries draw: beartype in every check of types, others in their threads."""
    states: dict[str, Any] = {"PyTorch": [torch.get_rng_state()], "NumPy": _numpy_state()}
    if device.type == "cuda":
        states["PyTorch"].append(torch.cuda.get_rng_state(device))
    return states


def _numpy_state() -> list[Any]:
    state: Any = np.random.get_state(legacy=False)
    return list(state["state"].values())


def _moved(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    moved = {"PyTorch"} if not all(map(torch.equal, before.get("PyTorch", ()), after.get("PyTorch", ()))) else set()
    if "NumPy" in before and not all(map(np.array_equal, before["NumPy"], after["NumPy"])):
        moved.add("NumPy")
    return moved


def _listed(moved: set[str]) -> str:
    return " and ".join(f"{name}'s global generator" for name in sorted(moved))
