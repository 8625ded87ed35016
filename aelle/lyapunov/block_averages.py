"""The standard error of time averages along single trajectories, from averages over blocks of time.

Axes: V variant, B sequence, K exponent.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

LEAST, MOST = 8, 32
"""Blocks: fewer say nothing of their spread; more are too short to be independent of each other."""

FIRST_BLOCK = 32
"""Steps of the first blocks where it is not known beforehand how many steps there will be."""


def boundaries(steps: int) -> list[int]:
    """Where the blocks of `steps` steps end: √steps of them, up to `MOST`, or a single one if these were too few."""
    blocks = min(math.isqrt(steps), MOST)
    return [steps * i // blocks for i in range(1, blocks + 1)] if blocks >= LEAST else [steps]


MAX_CORRELATION = 0.9
"""Of successive blocks: nearer to 1 it would make the standard error infinite."""


class BlockAverages:
    """Sums of log |diag R| up to the end of each block.

    Source: batch means, e.g. Law & Kelton, Simulation Modeling and Analysis. Where blocks are longer than correlations
    last, their means are independent, and the standard error of the mean of n blocks is their standard deviation / √n;
    where they are not quite, it is larger by √((1 + ρ) / (1 − ρ)), ρ > 0 the correlation of a block with the next.
    Where growth in one block is made up for in the next, as along the orbits of a flow and of the logistic map at
    r = 4, it is several times too large.
    """

    def __init__(self):
        self.ends: list[int] = [0]
        self.sums: list[Float[Tensor, "V B K"]] = []

    def add(self, end: int, total: Float[Tensor, "V B K"]) -> None:
        self.ends.append(end)
        self.sums.append(total)

    def join_pairs(self) -> None:
        """Half as many blocks, twice as long."""
        self.ends, self.sums = self.ends[::2], self.sums[1::2]

    def __len__(self) -> int:
        return len(self.sums)

    def stderr(self, lowest: float) -> Float[Tensor, "V B K"]:
        """NaN for fewer than `LEAST` blocks. A block in which an exponent falls below `lowest` counts as that."""
        sums = torch.stack([torch.zeros_like(self.sums[0]), *self.sums])
        lengths = torch.tensor(self.ends, dtype=sums.dtype, device=sums.device).diff()
        # −∞ once a direction is lost, and the difference of two is not a number.
        means = (sums.diff(dim=0) / lengths[:, None, None, None]).nan_to_num(lowest).clamp(min=lowest)
        if len(means) < LEAST:
            return torch.full_like(means[0], torch.nan)
        deviations = means - means.mean(0)
        variance = deviations.square().sum(0)
        lagged = (deviations[1:] * deviations[:-1]).sum(0) / variance.clamp(min=torch.finfo(variance.dtype).tiny)
        correlation = lagged.clamp(0, MAX_CORRELATION)
        inflation = (1 + correlation) / (1 - correlation)
        return (inflation * variance / (len(means) * (len(means) - 1))).sqrt()
