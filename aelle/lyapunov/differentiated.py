"""A user's step for many sequences at once, with its derivative.

Axes: n sequence (or sequence and step), I input, S full state, N the part of it whose spectrum is wanted, K tangent
vector.
"""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import jvp, vjp, vmap

from aelle.errors import in_one_line
from aelle.lyapunov.step import FlatStep, Jacobian

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
        with torch.enable_grad():
            state = state.detach().requires_grad_()
            new = self.step(x, state)
            if not new.requires_grad:
                raise ValueError(
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
        return Linearized(vmap(self._of_one, self.in_dims)(x, states), None)

    def one_by_one(self, x: Inputs, states: Float[Tensor, "n S"]) -> Linearized:
        return Linearized(torch.stack([self._of_one(x_n, state) for x_n, state in _pairs(x, states)]), None)

    def _of_one(self, x: Tensor | None, state: Float[Tensor, "S"]) -> Float[Tensor, "N N"]:
        J = self.jacobian(x, self.step.parts(state))
        if not isinstance(J, Tensor) or J.shape != (self.N, self.N) or J.dtype != state.dtype:
            given = f"{list(J.shape)} in {J.dtype}" if isinstance(J, Tensor) else type(J).__name__
            raise ValueError(
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
) -> Vectorised | OneByOne | WithJacobian:
    """The fastest of them that works on these states, by the first of them. Raises ValueError if none does, with the
    step's own error."""
    driven = x is not None
    x, states = None if x is None else x[:1], states[:1]
    vectorised, one_by_one = Vectorised(step, driven, N, stochastic), OneByOne(step, N)
    if jacobian is not None:
        given = WithJacobian(jacobian, vectorised if works(vectorised.new, x, states) else one_by_one, driven)
        if not works(given.at_once, x, states):
            given.linearized = given.one_by_one
            _tried(given.linearized, "jacobian fails", x, states)
        return given
    if works(vectorised.linearized, x, states):
        return vectorised
    _tried(one_by_one.linearized, "step cannot be differentiated by PyTorch", x, states)
    return one_by_one


def works(call: Callable, *arguments: Tensor | None) -> bool:
    """Whether it can be done at all: what is refused by vectorisation may well work without it."""
    with warnings.catch_warnings():
        # PyTorch's first forward-mode derivative warns of PyTorch's own use of torch.jit.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            call(*arguments)
        except Exception:
            return False
    return True


def _tried(linearized: Callable, failure: str, x: Inputs, states: Float[Tensor, "n S"]) -> None:
    try:
        linearized(x, states)
    except (RuntimeError, IndexError, TypeError) as error:
        raise ValueError(f"{failure}: {in_one_line(error)}") from error


def _pairs(x: Inputs, states: Float[Tensor, "n S"]) -> Iterator[tuple[Tensor | None, Tensor]]:
    return ((None if x is None else x[n], state) for n, state in enumerate(states))
