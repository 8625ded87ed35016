"""The LightningModule that trains S autoencoders side by side.

Axes: S autoencoder, n row, B row of a batch, M point of the spectrum, L latent.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from aelle.model.autoencoder import Autoencoders, Training


class AutoencoderRows(NamedTuple):
    """What one autoencoder learns from: spectra and losses, both standardised."""

    spectra: Float[Tensor, "n M"]
    targets: Float[Tensor, "n"]


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
    """Index batches [S, B], each member in an order of its own."""

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
