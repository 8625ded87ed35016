"""Any one-step callable as a driven dynamical system.

Axes: B sequence, T step, L step of a block, I input, S full state, N the part of it whose spectrum is wanted,
K tangent vector. The variant axis of a tangent system is 1 here.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aelle.lyapunov.chunks import CPU_CHUNK_NUMBERS
from aelle.lyapunov.differentiated import OneByOne, Vectorised, WithJacobian, differentiated, works
from aelle.lyapunov.finite_differences import check_derivative
from aelle.lyapunov.one_map import Transition, Witness, agree, check_one_map, check_step, noise
from aelle.lyapunov.step import REMEDY, FlatStep, Jacobian, Step, StepError, blamed, modules_of
from aelle.lyapunov.traced import traced

MAX_BLOCK = 256
"""Steps that are differentiated together, if all their Jacobians have no more than `CPU_CHUNK_NUMBERS` numbers."""

FIRST_BLOCK = 8
"""Steps of the first block, of which the next are twice as long each. If fewer fit and at most half of the exponents
are wanted, tangent vectors are pushed step by step instead."""

STEPS_WORTH_TRACING = 256
"""Tracing takes as long as some hundred steps without it."""


class Block(NamedTuple):
    """L steps from step `start` on: their Jacobians, and the states before and after each."""

    start: int
    states: Float[Tensor, "L_plus_1 B S"]
    J: Float[Tensor, "L B N N"]


class DrivenMap:
    """B copies of a callable, each with its own input; a tangent system for `aelle.lyapunov.product`.

    The state is flat, [B, S]; `sizes` are those of its parts (None: it is one tensor). The spectrum is that of the
    first N numbers, with the others held fixed; `jacobian` gives it, where the user has it. With a `seed` the step is
    stochastic: the noise of step t is drawn from `seed` + t, once, for the state and its derivative.

    Calling a step costs more than the arithmetic in it, and differentiating it several times more. The states of a
    block are therefore found one after the other, and all its derivatives in one call, which also shows whether the
    step is still the same map; besides, a `Witness` asks it again now and then. Blocks grow, since nobody says how many
    steps there will be. A step that cannot be vectorised, because it branches on values or supports reverse mode only,
    is differentiated one by one.
    """

    def __init__(
        self,
        step: Step,
        inputs: Float[Tensor, "B T I"] | None,
        state: Float[Tensor, "B S"],
        sizes: Sequence[int] | None,
        N: int,
        jacobian: Jacobian | None = None,
        seed: int | None = None,
    ):
        self.inputs, self.N, self.seed, self.dtype = inputs, N, seed, state.dtype
        (B, S), x, flat = state.shape, self._input(0), FlatStep(step, sizes, state)
        check_step(flat, None if x is None else x[0], state[0], seed)
        with noise(seed, state.device):
            modules = [*modules_of(step), *modules_of(jacobian)]
            stochastic = seed is not None
            calls = differentiated(flat, x, state, N, stochastic=stochastic, jacobian=jacobian, modules=modules)
        if isinstance(calls, WithJacobian):
            check_one_map("jacobian", calls.of_one, None if x is None else x[0], state[0])
        self.linearized, self.new, self.untraced = calls.linearized, calls.new, calls.new
        self.vectorised, self.blamed = calls.vectorised, "step" if jacobian is None else "step or jacobian"
        self.witness = Witness(self._again, state.device, seeded=seed is not None)
        self.most = max(1, min(MAX_BLOCK, CPU_CHUNK_NUMBERS // (B * S * N)))
        if seed is not None or isinstance(calls, OneByOne):
            self.most = 1
        self.traceable = calls.vectorised and seed is None
        self.pushed: Callable | None = None
        if isinstance(calls, Vectorised) and seed is None and self.most < FIRST_BLOCK:
            one = (None if x is None else x[:1], state[:1], state.new_zeros(1, 1, N))
            self.pushed = calls.pushed if works([calls.pushed], *one, modules=modules) else None
        first = (None if x is None else x[:1], state[:1])
        check_derivative(self._values, self._derivatives, *first, N, by_jacobian=jacobian is not None)
        self.block: Block | None = None

    def precisions(self, K: int) -> list[torch.dtype]:
        """In which K tangent vectors can be advanced, the fastest first."""
        return [self.dtype if self._pushes(K) else torch.float64]

    def advance(
        self, t: int, state: Float[Tensor, "B S"], D: Float[Tensor, "1 B K N"], out: Float[Tensor, "1 B K N"]
    ) -> Float[Tensor, "B S"]:
        """The state after step t; `out` becomes the tangent vectors D after it."""
        if self.pushed is not None and self._pushes(D.shape[2]):
            with blamed(self.blamed, self._input(t), state):
                new, out[0] = self.pushed(self._input(t), state, D[0])
                self.witness.see(Transition(t, self._input(t), state, new))
            return new
        block = self.block
        if block is None or not block.start <= t < block.start + len(block.J):
            with blamed(self.blamed, self._input(t), state):
                block = self.block = self._block(t, state)
                last = t + len(block.J) - 1
                self.witness.see(Transition(last, self._input(last), block.states[-2], block.states[-1]))
        torch.matmul(D[0], block.J[t - block.start].mT, out=out[0])
        return block.states[t - block.start + 1]

    def finite(self, state: Float[Tensor, "B S"]) -> Bool[Tensor, "1 B"]:
        return state.isfinite().all(-1)[None]

    def _pushes(self, K: int) -> bool:
        """Whether each step advances K tangent vectors by forward-mode derivatives, in the precision of the state."""
        return self.pushed is not None and 2 * K <= self.N

    def _block(self, t: int, state: Float[Tensor, "B S"]) -> Block:
        if self.most == 1:
            with nullcontext() if self.seed is None else noise(self.seed + t, state.device):
                J, new = self.linearized(self._input(t), state)
            new = self.new(self._input(t), state) if new is None else new
            return Block(t, torch.stack([state, new]), J[None].double())
        if self.traceable and t >= STEPS_WORTH_TRACING:
            self.new, self.traceable = _traced(self.new, self._input(t), state), False
        length = FIRST_BLOCK if self.block is None else 2 * len(self.block.J)
        stop = t + min(length, self.most)
        times = range(t, stop if self.inputs is None else min(stop, self.inputs.shape[1]))
        states = [state]
        for s in times:
            states.append(self.new(self._input(s), states[-1]))
        states = torch.stack(states)
        x = None if self.inputs is None else self.inputs[:, times.start : times.stop].transpose(0, 1).flatten(0, 1)
        J, new = self.linearized(x, states[:-1].flatten(0, 1))
        if new is None and self.vectorised:
            new = self.untraced(x, states[:-1].flatten(0, 1))
        if new is not None and not agree(new, states[1:].flatten(0, 1)):
            raise StepError(f"step is not one map: between steps {t} and {times.stop} it changed; {REMEDY}")
        return Block(t, states, J.unflatten(0, (len(times), -1)).double())

    def _values(self, x: Float[Tensor, "n I"] | None, states: Float[Tensor, "n S"]) -> Float[Tensor, "n S"]:
        with noise(self.seed, states.device):
            return self.new(x, states)

    def _derivatives(
        self, x: Float[Tensor, "n I"] | None, states: Float[Tensor, "n S"], v: Float[Tensor, "n N"]
    ) -> Float[Tensor, "n N"]:
        with noise(self.seed, states.device):
            if self.pushed is not None:
                return self.pushed(x, states, v[:, None])[1][:, 0]
            return (self.linearized(x, states)[0] @ v[..., None])[..., 0]

    def _again(self, t: int, x: Float[Tensor, "B I"] | None, state: Float[Tensor, "B S"]) -> Float[Tensor, "some S"]:
        """The new states after step t, by the user's own code; one by one, that of the first sequence only."""
        if not self.vectorised:
            x, state = None if x is None else x[:1], state[:1]
        with nullcontext() if self.seed is None else noise(self.seed + t, state.device):
            return self.untraced(x, state)

    def _input(self, t: int) -> Float[Tensor, "B I"] | None:
        return None if self.inputs is None else self.inputs[:, t]


def _traced(new: Callable[..., Tensor], x: Tensor | None, state: Tensor) -> Callable[..., Tensor]:
    if x is not None:
        return traced(new, x, state)
    graph = traced(partial(new, None), state)
    return lambda _, state: graph(state)
