"""The lines that a sweep prints while it trains."""

import sys
import time

import pytorch_lightning as pl

from aelle.command_line import count, duration
from aelle.sweep import Plan
from aelle.tasks.population import PopulationModule


class Progress(pl.Callback):
    """A live line while a pack trains (on a terminal), a lasting one when it is through.

    `workers`: how many packs train at the same time, for the time that is left.
    """

    def __init__(self, plan: Plan, workers: int):
        self.threshold = plan.config["task"]["threshold"]
        self.workers = workers
        self.done = len(plan.complete())
        requested = plan.requested()
        if plan.config["pack"] is None:
            self.title, self.total = plan.config["sweep"], None
        else:
            self.title = f"pack {plan.config['pack'] + 1} of {len(plan.packs())}"
            self.total = plan.config["size"] if requested is None else len(requested)

    def on_train_start(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        self.since, self.first_epoch = time.perf_counter(), trainer.current_epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs
        if sys.stdout.isatty() and epochs and epoch < epochs:
            each = (time.perf_counter() - self.since) / (epoch - self.first_epoch)
            left = duration(each * (epochs - epoch))
            print(f"\r\x1b[K{self.title}: epoch {epoch} of {epochs}, about {left} left", end="", flush=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        V, seconds = len(pl_module.variants), time.perf_counter() - self.since
        low = int((pl_module.metrics["val_loss"] < self.threshold).sum())
        diverged = int(pl_module.diverged().sum())
        line = f"{count(V, 'variant')} in {duration(seconds)}, {low} low-error"
        line += f", {diverged} diverged" if diverged else ""
        if self.total is not None and not trainer.interrupted:
            done = min(self.done + V, self.total)
            line += f"; {done} of {self.total} variants done"
            share = (trainer.current_epoch - self.first_epoch) / (trainer.max_epochs or 1)
            left = seconds / V / max(share, 1e-9) * (self.total - done) / self.workers
            line += f", about {duration(left)} left" if done < self.total else ""
        self.say(line)

    def say(self, what: str) -> None:
        clear = "\r\x1b[K" if sys.stdout.isatty() else ""
        print(f"{clear}{self.title}: {what}", flush=True)
