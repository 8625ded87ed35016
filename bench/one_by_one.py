"""What a population is measured against: its members as ordinary LightningModules, and a loop without Lightning."""

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor, nn
from torch.nn import functional as F

from aelle.tasks.classification import SequenceClassification
from aelle.tasks.module import ShuffledBatches
from aelle.tasks.population import Population
from aelle.trainer import lean_trainer


class Member(pl.LightningModule):
    """An `nn.LSTM` and an `nn.Linear` with the initial weights and the batches of a population's only variant."""

    def __init__(self, population: SequenceClassification):
        super().__init__()
        network = population.network
        self.learning_rate = population.variants[0].value("learning_rate")
        self.rnn = nn.LSTM(network.stack.input_size, network.stack.hidden_size, batch_first=True)
        self.readout = nn.Linear(network.stack.hidden_size, population.data.classes)
        self.load_state_dict(member_state(network))
        for name in ("train_x", "train_y", "val_x", "val_y", "test_x", "test_y"):
            self.register_buffer(name, getattr(population, name), persistent=False)
        self.batches = ShuffledBatches(
            len(self.train_x), population.batch_size, population.batches.seeds, lambda: self.current_epoch
        )
        self.register_buffer("train_loss_sum", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.rnn(x)[0][:, -1])

    # What does not depend on the network is that of the population, so that the work is the same.
    train_dataloader = SequenceClassification.train_dataloader
    val_dataloader = SequenceClassification.val_dataloader
    on_train_epoch_start = SequenceClassification.on_train_epoch_start

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        loss = F.cross_entropy(self(self.train_x[batch[0]]), self.train_y[batch[0]])
        self.train_loss_sum += loss.detach() * batch.shape[1]
        return loss

    def validation_step(self, part: str, _: int) -> None:
        logits, y = self(getattr(self, f"{part}_x")), getattr(self, f"{part}_y")
        self.log(f"{part}_loss", F.cross_entropy(logits, y), batch_size=1, add_dataloader_idx=False)
        self.log(f"{part}_accuracy", (logits.argmax(-1) == y).float().mean(), batch_size=1, add_dataloader_idx=False)

    @property
    def mean_train_loss(self) -> Tensor:
        """Of the last epoch."""
        return self.train_loss_sum / len(self.train_x)


def member_state(network: Population) -> dict[str, Tensor]:
    state = {name: tensor[0] for name, tensor in network.state_dict().items()}
    readout = {f"readout.{part}": state.pop(f"readout_{part}") for part in ("weight", "bias")}
    return {**{f"rnn.{name}": tensor for name, tensor in state.items()}, **readout}


def train(
    module: pl.LightningModule,
    epochs: int,
    device: torch.device,
    recorder: Checkpoint | None = None,
    precision: str = "32-true",
) -> None:
    """As aelle trains, without spectra."""
    lean_trainer(
        max_epochs=epochs,
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=1,
        precision=precision,
        enable_checkpointing=recorder is not None,
        callbacks=[recorder] if recorder else [],
    ).fit(module)


def bare_epochs(
    module: SequenceClassification, epochs: int, steps: int | None = None, *, evaluating: bool = True
) -> Tensor:
    """The same work without Lightning: mean training losses [V] of the last epoch. `steps` cuts the epochs short."""
    network, device = module.network, module.train_x.device
    optimizer = torch.optim.Adam(network.parameters(), lr=module.variants[0].value("learning_rate"))
    total = torch.zeros(len(network), device=device, dtype=module.train_x.dtype)
    for epoch in range(epochs):
        total.zero_()
        batches = ShuffledBatches(
            len(module.train_x), module.batch_size, module.batches.seeds, lambda epoch=epoch: epoch
        )
        for number, batch in enumerate(batches):
            if number == steps:
                break
            at = batch.to(device)
            losses = module.losses(network(module.train_x[at]), module.train_y[at]).mean(1)
            optimizer.zero_grad()
            losses.sum().backward()
            optimizer.step()
            total += losses.detach() * at.shape[1]
        if evaluating:
            evaluate(module)
    return total / len(module.train_x)


def evaluate(module: SequenceClassification) -> None:
    """Of the validation and test parts, as after each epoch."""
    for part in module.val_dataloader():
        module.evaluated(part)
