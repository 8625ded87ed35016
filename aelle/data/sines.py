"""The targets of the target task: a periodic sum of four sines, scaled to span [−1, 1].

Axes: V variant, T step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from aelle.seeds import generator
from aelle.variants import Variant

DT = 0.1
"""Time units per step."""

PERIOD = 1200
"""Steps of the slowest sine, and of an epoch."""

FIXED_TARGET = ((1, 2, 6, 3), (1, 2, 3, 4))
"""s and q of the fixed target."""


def four_sines(s: Sequence[int], q: Sequence[int]) -> Float[np.ndarray, "T"]:
    """One period of Σ_i sin(q_i π t / 60) / s_i at t = 0, dt, …, shifted and scaled to span [−1, 1]."""
    t = DT * np.arange(PERIOD)
    f = np.sum([np.sin(q_i * np.pi * t / 60) / s_i for s_i, q_i in zip(s, q, strict=True)], 0)
    return 2 * (f - f.min()) / (f.max() - f.min()) - 1


@dataclass(frozen=True)
class FourSines:
    """The targets of a population, in place of data: fixed, or random with s_i in 1..10 and q_i in 1..5."""

    def of(self, variants: Sequence[Variant]) -> Float[Tensor, "V T"]:
        """A period of the target of each of the `variants`, by its hyperparameter `target` and its seed."""
        return torch.as_tensor(np.stack([_of_one(v) for v in variants])).float()

    def probe(self, sequences: int, part: str = "val") -> None:
        """None, for any `sequences` and `part`: the networks of this task run freely, without input."""


def _of_one(variant: Variant) -> Float[np.ndarray, "T"]:
    if variant.hyperparameters["target"] == "fixed":
        return four_sines(*FIXED_TARGET)
    rng = generator(variant.seeds["init"], "target")
    return four_sines(rng.integers(1, 10, 4, endpoint=True).tolist(), rng.integers(1, 5, 4, endpoint=True).tolist())
