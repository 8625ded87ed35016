"""The product of a trajectory's Jacobians, and how fast it stretches each direction.

Between orthonormalisations (`orthonormalize`) the columns of the product lean towards its leading direction, and the
smaller ones lose digits: `interval` decides after how many steps the next one is due.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aelle.lyapunov import orthonormalize as flag
from aelle.lyapunov.interval import Interval
from aelle.lyapunov.orthonormalize import splitter


@runtime_checkable
class System(Protocol):
    """A driven dynamical system of N dimensions: states are its own affair, tangent vectors are rows [V, B, K, N]."""

    N: int

    def advance(self, t: int, state: Any, D: Float[Tensor, "V B K N"], out: Float[Tensor, "V B K N"]) -> Any:
        """The state after step t; `out` becomes the tangent vectors D after it."""
        ...

    def finite(self, state: Any) -> Bool[Tensor, "V B"]:
        """Which sequences' states hold no NaN and no infinity."""
        ...


class Transposed:
    """The system whose Jacobians are transposed while the state still steps forward, as the paper's code has it."""

    def __init__(self, system: System):
        self.system, self.N, self.finite = system, system.N, system.finite

    def advance(self, t: int, state: Any, D: Float[Tensor, "V B K N"], out: Float[Tensor, "V B K N"]) -> Any:
        V, B, _, N = D.shape
        identity = torch.eye(N, dtype=D.dtype, device=D.device).repeat(V, B, 1, 1)
        J = torch.empty_like(identity)
        state = self.system.advance(t, state, identity, J)
        torch.matmul(D, J.mT, out=out)
        return state


class Growth(NamedTuple):
    """Growth of each direction, nats per step; NaN for a sequence whose state left the finite numbers."""

    rates: Float[Tensor, "V B K"]
    history: Float[Tensor, "V B steps K"] | None


def growth(
    system: System,
    state: Any,
    basis: Float[Tensor, "V B K N"],
    *,
    warmup: int,
    steps: int,
    every: int | str,
    history: bool = False,
) -> Growth:
    """(1/steps) log |diag R|, J ··· J Q = Q' R over `steps` steps, from the Q that `warmup` steps have aligned."""
    if warmup:
        state, basis, _ = stretch(system, state, basis, range(warmup), every)
        basis, _ = flag.orthonormal(basis)
    V, B, K, _ = basis.shape
    record = torch.empty(steps, V, B, K, dtype=torch.float64, device=basis.device) if history else None
    state, basis, total = stretch(system, state, basis, range(warmup, warmup + steps), every, record)
    rates = (total + flag.log_diagonal(basis)) / steps
    rates[~system.finite(state)] = torch.nan
    if record is not None:
        passed = torch.arange(1, steps + 1, dtype=record.dtype, device=record.device)
        record = record.permute(1, 2, 0, 3) / passed[:, None]
    return Growth(rates, record)


def stretch(
    system: System,
    state: Any,
    basis: Float[Tensor, "V B K N"],
    span: range,
    every: int | str,
    record: Float[Tensor, "steps V B K"] | None = None,
) -> tuple[Any, Float[Tensor, "V B K N"], Float[Tensor, "V B K"]]:
    """Carry `basis` through the steps of `span`: J_t ··· J_s basis = M U.

    Returns the state, M (well conditioned), and log |diag U|. `record[i]` becomes log |diag R| of the product of the
    first i + 1 steps.
    """
    interval, split = Interval(every, basis), splitter(basis)
    total = torch.zeros(basis.shape[:-1], dtype=torch.float64, device=basis.device)
    spare: list[Tensor] = []
    t = span.start
    before = t, state, basis, total
    while t < span.stop:
        states, trail = [state], [basis]
        for s in range(t, min(t + interval.length, span.stop)):
            trail.append(spare.pop() if spare else torch.empty_like(basis))
            states.append(system.advance(s, states[-1], trail[-2], trail[-1]))
            if record is not None:
                record[s - span.start] = total + flag.log_diagonal(trail[-1])
        new_basis = spare.pop() if spare else torch.empty_like(basis)
        factors = split(trail, new_basis)
        while 0 < (kept := interval.judge(len(trail) - 1, factors)) < len(trail) - 1:
            spare += trail[kept + 1 :]
            del trail[kept + 1 :]
            factors = split(trail, new_basis)
        if kept == 0:
            spare += [*trail, new_basis]
            t, state, basis, total = before
            continue
        if before[2] is not basis:
            spare.append(before[2])
        before = t, state, basis, total

        if interval.grown:  # QR of the product itself, which LU has used up, so that its last step is made once more.
            system.advance(t + kept - 1, states[kept - 1], trail[-2], trail[-1])
            basis, log_diagonal = flag.orthonormal(trail[-1])
        else:
            basis, log_diagonal = interval.settle(factors)
        state, t = states[kept], t + kept
        spare += trail[1:] if basis is new_basis else [new_basis, *trail[1:]]
        total = total + log_diagonal
    return state, basis, total
