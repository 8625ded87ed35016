"""Learning-rate schedules: the factor of each variant's learning rate at each of its steps.

Axes: V variant.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aelle.variants import Variant, values_of

DROPS, DROP = (1 / 2, 3 / 4), 0.1
"""`step`: where in the training the rate drops, and to which part of what it was."""


class Schedule(NamedTuple):
    """`warmup`: steps over which the rate rises linearly to its full value; `total`: all steps of the training.

    Over the steps after the warm-up, `cosine` falls to 0 as (1 + cos πs) / 2, where s is the share that has passed
    (Loshchilov & Hutter 2017), and `step` drops to a tenth after a half and again after three quarters of them.
    """

    cosine: Bool[Tensor, "V"]
    step: Bool[Tensor, "V"]
    warmup: Float[Tensor, "V"]
    total: Float[Tensor, "V"]

    @classmethod
    def of(cls, variants: Sequence[Variant], total: Sequence[int | float]) -> "Schedule":
        """The variants' schedules, for trainings of `total` steps each; inf for one without an end."""
        names, steps = values_of(variants, "schedule"), torch.tensor(list(total), dtype=torch.float64)
        share = torch.tensor(values_of(variants, "warmup"), dtype=torch.float64)
        warmup = torch.where((share > 0) & steps.isfinite(), (share * steps).round(), 0)
        return cls(
            torch.tensor([n == "cosine" for n in names]), torch.tensor([n == "step" for n in names]), warmup, steps
        )

    def take(self, rows: Sequence[int]) -> "Schedule":
        return Schedule(*(tensor[list(rows)] for tensor in self))

    def factor(self, steps: Float[Tensor, "V"]) -> Float[Tensor, "V"]:
        """After that many steps of each variant."""
        rising = torch.where(self.warmup > 0, ((steps + 1) / self.warmup).clamp(max=1), 1)
        share = ((steps - self.warmup) / (self.total - self.warmup)).clamp(min=0, max=1).nan_to_num(0)
        falling = torch.where(self.cosine, (1 + (math.pi * share).cos()) / 2, 1)
        drops = sum((share >= at).double() for at in DROPS)
        return rising * falling * torch.where(self.step, DROP**drops, 1)
