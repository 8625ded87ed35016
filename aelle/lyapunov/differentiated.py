"""A user's step for many sequences at once, with its derivative.

Axes: n sequence (or sequence and step), I input, S full state, N the part of it whose spectrum is wanted, K tangent
vector.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import jvp, vjp, vmap

from aelle.cells.without_trace import all_without_trace
from aelle.lyapunov.step import FlatStep, Jacobian, StepError, blamed, draws_random_numbers

Inputs = Float[Tensor, "n I"] | None


class Linearized(NamedTuple):
    """J = ∂(first N numbers of the new state)/∂(those of the old one), and the new states if they were found too."""

    J: Float[Tensor, "n N N"]
    new: Float[Tensor, "n S"] | None


class Vectorised:
    """By `torch.func`: the derivatives of all sequences in one call."""

    vectorised = True

    def __init__(self, step: FlatStep, driven: bool, N: int, stochastic: bool):
        self.step, self.N, self.randomness = step, N, "different" if stochastic else "error"
        self.in_dims = (0 if driven else None, 0)

    def new(self, x: Inputs, states: Float[Tensor, "n S"]) -> Float[Tensor, "n S"]:
        return vmap(self.step, self.in_dims, randomness=self.randomness)(x, states)

    def linearized(self, x: Inputs, states: Float[Tensor, "n S"]) -> Linearized:
        """Row by row: sequences do not depend on each other, so that a row of all Jacobians is one derivative."""
        new, pulled = vjp(partial(self.new, x), states)[:2]
        rows = torch.eye(self.N, states.shape[1], dtype=states.dtype, device=states.device)
        J = vmap(lambda row: pulled(row.expand_as(states))[0], out_dims=1)(rows)
        return Linearized(J[..., : self.N], new)

    def pushed(
        self, x: Inputs, states: Float[Tensor, "n S"], D: Float[Tensor, "n K N"]
    ) -> tuple[Float[Tensor, "n S"], Float[Tensor, "n K N"]]:
        """The new states, and D Jᵀ without J."""
        tangents = nn.functional.pad(D, (0, states.shape[1] - self.N))

        def of_one(x: Tensor | None, state: Tensor, tangents: Float[Tensor, "K S"]) -> tuple[Tensor, Tensor]:
            return vmap(lambda v: jvp(partial(self.step, x), (state,), (v,))[:2])(tangents)

        new, pushed = vmap(of_one, (*self.in_dims, 0))(x, states, tangents)
        return new[:, 0], pushed[..., : self.N]


class OneByOne:
    """By reverse-mode differentiation, or by the step alone, of one sequence after the other."""

    vectorised = False

    def __init__(self, step: FlatStep, N: int):
        self.step, self.N = step, N

    def new(self, x: Inputs, states: Float[Tensor, "n S"]) -> Float[Tensor, "n S"]:
        return torch.stack([self.step(x_n, state) for x_n, state in _pairs(x, states)])

    def linearized(self, x: Inputs, states: Float[Tensor, "n S"]) -> Linearized:
        found = [self._of_one(x_n, state) for x_n, state in _pairs(x, states)]
        return Linearized(torch.stack([J for J, _ in found]), torch.stack([new for _, new in found]))

    def _of_one(self, x: Tensor | None, state: Float[Tensor, "S"]) -> tuple[Tensor, Tensor]:
        # Nothing is recorded in inference mode, nor for tensors made in it.
        with torch.inference_mode(False), torch.enable_grad():
            state = state.detach().clone().requires_grad_()
            new = self.step(x, state)
            if not new.requires_grad:
                raise StepError(
                    "step cannot be differentiated by PyTorch: its new state does not depend on the old one by "
                    "PyTorch's operations (NumPy, .item() and .detach() break the chain); give jacobian=…"
                )
            rows = [torch.autograd.grad(row, state, retain_graph=True, allow_unused=True)[0] for row in new[: self.N]]
        zero = torch.zeros_like(state)
        J = torch.stack([zero if row is None else row for row in rows])
        return J[:, : self.N].detach(), new.detach()


class WithJacobian:
    """By the user's own Jacobian, of all sequences in one call if it can be vectorised."""

    def __init__(self, jacobian: Jacobian, calls: Vectorised | OneByOne, driven: bool):
        self.jacobian, self.step, self.N, self.new = jacobian, calls.step, calls.N, calls.new
        self.vectorised = calls.vectorised
        self.in_dims = (0 if driven else None, 0)
        self.linearized = self.at_once

    def at_once(self, x: Inputs, states: Float[Tensor, "n S"]) -> Linearized:
        return Linearized(vmap(self.of_one, self.in_dims)(x, states), None)

    def one_by_one(self, x: Inputs, states: Float[Tensor, "n S"]) -> Linearized:
        return Linearized(torch.stack([self.of_one(x_n, state) for x_n, state in _pairs(x, states)]), None)

    def of_one(self, x: Tensor | None, state: Float[Tensor, "S"]) -> Float[Tensor, "N N"]:
        J = self.jacobian(*self.step.arguments(x, state))
        if not isinstance(J, Tensor) or J.shape != (self.N, self.N) or J.dtype != state.dtype:
            given = f"{list(J.shape)} in {J.dtype}" if isinstance(J, Tensor) else type(J).__name__
            raise StepError(
                f"jacobian returned {given}: return the {self.N} × {self.N} matrix ∂(new state)/∂(state), a tensor in "
                f"{state.dtype}"
            )
        return J


