"""Classification of a sequence from the network's last state: `digits` and `smnist`."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from aelle.data import ImageRows, Part
from aelle.population import Population
from aelle.tasks.population import PopulationModule, ShuffledBatches
from aelle.variants import Variant

EVALUATION_CHUNK = 2**20
"""Preactivations of all variants together in one step of an evaluation: some megabytes."""


class SequenceClassification(PopulationModule):
    """V networks read a sequence and classify it at its end; Adam; cross entropy in nats.

    The data are moved to the device once and shared; a batch is [V, B] indices: each variant shuffles by itself.
    """

    train_x: Tensor
    train_y: Tensor
    train_loss_sum: Tensor

    def __init__(self, data: ImageRows, variants: Sequence[Variant]):
        super().__init__(variants)
        shared = variants[0].hyperparameters
        self.learning_rate, self.batch_size = shared["learning_rate"], int(shared["batch_size"])
        self.data = data
        self.network = Population(
            str(shared["cell"]),
            data.train.x.shape[-1],
            int(shared["hidden_size"]),
            data.classes,
            p=[v.hyperparameters["p"] for v in variants],
            seeds=[v.seeds["init"] for v in variants],
        )
        for name in ("train", "val", "test"):
            part = getattr(data, name)
            self.register_buffer(f"{name}_x", part.x, persistent=False)
            self.register_buffer(f"{name}_y", part.y, persistent=False)
        self.register_buffer("train_loss_sum", torch.zeros(len(variants)), persistent=False)

    def part(self, name: str) -> Part:
        return Part(getattr(self, f"{name}_x"), getattr(self, f"{name}_y"))

    def forward(self, x: Float[Tensor, "V B T I"]) -> Float[Tensor, "V B C"]:
        return self.network(x)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)

    def train_dataloader(self) -> ShuffledBatches:
        seeds = [v.seeds["shuffle"] for v in self.variants]
        return ShuffledBatches(len(self.data.train.x), self.batch_size, seeds, lambda: self.current_epoch)

    def val_dataloader(self) -> list[str]:
        """The parts, by name: they are evaluated on the device where they lie."""
        return ["val", "test"]

    def on_train_epoch_start(self) -> None:
        self.train_loss_sum.zero_()

    def training_step(self, batch: Int[Tensor, "V B"], _: int) -> Tensor:
        losses = cross_entropy(self(self.train_x[batch]), self.train_y[batch])
        self.train_loss_sum += losses.detach() * batch.shape[1]
        return self.summed(losses)

    def validation_step(self, part: str, _: int) -> None:
        data = self.part(part)
        V = len(self.variants)
        loss_sum = data.x.new_zeros(V)
        correct = data.x.new_zeros(V)
        rows = max(1, EVALUATION_CHUNK // self.network.bias_hh_l0.numel())
        for x, y in zip(data.x.split(rows), data.y.split(rows), strict=True):
            logits = self(x.expand(V, -1, -1, -1))
            loss_sum += cross_entropy(logits, y.expand(V, -1)) * len(y)
            correct += (logits.argmax(-1) == y).sum(1)
        loss = loss_sum / len(data.y)
        self.alive &= loss.isfinite()
        self.metrics[f"{part}_loss"] = loss.masked_fill(~self.alive, torch.nan)
        self.metrics[f"{part}_accuracy"] = correct / len(data.y)
        self.log(f"{part}_loss", self.metrics[f"{part}_loss"].nanmedian(), batch_size=1, add_dataloader_idx=False)

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.metrics["train_loss"] = self.train_loss_sum / len(self.data.train.x)


def cross_entropy(logits: Float[Tensor, "V B C"], y: Int[Tensor, "V B"]) -> Float[Tensor, "V"]:
    """Each variant's mean over its batch, nats."""
    return F.cross_entropy(logits.transpose(1, 2), y, reduction="none").mean(1)
