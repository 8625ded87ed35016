"""Autoencoders of spectra whose latent also predicts a variant's loss, S of them trained side by side.

Axes: S autoencoder, n row, B row of a batch, M point of the spectrum, L latent.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from jaxtyping import Float, Int
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


class AutoencoderRows(NamedTuple):
    """What one autoencoder is fitted to: spectra and losses, both standardised."""

    spectra: Float[Tensor, "n M"]
    targets: Float[Tensor, "n"]


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


class AutoencoderTraining(pl.LightningModule):
    """Minimises mean |Z − ψφZ| + α mean |T − θφZ|ⁿ for each member (Vogt et al. 2022, with a mean absolute error).

    Each member has its own rows, initial weights, shuffling, dropout and input noise, all from `seeds[s]` alone; the
    summed loss gives each exactly its own gradient. A member with fewer rows than the longest visits some again.
    """

    spectra: Tensor
    targets: Tensor

    def __init__(self, rows: Sequence[AutoencoderRows], seeds: Sequence[int], latent_size: int, training: Training):
        super().__init__()
        self.options = training
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.networks = Autoencoders(rows[0].spectra.shape[-1], latent_size, self.generators)
        self.rows = [len(r.targets) for r in rows]
        for name in AutoencoderRows._fields:
            padded = nn.utils.rnn.pad_sequence([getattr(r, name) for r in rows], batch_first=True)
            self.register_buffer(name, padded, persistent=False)

    def train_dataloader(self) -> "RowBatches":
        return RowBatches(self.rows, self.options.batch_size, self.generators)

    def training_step(self, batch: Int[Tensor, "S B"], _: int) -> Tensor:
        members = torch.arange(len(batch), device=batch.device)[:, None]
        Z, T = self.spectra[members, batch], self.targets[members, batch]
        latent = self.networks.encode(Z + self.options.noise * self._random(torch.randn, Z), self._drop)
        reconstruction = (Z - self.networks.decode(latent, self._drop)).abs().mean((1, 2))
        prediction = (T - self.networks.predict(latent)).abs().pow(self.options.prediction_norm).mean(1)
        stage = self.current_epoch * len(self.options.alphas) // self.options.epochs
        return (reconstruction + self.options.alphas[stage] * prediction).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            self.parameters(), lr=self.options.learning_rate, weight_decay=self.options.weight_decay
        )

    def _drop(self, x: Tensor) -> Tensor:
        share = 1 - self.options.dropout
        return x * (self._random(torch.rand, x) < share) / share

    def _random(self, draw: Callable[..., Tensor], like: Float[Tensor, "S B _"]) -> Tensor:
        return torch.stack([draw(like.shape[1:], generator=g) for g in self.generators]).to(like.device)


class RowBatches:
    """Index batches [S, B], each member in its own random order."""

    def __init__(self, rows: Sequence[int], batch_size: int, generators: Sequence[torch.Generator]):
        self.rows, self.batch_size, self.generators = rows, batch_size, generators

    def __len__(self) -> int:
        return -(-max(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        longest = max(self.rows)
        orders = []
        for n, generator in zip(self.rows, self.generators, strict=True):
            repeats = [torch.randperm(n, generator=generator) for _ in range(-(-longest // n))]
            orders.append(torch.cat(repeats)[:longest])
        yield from torch.stack(orders).split(self.batch_size, dim=1)
