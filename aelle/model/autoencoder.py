"""Autoencoders of spectra whose latent also predicts a variant's loss, S of them trained side by side.

Axes: S autoencoder, n row, B row of a batch, F column, L latent.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

MIN_HIDDEN_UNITS = 32
"""Hidden layers keep at least this many units, however short the spectrum."""

SKIP_GAIN = 0.3
"""Initial weights of the linear path, relative to those of `nn.Linear`."""


@dataclass(frozen=True)
class Training:
    """How autoencoders are trained: for `epochs` passes over the rows, but at most `max_steps` batches; `alphas`, the
    weight of the prediction, in equal stages of that."""

    alphas: Sequence[float | int] = (1.0, 2.0, 5.0, 10.0)
    epochs: int = 100
    max_steps: int | None = 200
    prediction_norm: int = 2
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    dropout: float = 0.0
    batch_size: int = 64


class BatchedLinear(nn.Module):
    """S linear layers."""

    def __init__(self, weight: Float[Tensor, "S i o"], bias: Float[Tensor, "S 1 o"]):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    @classmethod
    def drawn(
        cls, inputs: int, outputs: int, generators: Sequence[torch.Generator], gain: float = 1.0
    ) -> "BatchedLinear":
        """Member s starts as `nn.Linear` does, times `gain`, from `generators[s]`."""
        bound = gain / math.sqrt(inputs)
        weight = [torch.empty(inputs, outputs).uniform_(-bound, bound, generator=g) for g in generators]
        bias = [torch.empty(1, outputs).uniform_(-bound, bound, generator=g) for g in generators]
        return cls(torch.stack(weight), torch.stack(bias))

    def forward(self, x: Float[Tensor, "S B i"]) -> Float[Tensor, "S B o"]:
        return torch.baddbmm(self.bias, x, self.weight)


class Autoencoders(nn.Module):
    """S networks F → F/8 → F/16 → L → F/16 → F/8 → F, tanh between the layers, and a linear head on the latent.

    With `skip`, the latent is also a linear function of the input: a network that has learned nothing else is a linear
    model.
    """

    def __init__(
        self,
        encoder: Sequence[BatchedLinear],
        decoder: Sequence[BatchedLinear],
        head: BatchedLinear,
        skip: BatchedLinear | None = None,
    ):
        super().__init__()
        self.encoder, self.decoder = nn.ModuleList(encoder), nn.ModuleList(decoder)
        self.head, self.skip = head, skip

    @classmethod
    def drawn(
        cls, columns: int, latent_size: int, generators: Sequence[torch.Generator], skip: bool = False
    ) -> "Autoencoders":
        """With random initial weights, those of member s from `generators[s]`."""
        wide, narrow = max(columns // 8, MIN_HIDDEN_UNITS), max(columns // 16, MIN_HIDDEN_UNITS)
        widths = [columns, wide, narrow, latent_size, narrow, wide, columns]
        layers = [BatchedLinear.drawn(i, o, generators) for i, o in pairwise(widths)]
        head = BatchedLinear.drawn(latent_size, 1, generators)
        path = BatchedLinear.drawn(columns, latent_size, generators, SKIP_GAIN) if skip else None
        return cls(layers[:3], layers[3:], head, path)

    def encode(self, x: Float[Tensor, "S B F"], drop: Callable | None = None) -> Float[Tensor, "S B L"]:
        latent = _through(self.encoder, x, drop)
        return latent if self.skip is None else latent + self.skip(x)

    def decode(self, latent: Float[Tensor, "S B L"], drop: Callable | None = None) -> Float[Tensor, "S B F"]:
        return _through(self.decoder, latent, drop)

    def predict(self, latent: Float[Tensor, "S B L"]) -> Float[Tensor, "S B"]:
        return self.head(latent).squeeze(-1)

    def part(self, members: slice | list[int]) -> "Autoencoders":
        """Some of the members, as a population of their own."""
        state = {name: tensor[members].detach().cpu().clone() for name, tensor in self.state_dict().items()}
        return self.of(state)

    def __reduce__(self) -> tuple[Any, ...]:
        """Between processes, parameters go as arrays."""
        return Autoencoders.of_arrays, (
            {name: tensor.detach().cpu().numpy() for name, tensor in self.state_dict().items()},
        )

    @classmethod
    def of_arrays(cls, arrays: dict[str, np.ndarray]) -> "Autoencoders":
        return cls.of({name: torch.as_tensor(array) for name, array in arrays.items()})

    @classmethod
    def of(cls, state: dict[str, Tensor]) -> "Autoencoders":
        """The networks with these parameters."""

        def layer(name: str) -> BatchedLinear:
            return BatchedLinear(state[f"{name}.weight"], state[f"{name}.bias"])

        encoder, decoder = ([layer(f"{part}.{i}") for i in range(3)] for part in ("encoder", "decoder"))
        return cls(encoder, decoder, layer("head"), layer("skip") if "skip.weight" in state else None)


def _through(layers: nn.ModuleList, x: Tensor, drop: Callable | None) -> Tensor:
    for layer in layers[:-1]:
        x = layer(x).tanh()
        x = drop(x) if drop else x
    return layers[-1](x)
