"""Classification of a sequence from the network's last state: `digits` and `smnist`."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from aelle.cells import CELLS
from aelle.data.images import ImageRows, Part
from aelle.data.text import Characters
from aelle.tasks.module import PopulationModule, ShuffledBatches
from aelle.tasks.population import Population
from aelle.variants import Variant

EVALUATION_CHUNK, DEVICE_EVALUATION_CHUNK = 2**20, 2**25
"""Preactivations of all variants in one step of an evaluation: a few megabytes, and on other devices more, since there
every operation costs a launch."""

MAX_EVALUATION_STATES = 2**28
"""Numbers in the hidden states of all variants and steps of an evaluation, or in its inputs, on other devices than a
CPU: 1 GiB in float32, and two to three such arrays are needed at once."""


class SequenceClassification(PopulationModule):
    """V networks read a sequence and classify it at its end; Adam; cross entropy in nats.

    The data are moved to the device once and shared; a batch is [V, B] indices, as each variant has its own shuffling.
    """

    train_x: Tensor
    train_y: Tensor
    val_x: Tensor
    val_y: Tensor
    train_loss_sum: Tensor
    recurrent_bias = True
    shared = tuple(f"{part}_{what}" for part in ("train", "val", "test") for what in "xy")

    def __init__(self, data: ImageRows | Characters, variants: Sequence[Variant]):
        super().__init__(variants)
        shared = variants[0].hyperparameters
        self.learning_rate, self.batch_size = shared["learning_rate"], int(shared["batch_size"])
        self.data = data
        self.batches = ShuffledBatches(
            len(data.train.x),
            self.batch_size,
            [v.seeds["shuffle"] for v in variants],
            lambda: self.current_epoch,
            keep=float(shared.get("keep", 1)),
        )
        self.network = Population(
            str(shared["cell"]),
            data.inputs,
            int(shared["hidden_size"]),
            data.classes,
            p=[v.hyperparameters["p"] for v in variants],
            seeds=[v.seeds["init"] for v in variants],
            recurrent_bias=self.recurrent_bias,
        )
        for name in ("train", "val", "test"):
            part = getattr(data, name)
            self.register_buffer(f"{name}_x", part.x, persistent=False)
            self.register_buffer(f"{name}_y", part.y, persistent=False)
        self.register_buffer("train_loss_sum", torch.zeros(len(variants)), persistent=False)

    def take(self, rows: Sequence[int], optimizers: Sequence[torch.optim.Optimizer]) -> None:
        super().take(rows, optimizers)
        self.batches.take(rows)

    def part(self, name: str) -> Part:
        return Part(getattr(self, f"{name}_x"), getattr(self, f"{name}_y"))

    def forward(self, x: Tensor) -> Tensor:
        """Logits [V, B, C], or [V, B, T, C] where every step is classified."""
        return self.network(x)

    def training_logits(self, x: Tensor, batch: int) -> Tensor:
        """The logits during training, for the epoch's batch of that number."""
        return self(x)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)

    def train_dataloader(self) -> ShuffledBatches:
        return self.batches

    def val_dataloader(self) -> list[str]:
        """The names of the parts, whose data are already on the device."""
        return ["val", "test"]

    def on_train_epoch_start(self) -> None:
        self.train_loss_sum.zero_()

    @property
    def capturable(self) -> bool:
        """Whether a training step depends on nothing but its batch, the parameters and the buffers, and reads nothing
        back to the host: then a GPU replays it (`CapturedStep`). It speaks for its own class only: a subclass, whose
        methods may do anything, has to define it anew."""
        return self.network_of_aelle

    @property
    def network_of_aelle(self) -> bool:
        return type(self.network) is Population and type(self.network.cell) in {type(cell) for cell in CELLS.values()}

    def training_step(self, batch: Int[Tensor, "V B"], number: int) -> Tensor:
        if "capturable" in vars(type(self)) and self.capturable and batch.shape[1] == self.batch_size:
            return self.captured_loss(lambda batch: self.training_loss(batch, number), batch)
        return self.training_loss(batch, number)

    def training_loss(self, batch: Int[Tensor, "V B"], number: int) -> Tensor:
        losses = cross_entropy(self.training_logits(self.train_x[batch], number), self.train_y[batch])
        self.train_loss_sum += losses.detach() * batch.shape[1]
        return self.summed(losses)

    def validation_step(self, part: str, _: int) -> None:
        loss, accuracy = self.evaluated(part)
        self.alive &= loss.isfinite()
        self.metrics[f"{part}_loss"] = loss.masked_fill(~self.alive, torch.nan)
        self.metrics[f"{part}_accuracy"] = accuracy
        self.log(f"{part}_loss", self.metrics[f"{part}_loss"].nanmedian(), batch_size=1, add_dataloader_idx=False)

    @torch.no_grad()
    def evaluated(self, part: str) -> tuple[Float[Tensor, "V"], Float[Tensor, "V"]]:
        """Losses and accuracies on the part of that name."""
        data, V = self.part(part), len(self.variants)
        loss_sum = torch.zeros_like(self.train_loss_sum)
        correct = torch.zeros_like(self.train_loss_sum)
        for x, y in zip(data.x.split(self.rows), data.y.split(self.rows), strict=True):
            logits = self(x.expand(V, *x.shape))
            loss_sum += cross_entropy(logits, y.expand(V, *y.shape)) * len(y)
            correct += (logits.argmax(-1) == y).flatten(1).sum(1)
        return loss_sum / len(data.y), correct / data.y.numel()

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.metrics["train_loss"] = self.train_loss_sum / self.batches.used

    @property
    def rows(self) -> int:
        """Number of sequences that all variants evaluate at once."""
        preactivations = self.network.bias_hh_l0.numel()
        if self.device.type == "cpu":
            return max(1, EVALUATION_CHUNK // preactivations)
        V, _, H = self.network.weight_hh_l0.shape
        states = V * self.val_x.shape[1] * max(H, self.network.weight_ih_l0.shape[-1])
        return max(1, min(DEVICE_EVALUATION_CHUNK // preactivations, MAX_EVALUATION_STATES // states))

    @torch.no_grad()
    def example_outputs(self) -> dict[str, Any]:
        """For the first validation sequence of each class: the probabilities of all classes [V, n, C], and its own."""
        y, first = self.val_y.unique(return_inverse=True)
        at = [int((first == i).nonzero()[0, 0]) for i in range(len(y))]
        x, V = self.val_x[at], len(self.variants)
        return {"class_probabilities": self(x.expand(V, *x.shape)).softmax(-1), "classes": [y.tolist()] * V}


def cross_entropy(logits: Float[Tensor, "V *B C"], y: Int[Tensor, "V *B"]) -> Float[Tensor, "V"]:
    """Each variant's mean over its batch, nats."""
    losses = F.cross_entropy(logits.flatten(0, -2), y.flatten(), reduction="none")
    return losses.unflatten(0, (len(y), -1)).mean(1)
