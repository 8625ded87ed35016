"""The number of steps between orthonormalisations.

How many digits a step costs depends on the network, the sequence and the time, so no fixed interval suits all. The
error of each interval is therefore estimated (`orthonormalize`), added up for every exponent, and kept within a budget
that grows with the steps; an interval that turns out to be too long is cut back to products that are still in memory.
As with the step size controllers of ODE solvers, a controller returns a verdict, and the loop acts on it.
"""

import math
from enum import Enum, auto
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from aelle.lyapunov.orthonormalize import Factors
from aelle.lyapunov.spectrum import RESOLVED

TOLERANCE = 2e-7
"""Nats per step: the estimated error allowed for an exponent, relative to a QR at every step, by products in float64.
A fifth of what is promised, because estimates for single intervals have been found several times too low."""

COARSE_FROM = 64
"""Dimensions: the products of fewer take too little of the time for float32 to save any."""

COARSE_TOLERANCE, COARSE_SHARE = 1e-3, 0.9
"""For products in float32: the estimated error allowed, for this share of each sequence's exponents. The smallest
exponents have the largest errors, and the last tenth would allow only single steps. `Spectrum.resolved` says which are
good."""

BUDGET_STEPS = 20
"""Maximum budget of a single interval, in steps, however much is left."""

UNRESOLVED_PIVOT = 0.1
"""A pivot whose relative error exceeds this after a single step is noise in any method and cannot be recovered."""

MAX_CONDITION = 1e6
"""Condition of M above which QR replaces LU: tens to hundreds for Jacobians, 2^N for Wilkinson's matrix."""

MEMORY = 0.8
"""Weight of the past in the digits that a step is expected to cost. Every interval that has to be cut back halves the
weight of the present, so that a network that allows only single steps is seldom tried with more."""

FOLLOWED, COARSE_FOLLOWED = 8, 256
"""Intervals whose turned directions are followed one by one; those of earlier ones are followed together, which finds
too much. In float64 that is seldom too much, and looked at after every interval; of coarse products, only at the end.
"""

MAX_LENGTH = 8
"""Steps: beyond this, the product costs ten times as much as the factorisation, and low precision may overflow."""


class Remedy(Enum):
    """What makes a factor M accurate enough to continue with."""

    NONE = auto()
    QR_OF_FACTOR = auto()
    QR_OF_PRODUCT = auto()


class Verdict(NamedTuple):
    """`kept`: how many of the steps just made may be kept; if not all, factorise again after that many. `length`: steps
    of the next interval. `go_back`: nothing is kept, and the previous interval is repeated. `refine`: nothing is kept,
    and all steps need a finer precision."""

    kept: int
    length: int
    remedy: Remedy = Remedy.NONE
    go_back: bool = False
    refine: bool = False


def precisions(states: torch.dtype, N: int) -> list[torch.dtype]:
    """In which N × N Jacobians of states of this precision are to be multiplied: the fastest that pays first."""
    return [torch.float32, torch.float64] if states == torch.float32 and N >= COARSE_FROM else [torch.float64]


class Turns(NamedTuple):
    """How far rounding has turned each direction towards later ones, and how much these have been stretched since.

    A direction whose error along a later one is δ ends with δ times the growth of that one over its own. `total` is
    each direction's log stretch so far, `errors` those of the intervals so far, and `totals` the log stretches before
    which they were made.
    """

    total: Float[Tensor, "V B K"]
    errors: tuple[Float[Tensor, "V B K"], ...] = ()
    totals: tuple[Float[Tensor, "V B K"], ...] = ()

    def stretched(self, log_diagonal: Float[Tensor, "V B K"]) -> "Turns":
        return self._replace(total=self.total + log_diagonal.clamp(min=-1e3))

    def turned(self, error: Float[Tensor, "V B K"], followed: int) -> "Turns":
        """`followed`: so many intervals one by one."""
        if len(self.errors) < followed:
            return Turns(self.total, (*self.errors, error), (*self.totals, self.total))
        return Turns(self.total, (self.passed_on(), error), (self.total, self.total))

    def passed_on(self) -> Float[Tensor, "V B K"]:
        """The error of each direction now."""
        if not self.errors:
            return torch.zeros_like(self.total)
        overtaken = _overtaken(self.total - torch.stack(self.totals))
        return (torch.stack(self.errors) * overtaken).nan_to_num(0).sum(0)


