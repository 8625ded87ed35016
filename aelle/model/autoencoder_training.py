"""The LightningModule that trains S autoencoders side by side.

Axes: P model, S autoencoder, n row, B row of a batch, F column, L latent.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor, nn

from aelle.model.autoencoder import Autoencoders, Training
from aelle.seeds import seed_for

LEAST_RATE = 0.02
"""The learning rate falls along a cosine to this share of itself."""


class Trainees(NamedTuple):
    """What the S autoencoders of one model learn from: rows, standardised, and what each of them sees of those."""

    inputs: Float[Tensor, "n F"]
    targets: Float[Tensor, "n"]
    weights: Float[Tensor, "S n"]
    """How often each visits a row, relative to the others; 0: never."""
    sees: Float[Tensor, "S F"]
    """1 for a column that enters, 0 for one that does not."""
    noise: Float[Tensor, "S F"]
    """Standard deviation of the noise added to a column in training."""
    reconstructs: Float[Tensor, "S F"]
    """Weights of the columns in the reconstruction error, which sum to 1."""


class AutoencoderTraining(pl.LightningModule):
    """Minimises mean |Z − ψφZ| + α mean |T − θφZ|ⁿ for each member (Vogt et al. 2022, with a mean absolute error).

    Initial weights come from a model's seed and the number of its member, so that the summed loss gives each exactly
    what it would get alone; batches, noise and dropout are drawn once for all. An epoch has as many batches as the
    longest sample needs: each member goes through its rows, in proportion to their weights.
    """

    table: Tensor
    targets: Tensor
    cumulative: Tensor
    sees: Tensor
    noise: Tensor
    reconstructs: Tensor
    model_of: Tensor

    def __init__(
        self,
        models: Sequence[Trainees],
        seeds: Sequence[int],
        latent_size: int,
        training: Training,
        *,
        skip: bool = False,
        anneal: bool = False,
    ):
        """`skip`: see `Autoencoders`; `anneal`: whether the learning rate falls."""
        super().__init__()
        self.training_options, self.anneal = training, anneal
        self.random = torch.Generator().manual_seed(0)
        sizes = [len(model.weights) for model in models]
        keys = [(seed, s) for seed, size in zip(seeds, sizes, strict=True) for s in range(size)]
        generators = [torch.Generator().manual_seed(seed_for("autoencoder", *key)) for key in keys]
        self.networks = Autoencoders.drawn(models[0].inputs.shape[1], latent_size, generators, skip)
        self.longest = max(len(model.targets) for model in models)
        steps = training.epochs * -(-self.longest // training.batch_size)
        self.steps = min(steps, training.max_steps or steps)
        # Beyond a model's own rows, the cumulative weights stay at 1: these are never visited.
        cumulative = [
            nn.functional.pad(_cumulative(m.weights), (0, self.longest - len(m.targets)), value=1.0) for m in models
        ]
        tensors = {
            "table": nn.utils.rnn.pad_sequence([model.inputs for model in models], batch_first=True),
            "targets": nn.utils.rnn.pad_sequence([model.targets for model in models], batch_first=True),
            "cumulative": torch.cat(cumulative),
            "model_of": torch.arange(len(models)).repeat_interleave(torch.tensor(sizes)),
        }
        for name in ("sees", "noise", "reconstructs"):
            tensors[name] = torch.cat([getattr(model, name) for model in models])[:, None]
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=False)

    def train_dataloader(self) -> "Quantiles":
        return Quantiles(self.longest, self.training_options.batch_size, self.random)

    def training_step(self, batch: Float[Tensor, "B"], _: int) -> Tensor:
        at = torch.searchsorted(self.cumulative, batch.expand(len(self.cumulative), -1).contiguous(), right=True)
        Z, T = self.table[self.model_of[:, None], at] * self.sees, self.targets[self.model_of[:, None], at]
        noise = torch.randn(Z.shape[1:], generator=self.random).to(Z)
        latent = self.networks.encode(Z + self.noise * noise, self._drop)
        reconstruction = ((Z - self.networks.decode(latent, self._drop)).abs() * self.reconstructs).sum(2).mean(1)
        prediction = (T - self.networks.predict(latent)).abs().pow(self.training_options.prediction_norm).mean(1)
        alphas = self.training_options.alphas
        return (reconstruction + alphas[int(self._passed() * len(alphas))] * prediction).sum()

    def configure_optimizers(self) -> dict[str, Any]:
        options = self.training_options
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay, fused=True
        )
        falling = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": falling, "interval": "step"}}

    def _passed(self) -> float:
        """The share of the training that has passed, below 1."""
        return self.global_step / self.steps

    def _rate(self, step: int) -> float:
        passed = min(self._passed(), 1.0) if step else 0.0
        return LEAST_RATE + (1 - LEAST_RATE) * (1 + math.cos(math.pi * passed)) / 2 if self.anneal else 1.0

    def _drop(self, x: Tensor) -> Tensor:
        share = 1 - self.training_options.dropout
        if share == 1:
            return x
        return x * (torch.rand(x.shape[1:], generator=self.random).to(x) < share) / share


def _cumulative(weights: Float[Tensor, "S n"]) -> Float[Tensor, "S n"]:
    total = weights.double().cumsum(1)
    return total / total[:, -1:]


class Quantiles:
    """Batches of (i + ½) / n in random order: of n equal weights, each epoch meets every one once."""

    def __init__(self, n: int, batch_size: int, random: torch.Generator):
        self.n, self.batch_size, self.random = n, int(batch_size), random

    def __len__(self) -> int:
        return -(-self.n // self.batch_size)

    def __iter__(self) -> Iterator[Float[Tensor, "B"]]:
        yield from ((torch.randperm(self.n, generator=self.random) + 0.5).double() / self.n).split(self.batch_size)
