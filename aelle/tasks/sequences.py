"""The base of the tasks that learn from sequences by gradient descent.

Axes: V variant, B sequence, T step, I input, H hidden unit, C output.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aelle.cells import CELLS
from aelle.data.images import Part
from aelle.errors import UserError
from aelle.memory import available
from aelle.seeds import seed_for
from aelle.tasks.cell_population import CellPopulation, drawn_noise
from aelle.tasks.module import NETWORK, TRAINING, PopulationModule, ShuffledBatches
from aelle.tasks.networks import networks_of
from aelle.tasks.population import Population
from aelle.variants import Variant, shared_value, values_of

EVALUATION_CHUNK, DEVICE_EVALUATION_CHUNK = 2**20, 2**25
"""Preactivations of all variants in one step of an evaluation: a few megabytes, and on other devices more, since there
every operation costs a launch."""

MAX_EVALUATION_STATES = 2**28
"""Numbers in the hidden states of all variants and steps of an evaluation, or in its inputs, on other devices than a
CPU: 1 GiB in float32, and two to three such arrays are needed at once."""

MAX_PREACTIVATIONS = 2**25
"""Preactivations of all variants and steps in an evaluation that computes them together: 128 MiB in float32."""


@runtime_checkable
class SequenceData(Protocol):
    """Three parts of sequences, and the number of inputs of a step."""

    @property
    def train(self) -> Part: ...
    @property
    def val(self) -> Part: ...
    @property
    def test(self) -> Part: ...
    @property
    def inputs(self) -> int: ...


class SequenceLearning(PopulationModule):
    """V networks read sequences and answer at their end, or after every step (`every`).

    The data are moved to the device once and shared; a batch is [V, B] indices, as each variant has its own shuffling.
    Dropout acts between the layers and before the readout. `variants`: those of a pack. A subclass gives the `outputs`
    numbers of an answer their loss.
    """

    train_x: Tensor
    train_y: Tensor
    val_x: Tensor
    val_y: Tensor
    train_loss_sum: Tensor
    samples: Tensor
    dropout: Tensor
    reads_mean: Tensor
    recurrent_bias: ClassVar[bool] = True
    shared = tuple(f"{part}_{what}" for part in ("train", "val", "test") for what in "xy")
    reads = (*NETWORK, *TRAINING, "batch_size", "keep", "dropout", "readout")

    def __init__(self, data: SequenceData, variants: Sequence[Variant], outputs: int, every: bool):
        super().__init__(variants)
        self.data, self.every = data, every
        self.batch_size = int(shared_value(variants, "batch_size"))
        self.batches = ShuffledBatches(
            len(data.train.x),
            self.batch_size,
            [v.seeds["shuffle"] for v in variants],
            lambda: self.current_epoch,
            keep=values_of(variants, "keep"),
        )
        self.network = networks_of(variants, data.inputs, outputs, recurrent_bias=self.recurrent_bias)
        for name in ("train", "val", "test"):
            part = getattr(data, name)
            self.register_buffer(f"{name}_x", part.x, persistent=False)
            self.register_buffer(f"{name}_y", part.y, persistent=False)
        per_variant = {
            "train_loss_sum": torch.zeros(len(variants)),
            "samples": torch.tensor(self.batches.used),
            "dropout": torch.tensor(values_of(variants, "dropout"), dtype=torch.float32),
            "reads_mean": torch.tensor([value == "mean" for value in values_of(variants, "readout")]),
        }
        for name, tensor in per_variant.items():
            self.register_buffer(name, tensor, persistent=False)
        self.drops, self.some_read_mean = bool(self.dropout.any()), bool(self.reads_mean.any())
        if self.some_read_mean and every:
            raise UserError("readout=mean: this task asks for an output after every step; use readout=last")

    def take(self, rows: Sequence[int], optimizers: Sequence[torch.optim.Optimizer]) -> None:
        super().take(rows, optimizers)
        self.batches.take(rows)

    def part(self, name: str) -> Part:
        return Part(getattr(self, f"{name}_x"), getattr(self, f"{name}_y"))

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [V, B, C] of sequences `x` [V, B, T, I], or [V, B, T, C] where every step is asked for."""
        return self._read(self.network.hidden(x))

    def training_outputs(self, x: Tensor, batch: int) -> Tensor:
        """The outputs during training, for the epoch's batch of that number."""
        if not self.drops and not self.noisy:
            return self(x)

        def between(h: Float[Tensor, "T V B H"], layer: int) -> Tensor:
            return self.dropped(h.permute(1, 2, 0, 3), batch, layer).permute(2, 0, 1, 3)

        dropout = between if self.drops else None
        if isinstance(self.network, CellPopulation):
            seeds = [v.seeds["shuffle"] for v in self.variants]
            like, sizes = self.network.readout_weight, self.batches.sizes(batch)
            noise = drawn_noise(seeds, self.current_epoch, batch, like=like, sizes=sizes)
            hidden = self.network.hidden(x, dropout, noise)
        else:
            hidden = self.network.hidden(x, dropout)
        return self._read(hidden, batch if self.drops else None)

    @property
    def noisy(self) -> bool:
        return isinstance(self.network, CellPopulation) and self.network.noisy

    def _read(self, h: Float[Tensor, "T V B H"], batch: int | None = None) -> Tensor:
        """The readout's outputs; with dropout before it in the training batch of that number."""
        if self.every:
            answering = h.permute(1, 2, 0, 3)
        elif self.some_read_mean:
            answering = torch.where(self.reads_mean[:, None, None], h.mean(0), h[-1])
        else:
            answering = h[-1]
        if batch is not None:
            answering = self.dropped(answering, batch)
        return self.network.readout(answering.flatten(1, -2)).unflatten(1, answering.shape[1:-1])

    def dropped(self, h: Float[Tensor, "V B *n H"], batch: int, *key: int) -> Float[Tensor, "V B *n H"]:
        """h with each number set to 0 at the variant's rate, by draws from its seed, the epoch, the batch, and the key.

        They are made for the sequences that a variant has in the batch, however many others have.
        """
        kept, sizes = torch.ones(h.shape, dtype=torch.bool, device=h.device), self.batches.sizes(batch)
        for variant, of_one, size in zip(self.variants, kept, sizes, strict=True):
            if rate := variant.value("dropout"):
                seed = seed_for(variant.seeds["shuffle"], "dropout", self.current_epoch, batch, *key)
                of_one[:size].bernoulli_(1 - rate, generator=torch.Generator(h.device).manual_seed(seed))
        rows = (slice(None),) + (None,) * (h.ndim - 1)
        return h * kept / (1 - self.dropout[rows]).to(h.dtype)

    def training_steps(self) -> list[float]:
        epochs = -1 if self._trainer is None else self.trainer.max_epochs or -1
        own = [float("inf") if epochs < 0 else float(epochs * steps) for steps in self.batches.steps]
        return [min(pair) for pair in zip(super().training_steps(), own, strict=True)]

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
        return self.network_of_aelle and not self.drops

    @property
    def network_of_aelle(self) -> bool:
        return type(self.network) is Population and type(self.network.cell) in {type(cell) for cell in CELLS.values()}

    def training_step(self, batch: Int[Tensor, "V B"], number: int) -> Tensor:
        self.learning = None
        if self.batches.incomplete(number):
            self.learning = torch.tensor([number < steps for steps in self.batches.steps])
        whole = batch.shape[1] == self.batch_size and number < max(self.batches.steps)
        if whole and "capturable" in vars(type(self)) and self.capturable:
            return self.captured_loss(lambda batch: self.training_loss(batch, number), batch)
        return self.training_loss(batch, number)

    def training_loss(self, batch: Int[Tensor, "V B"], number: int) -> Tensor:
        known: Bool[Tensor, "V B"] | None = None
        if self.batches.incomplete(number):
            known, batch = batch >= 0, batch.clamp(min=0)
        losses = self.training_losses(self.training_outputs(self.train_x[batch], number), self.train_y[batch])
        if known is None:
            losses, n = losses.mean(1), batch.shape[1]
        else:
            n = known.sum(1)
            losses = torch.where(known, losses, 0).sum(1) / n.clamp(min=1)
        self.train_loss_sum += losses.detach() * n
        return self.summed(losses)

    @property
    def sequences_per_step(self) -> int:
        return min(self.batch_size, max(self.batches.used))

    def trial_loss(self, sequences: int) -> Tensor:
        batch = torch.zeros(len(self.variants), sequences, dtype=torch.long, device=self.device)
        return self.training_loss(batch, 0)

    @abstractmethod
    def losses(self, outputs: Tensor, y: Tensor) -> Float[Tensor, "V B"]:
        """Each sequence's loss, a mean over its steps, of `outputs` against `y`."""

    def training_losses(self, outputs: Tensor, y: Tensor) -> Float[Tensor, "V B"]:
        """The losses of `outputs` against `y` to descend, where they are not those that are evaluated."""
        return self.losses(outputs, y)

    def scores(self, outputs: Tensor, y: Tensor) -> dict[str, Float[Tensor, "V B"]]:
        """What else is evaluated of each sequence, by name, from its `outputs` and `y`."""
        return {}

    def validation_step(self, part: str, _: int) -> None:
        found = self.evaluated(part)
        loss = found.pop("loss")
        self.alive &= loss.isfinite()
        self.metrics[f"{part}_loss"] = loss.masked_fill(~self.alive, torch.nan)
        self.metrics |= {f"{part}_{name}": values for name, values in found.items()}
        self.log(f"{part}_loss", self.metrics[f"{part}_loss"].nanmedian(), batch_size=1, add_dataloader_idx=False)

    @torch.no_grad()
    def evaluated(self, part: str) -> dict[str, Float[Tensor, "V"]]:
        """The mean loss, and what else is evaluated, on the part of that name."""
        data, V = self.part(part), len(self.variants)
        sums: dict[str, Tensor] = {}
        for x, y in zip(data.x.split(self.rows), data.y.split(self.rows), strict=True):
            outputs, y = self(x.expand(V, *x.shape)), y.expand(V, *y.shape)
            for name, values in {"loss": self.losses(outputs, y), **self.scores(outputs, y)}.items():
                sums[name] = sums.get(name, 0) + values.sum(1)
        return {name: total / len(data.y) for name, total in sums.items()}

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.metrics["train_loss"] = self.train_loss_sum / self.samples

    @property
    def rows(self) -> int:
        """Number of sequences that all variants evaluate at once."""
        preactivations, steps = self.network.preactivations, self.val_x.shape[1]
        width = max(self.network.hidden_size, self.data.inputs)
        together = self.every or not self.val_x.is_floating_point()
        if together:
            most = MAX_PREACTIVATIONS // (preactivations * steps)
        elif self.device.type == "cpu":
            most = EVALUATION_CHUNK // preactivations
        else:
            states = len(self.variants) * steps * width
            most = min(DEVICE_EVALUATION_CHUNK // preactivations, MAX_EVALUATION_STATES // states)
        if self.device.type == "meta":
            return max(1, most)
        return max(1, min(most, int(available(self.device) // self.evaluation_bytes)))

    @property
    def evaluation_bytes(self) -> int:
        """What all variants need to evaluate one sequence: their states in a few arrays, and preactivations and outputs
        where they are computed for all steps together."""
        V, C = self.network.readout_bias.shape
        preactivations, steps = self.network.preactivations, self.val_x.shape[1]
        together = self.every or not self.val_x.is_floating_point()
        states = 4 * V * steps * max(self.network.hidden_size, self.data.inputs)
        outputs = (steps if self.every else 1) * 4 * V * C
        return self.network.readout_bias.itemsize * (states + outputs + preactivations * (2 * steps if together else 2))
