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

TOLERANCE = {torch.float64: 2e-7, torch.float32: 1e-5}
"""Nats per step, by the precision of the states: the estimated error allowed for an exponent, relative to a QR at every
step in float64. In float64 a fifth of what is promised, because estimates for single intervals have been found several
times too low; in float32 a hundredth: a fifth let full states and several layers be .01 off, and saves little."""

BUDGET_STEPS = 20
"""Maximum budget of a single interval, in steps, however much is left."""

UNRESOLVED_PIVOT = 0.1
"""A pivot whose relative error exceeds this after a single step is noise in any method and cannot be recovered."""

MAX_CONDITION = 1e6
"""Condition of M above which QR replaces LU: tens to hundreds for Jacobians, 2^N for Wilkinson's matrix."""

MEMORY = 0.8
"""Weight of the past in the digits that a step is expected to cost. Every interval that has to be cut back halves the
weight of the present, so that a network that allows only single steps is seldom tried with more."""

MAX_LENGTH = 8
"""Steps: beyond this, the product costs ten times as much as the factorisation, and low precision may overflow."""


class Remedy(Enum):
    """What makes a factor M accurate enough to continue with."""

    NONE = auto()
    QR_OF_FACTOR = auto()
    QR_OF_PRODUCT = auto()


class Verdict(NamedTuple):
    """`kept`: how many of the steps just made may be kept; if not all, factorise again after that many. `length`: steps
    of the next interval. `go_back`: nothing is kept, and the previous interval is repeated."""

    kept: int
    length: int
    remedy: Remedy = Remedy.NONE
    go_back: bool = False


class ErrorBudget(NamedTuple):
    """Errors of the intervals so far: `spent`, in the sums; `turned`, in the directions that are carried on."""

    spent: Float[Tensor, "V B K"]
    turned: Float[Tensor, "V B K"]
    steps: int


class Measured(NamedTuple):
    """Maxima over all exponents: the error of this interval, all errors so far, these including what a direction passes
    on to one that overtakes it, the error of a resolved pivot, and the condition of M."""

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
    ) -> "Measured":
        resolved = torch.where(error < UNRESOLVED_PIVOT, error, 0)
        condition = condition.nan_to_num(0, torch.inf)[..., None].expand_as(error)
        return cls(*torch.stack([error, spent, carried, resolved, condition]).flatten(1).amax(1).tolist())


class IntervalController:
    """As many steps as the error budget allows, or `every`, but fewer if the product would leave the range of the
    precision."""

    def __init__(self, every: int | str, basis: Float[Tensor, "V B K N"], states: torch.dtype, products: torch.dtype):
        self.fixed = None if every == "auto" else int(every)
        self.tolerance, self.eps = TOLERANCE[states], torch.finfo(products).eps
        zeros = torch.zeros(basis.shape[:-1], dtype=torch.float64, device=basis.device)
        self.budget, self.budget_before, self.length_before = ErrorBudget(zeros, zeros, 0), None, 1
        # The logarithm, in units of ε, of what `orthonormalize` estimates before any step has added to it, and what a
        # step adds.
        self.offset = max(math.log(basis.shape[-1] ** 1.5 / 32), 0)
        self.rate, self.memory = 0.0, MEMORY

    @property
    def first_length(self) -> int:
        return self.fixed or 2

    def judge(self, steps: int, factors: Factors) -> Verdict:
        """Judge the `steps` just made by the factorisation of their product. One round trip to the device."""
        error, overtaken = factors.error.double(), _overtaken(factors.log_diagonal)
        spent, turned = self.budget.spent + error, self.budget.turned * overtaken
        carried = spent + torch.where(overtaken > 1, turned, 0)
        worst = Measured.of(error, spent, carried, factors.condition)
        remedy = Remedy.NONE
        if worst.condition > MAX_CONDITION:
            remedy = Remedy.QR_OF_PRODUCT
        elif worst.resolved > self.tolerance:
            remedy = Remedy.QR_OF_FACTOR
        if self.fixed is not None:
            if steps > 1 and worst.error == torch.inf:
                return Verdict(steps // 2, steps // 2)
            return Verdict(steps, min(2 * steps, self.fixed), remedy)

        allowed = self._allowed(steps, worst)
        allowance = self.tolerance * (self.budget.steps + steps)
        if steps > 1 and (worst.error > self.tolerance * BUDGET_STEPS or worst.spent > allowance):
            self.memory = (1 + self.memory) / 2
            return Verdict(min(allowed, steps - 1), min(allowed, steps - 1))
        if worst.carried > 5 * allowance and self.budget_before is not None and self.length_before > 1:
            # A direction that the previous interval has turned a little has since been stretched less than a later
            # one, and its error as much as that one.
            self.budget, self.budget_before = self.budget_before, None
            return Verdict(0, self.length_before // 2, go_back=True)
        self.budget_before, self.length_before = self.budget, steps
        if steps > 1:
            self.memory = MEMORY
            self.budget = ErrorBudget(spent, turned + error, self.budget.steps + steps)
            # The remaining error is within the budget.
            remedy = Remedy.NONE if remedy is Remedy.QR_OF_FACTOR else remedy
        else:
            # A single step is as accurate as the QR that it is compared with.
            self.budget = ErrorBudget(self.budget.spent, turned, self.budget.steps + 1)
        return Verdict(steps, min(allowed, 2 * steps), remedy)

    def _allowed(self, steps: int, worst: Measured) -> int:
        """The number of steps that the budget allows, if each costs as many digits as these and earlier ones."""
        loss = math.log(min(max(worst.error, self.eps), 1) / self.eps) - self.offset
        self.rate = max(loss / steps, self.memory * self.rate + (1 - self.memory) * loss / steps, 1e-9)
        budget = self.tolerance * min(self.budget.steps + steps, BUDGET_STEPS)
        return int(min(max((math.log(budget / self.eps) - self.offset) / self.rate, 1), MAX_LENGTH))


def _overtaken(log_diagonal: Float[Tensor, "V B K"]) -> Float[Tensor, "V B K"]:
    """The factor by which a direction is stretched less than the most stretched later one."""
    later = log_diagonal.flip(-1).cummax(-1).values.flip(-1).roll(-1, -1)
    overtaken = (later - log_diagonal).exp().nan_to_num(1, 1)
    overtaken[..., -1] = 0
    return overtaken
