"""Placeholder until the initial weights by name arrive: "default" only."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Initialization(NamedTuple):
    name: str = "uniform"
    p: float | None = None
    gain: float = 1.0
    forget_bias: float = 0.0
    spectral_radius: float = 1.0


def initialized(
    matrix: Float[Tensor, "R C"], hidden_size: int, initialization: Initialization, generator: torch.Generator
) -> Float[Tensor, "R C"]:
    """New values for a weight matrix."""
    if initialization.name != "default":
        raise NotImplementedError(initialization.name)
    return initialization.gain * matrix
