"""The product of a trajectory's Jacobians, and how fast it stretches each direction.

Between orthonormalisations (`orthonormalize`) the columns of the product turn towards its leading direction, and the
smaller ones lose digits: `interval` decides after how many steps the next one is due.

Tangent vectors of states in float32 are in float32, too, if most exponents can be had from that; else all steps are
made again in float64. A saturated network's directions differ by more orders of magnitude than single precision has
digits, and products in float32 lose the smaller ones, at whatever interval.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aelle.lyapunov.block_averages import FIRST_BLOCK, LEAST, MOST, BlockAverages, boundaries
from aelle.lyapunov.interval import IntervalController, Remedy
from aelle.lyapunov.orthonormalize import Factors, factorizer, log_diagonal, orthonormalize
from aelle.lyapunov.spectrum import floor


@runtime_checkable
class System(Protocol):
    """A driven dynamical system of N dimensions: states are of any type, tangent vectors are rows [V, B, K, N]."""

    N: int

    def precisions(self, K: int) -> list[torch.dtype]:
        """In which K tangent vectors can be advanced, the fastest first."""
        ...

    def advance(self, t: int, state: Any, D: Float[Tensor, "V B K N"], out: Float[Tensor, "V B K N"]) -> Any:
        """The state after step t; `out` becomes the tangent vectors D after it."""
        ...

    def finite(self, state: Any) -> Bool[Tensor, "V B"]:
        """Which sequences' states contain no NaN and no infinity."""
        ...


class Transposed:
    """The system with transposed Jacobians, while the state still advances forward, as in the paper's code."""

    def __init__(self, system: System):
        self.system, self.N, self.finite = system, system.N, system.finite

    def precisions(self, K: int) -> list[torch.dtype]:
        return self.system.precisions(self.N)

    def advance(self, t: int, state: Any, D: Float[Tensor, "V B K N"], out: Float[Tensor, "V B K N"]) -> Any:
        V, B, _, N = D.shape
        identity = torch.eye(N, dtype=D.dtype, device=D.device).repeat(V, B, 1, 1)
        J = torch.empty_like(identity)
        state = self.system.advance(t, state, identity, J)
        torch.matmul(D, J.mT, out=out)
        return state


class Growth(NamedTuple):
    """Growth of each direction over `steps` steps, nats per step; NaN for a sequence that became NaN or infinite.

    `stderr`: its standard error from averages over blocks of time. `error`: what rounding may have added.
    """

    rates: Float[Tensor, "V B K"]
    stderr: Float[Tensor, "V B K"]
    error: Float[Tensor, "V B K"]
    history: Float[Tensor, "V B steps K"] | None
    steps: int


def growth(
    system: System,
    state: Any,
    basis: Float[Tensor, "V B K N"],
    *,
    warmup: int,
    steps: int,
    every: int | str,
    history: bool = False,
    in_blocks: bool = False,
    until: float | None = None,
) -> Growth:
    """(1/steps) log |diag R|, J ··· J Q = Q' R over `steps` steps, from the Q that `warmup` steps have aligned.

    `basis` is in the precision of the states. `in_blocks`: estimate `stderr`, else NaN. `until`: stop as soon as none
    exceeds it.
    """
    *coarse, finest = system.precisions(basis.shape[-2])
    for precision in coarse if every == "auto" else []:
        # The product takes its place.
        copy = basis.to(precision, copy=True)
        controller = IntervalController(every, copy, basis.dtype, refinable=True)
        try:
            return _growth(system, state, copy, controller, warmup, steps, history, in_blocks, until)
        except TooCoarseError:
            continue
    controller = IntervalController(every, basis.to(finest), basis.dtype)
    return _growth(system, state, basis.to(finest), controller, warmup, steps, history, in_blocks, until)


class TooCoarseError(Exception):
    """Too few exponents can be had from products in this precision."""


def _growth(
    system: System,
    state: Any,
    basis: Float[Tensor, "V B K N"],
    controller: IntervalController,
    warmup: int,
    steps: int,
    history: bool,
    in_blocks: bool,
    until: float | None,
) -> Growth:
    """`growth` by products in the precision of `basis`."""
    (V, B, K), lowest = basis.shape[:-1], floor(controller.states, basis.shape[-1])
    if warmup:
        aligned = stretch(system, state, basis, range(warmup), controller)
        state, basis = aligned.state, orthonormalize(aligned.basis)[0]
    error = controller.error
    records: list[Tensor] = []
    averages, total, done = BlockAverages(), torch.zeros(V, B, K, dtype=torch.float64, device=basis.device), 0
    for end in _ends(averages, steps, in_blocks, until, lowest):
        part = torch.empty(end - done, V, B, K, dtype=torch.float64, device=basis.device) if history else None
        reached = stretch(system, state, basis, range(warmup + done, warmup + end), controller, part)
        if part is not None:
            records.append(part.add_(total))
        state, basis, total, done = reached.state, reached.basis, total + reached.log_stretch, end
        averages.add(end, total + log_diagonal(basis))
        if records:
            records[-1][-1] = averages.sums[-1]
        if until is not None and not system.finite(state).any():
            break
    rates, stderr = averages.sums[-1] / done, averages.stderr(lowest)
    lost = ~system.finite(state)
    rates[lost], stderr[lost] = torch.nan, torch.nan
    record = None
    if history:
        passed = torch.arange(1, done + 1, dtype=torch.float64, device=basis.device)
        record = torch.cat(records).permute(1, 2, 0, 3) / passed[:, None]
    # Directions that the warm-up has turned are those from which the average starts.
    return Growth(rates, stderr, torch.maximum(error, controller.error) / done, record, done)