def differentiated(
    step: FlatStep,
    x: Inputs,
    states: Float[Tensor, "n S"],
    N: int,
    *,
    stochastic: bool = False,
    jacobian: Jacobian | None = None,
    modules: Sequence[nn.Module] = (),
) -> Vectorised | OneByOne | WithJacobian:
    """The fastest of them that works on these states, by the first of them. Raises StepError if none does, with the
    step's own error, or if vectorisation finds out that it draws random numbers. `modules`: those that it uses."""
    driven = x is not None
    x, states = None if x is None else x[:1], states[:1]
    vectorised, one_by_one = Vectorised(step, driven, N, stochastic), OneByOne(step, N)
    if jacobian is not None:
        calls = vectorised if works([vectorised.new], x, states, modules=modules) else one_by_one
        given = WithJacobian(jacobian, calls, driven)
        if not works([given.at_once, given.new], x, states, name="jacobian", modules=modules):
            given.linearized = given.one_by_one
            with blamed("jacobian", x, states):
                given.linearized(x, states)
        return given
    if works([vectorised.linearized, vectorised.new], x, states, modules=modules):
        return vectorised
    with blamed("step cannot be differentiated by PyTorch: it", x, states):
        one_by_one.linearized(x, states)
    return one_by_one


def works(
    calls: Sequence[Callable], x: Inputs, *tensors: Tensor, name: str = "step", modules: Sequence[nn.Module] = ()
) -> bool:
    """Whether these can be called at all, with 2 and then with 3 copies of one sequence: what is refused by
    vectorisation may well work without it, but random numbers are refused for good.

    A module that keeps a vectorised tensor, and needs it in its next call, works once only; it must not have it any
    more when the next way is tried.
    """
    with warnings.catch_warnings():
        # PyTorch's first forward-mode derivative warns of PyTorch's own use of torch.jit.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            with all_without_trace(modules, evaluation=False):
                for n in (2, 3):
                    several = [None if part is None else part.expand(n, *part.shape[1:]) for part in (x, *tensors)]
                    for call in calls:
                        call(*several)
        except Exception as error:
            if draws_random_numbers(error):
                with blamed(name, x, tensors[0]):
                    raise
            return False
    return True


def _pairs(x: Inputs, states: Float[Tensor, "n S"]) -> Iterator[tuple[Tensor | None, Tensor]]:
    return ((None if x is None else x[n], state) for n, state in enumerate(states))
