"""The product of a trajectory's Jacobians, and how fast it stretches each direction.

Between orthonormalisations (`orthonormalize`) the columns of the product turn towards its leading direction, and the
smaller ones lose digits: `interval` decides after how many steps the next one is due.

Tangent vectors are in float64, also where the states are not. A saturated network's directions differ by more orders of
magnitude than single precision has digits: a product or a factorisation in float32 loses the smaller ones, at whatever
interval, and errors of a tenth of a nat are common then.
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
    """A driven dynamical system of N dimensions: states are of any type, tangent vectors are rows [V, B, K, N] in
    float64."""

    N: int

    def products(self, K: int) -> torch.dtype:
        """The precision in which K tangent vectors are advanced."""
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

    def products(self, K: int) -> torch.dtype:
        return self.system.products(self.N)

    def advance(self, t: int, state: Any, D: Float[Tensor, "V B K N"], out: Float[Tensor, "V B K N"]) -> Any:
        V, B, _, N = D.shape
        identity = torch.eye(N, dtype=D.dtype, device=D.device).repeat(V, B, 1, 1)
        J = torch.empty_like(identity)
        state = self.system.advance(t, state, identity, J)
        torch.matmul(D, J.mT, out=out)
        return state


class Growth(NamedTuple):
    """Growth of each direction over `steps` steps, nats per step; NaN for a sequence that became NaN or infinite.

    `stderr`: its standard error from averages over blocks of time.
    """

    rates: Float[Tensor, "V B K"]
    stderr: Float[Tensor, "V B K"]
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
    (V, B, K, N), dtype = basis.shape, basis.dtype
    basis, lowest = basis.double(), floor(dtype, N)
    if warmup:
        aligned = stretch(system, state, basis, range(warmup), every, dtype)
        state, basis = aligned.state, orthonormalize(aligned.basis)[0]
    records: list[Tensor] = []
    averages, total, done = BlockAverages(), torch.zeros(V, B, K, dtype=torch.float64, device=basis.device), 0
    for end in _ends(averages, steps, in_blocks, until, lowest):
        part = torch.empty(end - done, V, B, K, dtype=torch.float64, device=basis.device) if history else None
        reached = stretch(system, state, basis, range(warmup + done, warmup + end), every, dtype, part)
        if part is not None:
            records.append(part.add_(total))
        state, basis, total, done = reached.state, reached.basis, total + reached.log_stretch, end
        averages.add(end, total + log_diagonal(basis))
        if until is not None and not system.finite(state).any():
            break
    rates, stderr = averages.sums[-1] / done, averages.stderr(lowest)
    lost = ~system.finite(state)
    rates[lost], stderr[lost] = torch.nan, torch.nan
    record = None
    if history:
        passed = torch.arange(1, done + 1, dtype=torch.float64, device=basis.device)
        record = torch.cat(records).permute(1, 2, 0, 3) / passed[:, None]
    return Growth(rates, stderr, record, done)


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
    every: int | str,
    dtype: torch.dtype,
    record: Float[Tensor, "steps V B K"] | None = None,
) -> Point:
    """Carry `basis` through the steps of `span` of a system with states of `dtype`.

    `record[i]` becomes log |diag R| of the product of the first i + 1.
    """
    products = system.products(basis.shape[-2])
    controller = IntervalController(every, basis, dtype, products)
    factorize, buffers = factorizer(basis, products), Buffers(basis)
    length = controller.first_length
    start = before = Point(span.start, state, basis, basis.new_zeros(basis.shape[:-1]))
    while start.t < span.stop:
        # Advance.
        states, trail = [start.state], [start.basis]
        for t in range(start.t, min(start.t + length, span.stop)):
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
        length = verdict.length
        if verdict.go_back:
            buffers.give(*trail, M)
            start = before
            continue
        # Add.
        basis, log_stretch = _remedied(verdict.remedy, system, start.t, states, trail, factors)
        buffers.give(*trail[1:])
        if basis is not M:
            buffers.give(M)
        if before.basis is not start.basis:
            buffers.give(before.basis)
        before = start
        start = Point(start.t + verdict.kept, states[verdict.kept], basis, start.log_stretch + log_stretch)
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