def _ends(averages: BlockAverages, steps: int, in_blocks: bool, until: float | None, lowest: float) -> Iterator[int]:
    """After how many steps each block ends. With `until`, they grow longer, so that there are always some dozens."""
    if until is None:
        yield from boundaries(steps) if in_blocks else [steps]
        return
    end, length = 0, FIRST_BLOCK
    while end < steps:
        end = min(end + length, steps)
        yield end
        # Not after every block: the more often one looks, the sooner a standard error is too small by chance.
        if len(averages) >= MOST and len(averages) % LEAST == 0 and not (averages.stderr(lowest) > until).any():
            return
        if len(averages) == 2 * MOST:
            averages.join_pairs()
            length *= 2


class Point(NamedTuple):
    """The product before step t: J_{t-1} ··· J_s Q = M U, with `basis` M well conditioned and `log_stretch` =
    log |diag U|."""

    t: int
    state: Any
    basis: Float[Tensor, "V B K N"]
    log_stretch: Float[Tensor, "V B K"]


class Buffers:
    """Tensors of one shape that are reused: allocation would cost as much as the products."""

    def __init__(self, like: Tensor):
        self.like, self.free = like, []

    def take(self) -> Tensor:
        return self.free.pop() if self.free else torch.empty_like(self.like)

    def give(self, *tensors: Tensor) -> None:
        self.free += tensors


def stretch(
    system: System,
    state: Any,
    basis: Float[Tensor, "V B K N"],
    span: range,
    controller: IntervalController,
    record: Float[Tensor, "steps V B K"] | None = None,
) -> Point:
    """Carry `basis` through the steps of `span`.

    `record[i]` becomes log |diag R| of the product of the first i + 1. Raises TooCoarseError.
    """
    factorize, buffers = factorizer(basis), Buffers(basis)
    controller.settle()
    nothing = torch.zeros(basis.shape[:-1], dtype=torch.float64, device=basis.device)
    start = before = Point(span.start, state, basis, nothing)
    while start.t < span.stop:
        # Advance.
        states, trail = [start.state], [start.basis]
        for t in range(start.t, min(start.t + controller.length, span.stop)):
            trail.append(buffers.take())
            states.append(system.advance(t, states[-1], trail[-2], trail[-1]))
            if record is not None:
                record[t - span.start] = start.log_stretch + log_diagonal(trail[-1])
        # Factorise and judge, cutting the interval back until the controller keeps all of it.
        M = buffers.take()
        factors = factorize(trail, M)
        verdict = controller.judge(len(trail) - 1, factors)
        while 0 < verdict.kept < len(trail) - 1:
            buffers.give(*trail[verdict.kept + 1 :])
            del trail[verdict.kept + 1 :]
            factors = factorize(trail, M)
            verdict = controller.judge(verdict.kept, factors)
        if verdict.refine:
            raise TooCoarseError
        if verdict.go_back:
            buffers.give(*trail, M)
            start = before
            continue
        # Add.
        basis, log_stretch = _remedied(verdict.remedy, system, start.t, states, trail, factors)
        buffers.give(*trail[1:])
        if basis is not M:
            basis = M.copy_(basis)
        if before.basis is not start.basis:
            buffers.give(before.basis)
        before = start
        start = Point(start.t + verdict.kept, states[verdict.kept], basis, start.log_stretch + log_stretch)
    if controller.too_coarse:
        raise TooCoarseError
    return start


def _remedied(
    remedy: Remedy, system: System, t: int, states: Sequence[Any], trail: Sequence[Tensor], factors: Factors
) -> tuple[Float[Tensor, "V B K N"], Float[Tensor, "V B K"]]:
    """M and log |diag U| of the last of `trail`, which starts at step t.

    A QR of M is at least as accurate as one of A = M U, and far more so for rows of different size. LU has overwritten
    A: if its M is not good enough, A's last step is repeated.
    """
    if remedy is Remedy.NONE:
        return factors.basis, factors.log_diagonal
    if remedy is Remedy.QR_OF_FACTOR:
        basis, log_diagonal = orthonormalize(factors.basis)
        return basis, factors.log_diagonal + log_diagonal
    last = len(trail) - 1
    system.advance(t + last - 1, states[last - 1], trail[-2], trail[-1])
    return orthonormalize(trail[-1])
