"""Autoencoders of spectra whose latent also predicts a variant's loss, S of them trained side by side.

Axes: S autoencoder, n row, B row of a batch, M point of the spectrum, L latent.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

MIN_HIDDEN_UNITS = 32
"""Hidden layers keep at least this many units, however short the spectrum."""


@dataclass(frozen=True)
class Training:
    """How autoencoders are trained: `alphas`, the weight of the prediction, in equal stages of all `epochs`."""

    alphas: Sequence[float | int] = (1.0, 2.0, 5.0, 10.0)
    epochs: int = 40
    prediction_norm: int = 2
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    dropout: float = 0.1
    noise: float = 0.05
    batch_size: int = 128


class BatchedLinear(nn.Module):
    """S linear layers; member s starts as `nn.Linear` does, from `generators[s]`."""

    def __init__(self, inputs: int, outputs: int, generators: Sequence[torch.Generator]):
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        weight = [torch.empty(inputs, outputs).uniform_(-bound, bound, generator=g) for g in generators]
        bias = [torch.empty(1, outputs).uniform_(-bound, bound, generator=g) for g in generators]
        self.weight, self.bias = nn.Parameter(torch.stack(weight)), nn.Parameter(torch.stack(bias))

    def forward(self, x: Float[Tensor, "S B i"]) -> Float[Tensor, "S B o"]:
        return torch.baddbmm(self.bias, x, self.weight)


class Autoencoders(nn.Module):
    """S networks M → M/8 → M/16 → L → M/16 → M/8 → M, tanh between the layers, and a linear head on the latent."""

    def __init__(self, points: int, latent_size: int, generators: Sequence[torch.Generator]):
        super().__init__()
        wide, narrow = max(points // 8, MIN_HIDDEN_UNITS), max(points // 16, MIN_HIDDEN_UNITS)
        widths = [points, wide, narrow, latent_size, narrow, wide, points]
        layers = [BatchedLinear(i, o, generators) for i, o in pairwise(widths)]
        self.encoder, self.decoder = nn.ModuleList(layers[:3]), nn.ModuleList(layers[3:])
        self.head = BatchedLinear(latent_size, 1, generators)

    def encode(self, spectra: Float[Tensor, "S B M"], drop: Callable | None = None) -> Float[Tensor, "S B L"]:
        return _through(self.encoder, spectra, drop)

    def decode(self, latent: Float[Tensor, "S B L"], drop: Callable | None = None) -> Float[Tensor, "S B M"]:
        return _through(self.decoder, latent, drop)

    def predict(self, latent: Float[Tensor, "S B L"]) -> Float[Tensor, "S B"]:
        return self.head(latent).squeeze(-1)

    def member(self, s: int) -> dict[str, Tensor]:
        """The parameters of member s, as a population of one."""
        return {name: tensor[s : s + 1].detach().cpu().clone() for name, tensor in self.state_dict().items()}


def _through(layers: nn.ModuleList, x: Tensor, drop: Callable | None) -> Tensor:
    for layer in layers[:-1]:
        x = layer(x).tanh()
        x = drop(x) if drop else x
    return layers[-1](x)
