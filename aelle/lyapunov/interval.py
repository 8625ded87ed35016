"""How many steps pass between orthonormalisations.

The digits that a step costs depend on the network, on the sequence and on the moment: a fixed interval is wrong for
somebody. So the error that an interval makes is estimated (`orthonormalize`), added up for every exponent, and kept
within a budget that grows with the steps; an interval that turned out too wide is cut back to products still at hand.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from aelle.lyapunov import orthonormalize as flag
from aelle.lyapunov.orthonormalize import Split

TOLERANCE = {torch.float64: 2e-7, torch.float32: 2e-4}
"""Nats per step: the error that an exponent may have by its estimate, a fifth of what is promised against a QR at every
step, because estimates of single intervals have been found low by several times."""

RESERVE = 20
"""Steps whose budget a single interval may spend at most, however much is left."""

UNRESOLVED = 0.1
"""A pivot whose relative error is above this after a single step is noise in any method; no care brings it back."""

GROWN = 1e6
"""Condition of M from which LU is given up for QR: tens to hundreds for Jacobians, 2^N for Wilkinson's matrix."""

MEMORY = 0.8
"""Weight of the past in the digits that a step is expected to cost. Every interval that has to be cut back halves what
is left for the present, so that a network which bears no interval above one step is seldom tried again."""

LONGEST = 8
"""Steps: beyond it the product costs ten times what the factorisation does, and a small precision may overflow."""


class Books(NamedTuple):
    """What the intervals so far have cost: errors that are in the sums, and errors in the directions that go on."""

    spent: Float[Tensor, "V B K"]
    turned: Float[Tensor, "V B K"]
    passed: int


class Interval:
    """`length` steps until the next orthonormalisation: as many as the budget bears, or `every`, but fewer where the
    product would leave what the precision can hold."""

    def __init__(self, every: int | str, basis: Float[Tensor, "V B K N"]):
        self.fixed = None if every == "auto" else int(every)
        self.length = self.fixed or 2
        self.tolerance, self.eps = TOLERANCE[basis.dtype], torch.finfo(basis.dtype).eps
        zeros = torch.zeros(basis.shape[:-1], dtype=torch.float64, device=basis.device)
        self.books, self.books_before, self.length_before = Books(zeros, zeros, 0), None, 1
        # What `flag` estimates, as a logarithm in units of ε, before any step has added to it, and what a step adds.
        self.start = max(math.log(basis.shape[-1] ** 1.5 / 32), 0)
        self.rate, self.memory = 0.0, MEMORY

    def judge(self, steps: int, factors: Split) -> int:
        """How many of the `steps` just made may be kept; sets the next length. One round trip to the device.

        0: none, and the interval before them has to be repeated with the length that is set. A direction that it has
        turned a little has since been stretched by less than a later one, and its error with that one.
        """
        (spent, turned, passed), error = self.books, factors.error.double()
        later = factors.log_diagonal.flip(-1).cummax(-1).values.flip(-1).roll(-1, -1)
        overtaken = (later - factors.log_diagonal).exp().nan_to_num(1, 1)
        overtaken[..., -1] = 0
        turned, total = turned * overtaken, spent + error
        carried = torch.where(overtaken > 1, turned, 0)
        resolved = torch.where(error < UNRESOLVED, error, 0)
        condition = factors.condition.nan_to_num(0, torch.inf)[..., None].expand_as(error)
        worst = torch.stack([error, total, total + carried, resolved, condition]).flatten(1).amax(1)
        worst, most_spent, most_carried, noise, condition = worst.tolist()
        self.settled, self.grown = noise <= self.tolerance, condition > GROWN
        if self.fixed is not None:
            if steps > 1 and worst == torch.inf:
                self.length = steps // 2
                return self.length
            self.length = min(2 * steps, self.fixed)
            return steps
        loss = math.log(min(max(worst, self.eps), 1) / self.eps) - self.start
        self.rate = max(loss / steps, self.memory * self.rate + (1 - self.memory) * loss / steps, 1e-9)
        allowance, most = self.tolerance * (passed + steps), self.tolerance * RESERVE
        budget = math.log(min(allowance, most) / self.eps) - self.start
        allowed = int(min(max(budget / self.rate, 1), LONGEST))
        if steps > 1 and (worst > most or most_spent > allowance):
            self.length = min(allowed, steps - 1)
            self.memory = (1 + self.memory) / 2
            return self.length
        if most_carried > 5 * allowance and self.books_before is not None and self.length_before > 1:
            self.books, self.books_before, self.length = self.books_before, None, self.length_before // 2
            return 0
        self.books_before, self.length_before = self.books, steps
        if steps > 1:
            spent, turned = total, turned + error
            self.settled, self.memory = True, MEMORY
        # A single step errs no more than the QR that it is compared with.
        self.books = Books(spent, turned, passed + steps)
        self.length = min(allowed, 2 * steps)
        return steps

    def settle(self, factors: Split) -> tuple[Float[Tensor, "V B K N"], Float[Tensor, "V B K"]]:
        """M and log |diag U| as `judge` has found them.

        Where LU alone does not do, after a QR of M: as accurate as QR of A at least, and far more so for rows of
        different size.
        """
        if self.settled:
            return factors.basis, factors.log_diagonal
        basis, log_diagonal = flag.orthonormal(factors.basis)
        return basis, factors.log_diagonal + log_diagonal
