"""How many steps pass between orthonormalisations.

The digits that a step costs depend on the network, on the sequence and on the moment: a fixed interval is wrong for
somebody. So the error that an interval makes is estimated (`aelle.flag`), added up for every exponent, and kept within
a budget that grows with the steps; an interval that turned out too wide is cut back to products that are still at hand.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from aelle import flag
from aelle.flag import Split

TOLERANCE = {torch.float64: 5e-7, torch.float32: 5e-4}
"""Nats per step: the error that an exponent may have by its estimate, half of what is promised against a QR at every
step."""

LINEAR = 1e-3
"""Relative error of a pivot that one interval may make at most, however much of the budget is left: beyond it estimates
of the first order are none."""

UNRESOLVED = 0.1
"""A pivot whose relative error is above this after a single step is noise in any method; no care brings it back."""

GROWN = 1e6
"""Condition of M from which LU is given up for QR: tens to hundreds for Jacobians, 2^N for Wilkinson's matrix."""

MEMORY = 0.8
"""Weight of the past in the digits that a step is expected to cost. Every interval that has to be cut back halves what
is left for the present, so that a network which bears no interval above one step is seldom tried again."""

LONGEST = 8
"""Steps: beyond it the product costs ten times what the factorisation does, and a small precision may overflow."""


class Interval:
    """`length` steps until the next orthonormalisation: `every`, or as many as the budget bears."""

    def __init__(self, every: int | str, basis: Float[Tensor, "V B K N"]):
        self.chosen = every == "auto"
        self.length = 2 if every == "auto" else int(every)
        self.tolerance, self.eps = TOLERANCE[basis.dtype], torch.finfo(basis.dtype).eps
        self.spent = torch.zeros_like(basis[..., 0])
        self.passed = 0
        # What `flag` estimates, as a logarithm in units of ε, before any step has added to it, and what a step adds.
        self.start = max(math.log(basis.shape[-1] ** 1.5 / 32), 0)
        self.rate, self.memory = 0.0, MEMORY

    def judge(self, steps: int, factors: Split) -> int:
        """How many of the `steps` just made may be kept; sets the next length. One round trip to the device."""
        resolved = torch.where(factors.error < UNRESOLVED, factors.error, 0)
        scalars = (factors.error.amax(), (self.spent + factors.error).amax(), resolved.amax(), factors.condition.amax())
        worst, spent, noise, self.condition = torch.stack(scalars).tolist()
        self.settled = noise <= self.tolerance / 5
        if not self.chosen:
            return steps
        loss = math.log(min(max(worst, self.eps), 1) / self.eps) - self.start
        self.rate = max(loss / steps, self.memory * self.rate + (1 - self.memory) * loss / steps, 1e-9)
        allowance = self.tolerance * (self.passed + steps)
        budget = math.log(min(allowance, LINEAR) / self.eps) - self.start
        allowed = int(min(max(budget / self.rate, 1), LONGEST))
        if steps > 1 and (worst > LINEAR or spent > allowance):
            self.length = min(allowed, steps - 1)
            self.memory = (1 + self.memory) / 2
            return self.length
        if steps > 1:  # A single step errs no more than the QR that it is compared with.
            self.spent += factors.error
            self.settled, self.memory = True, MEMORY
        self.passed += steps
        self.length = min(allowed, 2 * steps)
        return steps

    def settle(
        self, A: Float[Tensor, "V B K N"], factors: Split
    ) -> tuple[Float[Tensor, "V B K N"], Float[Tensor, "V B K"]]:
        """M and log |diag U| of A as `judge` has found it, with the help of QR where LU alone does not do.

        QR of M, after LU: as accurate as QR of A at least, and far more so for rows of different size. QR of A instead
        of LU where elimination has made M nearly singular.
        """
        if self.condition > GROWN:
            return flag.orthonormal(A)
        if not self.settled:
            basis, log_diagonal = flag.orthonormal(factors.basis)
            return basis, factors.log_diagonal + log_diagonal
        return factors.basis, factors.log_diagonal