class ErrorBudget(NamedTuple):
    """Errors of the intervals so far: `spent`, in the sums; `turns`, in the directions that are carried on; `lost`, in
    the sums, whether or not any method could do better."""

    spent: Float[Tensor, "V B K"]
    turns: Turns
    lost: Float[Tensor, "V B K"]
    steps: int


class Measured(NamedTuple):
    """Maxima over all sequences and those of their exponents that count: the error of this interval, all errors so far,
    these including what a direction passes on to one that overtakes it, the error of a resolved pivot, and the
    condition of M."""

    error: float
    spent: float
    carried: float
    resolved: float
    condition: float

    @classmethod
    def of(
        cls,
        error: Float[Tensor, "V B K"],
        spent: Float[Tensor, "V B K"],
        carried: Float[Tensor, "V B K"],
        condition: Float[Tensor, "V B"],
        counted: int,
    ) -> "Measured":
        """`counted`: so many exponents of each sequence, those with the least errors."""
        resolved = torch.where(error < UNRESOLVED_PIVOT, error, 0)
        condition = condition.nan_to_num(0, torch.inf)[..., None].expand_as(error)
        every = torch.stack([error, spent, carried, resolved, condition])
        if counted < error.shape[-1]:
            every = every.kthvalue(counted).values
        return cls(*every.flatten(1).amax(1).tolist())


