"""Trainings of a moment: Lightning without its talk, and a population of tiny networks with data of its own."""

import pytorch_lightning as pl
import torch

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
