"""Trainings of a moment: Lightning without its talk, and a population of tiny networks with data of its own."""

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from aelle.data.images import Part, Sequences
from aelle.variants import Variant


def trainer(callbacks=(), **options) -> pl.Trainer:
    """Lightning's without its files and its talk."""
    return pl.Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )


def variant(number: int, p: float = 0.5, **changes) -> Variant:
    hyperparameters = {"cell": "lstm", "hidden_size": 6, "p": p, "learning_rate": 0.01, "batch_size": 8, **changes}
    return Variant(number, hyperparameters, {"init": 100 + number, "shuffle": 200 + number})


def small_data(dtype=torch.float64) -> Sequences:
    generator = torch.Generator().manual_seed(0)

    def part(n: int) -> Part:
        x = torch.rand(n, 5, 3, generator=generator, dtype=dtype)
        return Part(x, (x.sum((1, 2)) > 7.5).long() + (x[:, -1].sum(1) > 1.5).long())

    return Sequences(part(60), part(20), part(20), classes=3)


class Ordinary(pl.LightningModule):
    """With nothing of ours in it."""

    def __init__(self, rnn: nn.Module | None = None):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Module()
        self.encoder.rnn = rnn or nn.GRU(2, 6, num_layers=2, batch_first=True, dropout=0.2)
        self.head = nn.Linear(6, 1)

    def training_step(self, batch, _):
        x, y = batch
        return nn.functional.mse_loss(self.head(self.encoder.rnn(x)[0][:, -1]), y)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Logged(pl.LightningModule):
    """Logs the validation losses that it is given, one per epoch."""

    def __init__(self, losses: list[float]):
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.val_losses = nn.GRU(2, 5), losses

    def training_step(self, batch, _):
        return self.rnn(batch)[0].square().mean()

    def validation_step(self, batch, _):
        self.log("loss", self.val_losses[self.current_epoch])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(callbacks: list, folder, epochs: int = 3, model: pl.LightningModule | None = None, start=None, **options):
    """The trained module; `start`: the checkpoint to resume from."""
    torch.manual_seed(1)
    x = torch.randn(24, 7, 2)
    loader = DataLoader(TensorDataset(x, x.sum((1, 2))[:, None]), batch_size=8, shuffle=True)
    model = model or Ordinary()
    options.setdefault("logger", CSVLogger(folder) if callbacks else False)
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_checkpointing=any(isinstance(one, Checkpoint) for one in callbacks),
        enable_model_summary=False,
        log_every_n_steps=1,
        **options,
    )
    trainer.fit(model, loader, ckpt_path=start, weights_only=None if start is None else True)
    return model


def probe(seed: int = 5) -> torch.Tensor:
    return torch.randn(4, 9, 2, generator=torch.Generator().manual_seed(seed))