class IntervalController:
    """As many steps as the error budget allows, or `every`, but fewer if the product would leave the range of the
    precision, which is that of `basis`.

    `states`: their precision. `refinable`: whether products can be made in a finer one if single steps exceed the
    budget.
    """

    def __init__(self, every: int | str, basis: Float[Tensor, "V B K N"], states: torch.dtype, refinable: bool = False):
        self.fixed, self.states, self.refinable = None if every == "auto" else int(every), states, refinable
        self.coarse, K = basis.dtype == torch.float32, basis.shape[-2]
        self.tolerance, self.eps = COARSE_TOLERANCE if self.coarse else TOLERANCE, torch.finfo(basis.dtype).eps
        self.counted = math.ceil(COARSE_SHARE * K) if self.coarse else K
        zeros = torch.zeros(basis.shape[:-1], dtype=torch.float64, device=basis.device)
        self.budget, self.budget_before, self.length_before = ErrorBudget(zeros, Turns(zeros), zeros, 0), None, 1
        # The logarithm, in units of ε, of what `orthonormalize` estimates before any step has added to it, and what a
        # step adds.
        self.offset = max(math.log(basis.shape[-1] ** 1.5 / 32), 0)
        self.rate, self.memory = 0.0, MEMORY
        self.length = self.fixed or 2
        """Steps of the next interval."""

    def settle(self) -> None:
        """From here on, no earlier interval can be repeated."""
        self.budget_before = None

    @property
    def error(self) -> Float[Tensor, "V B K"]:
        """The estimated error of each log |diag R| so far: of coarse products at least that of any earlier direction,
        since later ones are orthogonal to it."""
        if not self.coarse:
            return self.budget.lost
        return (self.budget.lost + self.budget.turns.passed_on().log1p()).cummax(-1).values

    @property
    def too_coarse(self) -> bool:
        """Whether a finer precision is needed: too many directions have been turned too far, or one of the leading half
        is not resolved."""
        if not self.refinable:
            return False
        allowance = self.tolerance * self.budget.steps
        turned = self.budget.turns.passed_on().log1p().kthvalue(self.counted).values
        leading = self.error[..., : -(-self.error.shape[-1] // 2)]
        return bool(turned.max() > allowance or leading.max() > RESOLVED * self.budget.steps)

    def judge(self, steps: int, factors: Factors) -> Verdict:
        """Judge the `steps` just made by the factorisation of their product. One round trip to the device."""
        verdict = self._judged(steps, factors)
        self.length = verdict.length
        return verdict

    def _judged(self, steps: int, factors: Factors) -> Verdict:
        error, turns = factors.error.double(), self.budget.turns.stretched(factors.log_diagonal)
        spent = self.budget.spent + error
        carried = spent if self.coarse else spent + turns.passed_on()
        lost = self.budget.lost + self._lost(factors, steps)
        worst = Measured.of(error, spent, carried, factors.condition, self.counted)
        remedy = Remedy.NONE
        if worst.condition > MAX_CONDITION:
            remedy = Remedy.QR_OF_PRODUCT
        elif worst.resolved > self.tolerance:
            remedy = Remedy.QR_OF_FACTOR
        if self.fixed is not None:
            if steps > 1 and worst.error == torch.inf:
                return Verdict(steps // 2, steps // 2)
            self.budget = self.budget._replace(turns=self._turned(turns, factors), lost=lost)
            return Verdict(steps, min(2 * steps, self.fixed), remedy)

        allowed = self._allowed(steps, worst)
        allowance = self.tolerance * (self.budget.steps + steps)
        counts = steps > 1 or self.refinable
        if counts and (worst.error > self.tolerance * BUDGET_STEPS or worst.spent > allowance):
            if steps == 1:
                return Verdict(0, 1, refine=True)
            self.memory = (1 + self.memory) / 2
            return Verdict(min(allowed, steps - 1), min(allowed, steps - 1))
        if worst.carried > 5 * allowance and self.budget_before is not None and self.length_before > 1:
            # A direction that the previous interval has turned a little has since been stretched less than a later
            # one, and its error as much as that one.
            self.budget, self.budget_before = self.budget_before, None
            return Verdict(0, self.length_before // 2, go_back=True)
        self.budget_before, self.length_before = self.budget, steps
        if counts:
            self.memory = MEMORY
            self.budget = ErrorBudget(spent, self._turned(turns, factors), lost, self.budget.steps + steps)
            # The remaining error is within the budget.
            remedy = Remedy.NONE if remedy is Remedy.QR_OF_FACTOR else remedy
        else:
            # A single step is as accurate as the QR that it is compared with.
            turns = self._turned(turns, factors) if self.coarse else turns
            self.budget = ErrorBudget(self.budget.spent, turns, lost, self.budget.steps + 1)
        return Verdict(steps, min(allowed, 2 * steps), remedy)

    def _turned(self, turns: Turns, factors: Factors) -> Turns:
        error = factors.error.double()
        if not self.coarse:
            return turns.turned(error, FOLLOWED)
        # That rounding grows with N in a factorisation, which `error` contains, concerns pivots and not directions.
        return turns.turned(error / max(1, factors.basis.shape[-1] / 32), COARSE_FOLLOWED)

    def _lost(self, factors: Factors, steps: int) -> Float[Tensor, "V B K"]:
        """The error of each log |diag R| of these steps, the rounding of each Jacobian to the precision of the states
        included: a product whose pivots have lost some digits in `steps` steps has lost that part of them in each."""
        error, rounding = factors.error.double(), torch.finfo(self.states).eps
        return error if rounding <= self.eps else error + steps * rounding * factors.ratio.double() ** (1 / steps)

    def _allowed(self, steps: int, worst: Measured) -> int:
        """The number of steps that the budget allows, if each costs as many digits as these and earlier ones."""
        loss = math.log(min(max(worst.error, self.eps), 1) / self.eps) - self.offset
        self.rate = max(loss / steps, self.memory * self.rate + (1 - self.memory) * loss / steps, 1e-9)
        budget = self.tolerance * min(self.budget.steps + steps, BUDGET_STEPS)
        return int(min(max((math.log(budget / self.eps) - self.offset) / self.rate, 1), MAX_LENGTH))


def _overtaken(log_diagonal: Float[Tensor, "*n V B K"]) -> Float[Tensor, "*n V B K"]:
    """The factor by which a direction is stretched less than the most stretched later one."""
    later = log_diagonal.flip(-1).cummax(-1).values.flip(-1).roll(-1, -1)
    overtaken = (later - log_diagonal).exp().nan_to_num(1, 1)
    overtaken[..., -1] = 0
    return overtaken
