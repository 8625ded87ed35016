"""The progress lines of a sweep."""

import sys
import time

import pytorch_lightning as pl

from aelle.sweep.plan import Plan
from aelle.tasks.module import PopulationModule
from aelle.terminal import count, duration, erase, say, show
from aelle.variants import Variant, cost

SECONDS_BETWEEN_LINES = 30.0


class Progress(pl.Callback):
    """A live line while a pack trains (in a file, or with several packs: one every half minute), a final one after it.

    `workers`: how many packs train at the same time, to estimate the time left; None if unknown.
    """

    def __init__(self, plan: Plan, workers: int | None):
        self.plan, self.workers = plan, workers
        pack = plan.config["pack"]
        self.title = plan.config["sweep"] if pack is None else f"pack {pack + 1} of {len(plan.packs())}"
        self.since = self.said = time.perf_counter()
        self.first_epoch = self.last_epoch = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        self.since = self.said = time.perf_counter()
        self.first_epoch = trainer.current_epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        self.last_epoch, epochs, now = trainer.current_epoch + 1, self.plan.config["epochs"], time.perf_counter()
        live = sys.stdout.isatty() and self.workers == 1
        if self.last_epoch < epochs and (live or now - self.said > SECONDS_BETWEEN_LINES):
            left = duration((now - self.since) / (self.last_epoch - self.first_epoch) * (epochs - self.last_epoch))
            what = f"epoch {self.last_epoch} of {epochs}, about {left} left"
            if live:
                show(f"{self.title}: {what}")
            else:
                self.say(what)
            self.said = now

    def finish(self, pl_module: PopulationModule, variants: list[Variant]) -> None:
        """Print the outcome of the pack with these variants, and how much of the sweep is left."""
        V, seconds, epochs = len(variants), time.perf_counter() - self.since, self.plan.config["epochs"]
        line = f"{count(V, 'variant')} in {duration(seconds)}"
        if "val_loss" in pl_module.metrics:
            line += f", {int((pl_module.metrics['val_loss'] < self.plan.config['task']['threshold']).sum())} low-error"
        diverged = int(pl_module.diverged().sum())
        line += f", {diverged} diverged" if diverged else ""
        pruned = V - len(pl_module.variants)
        line += f", {pruned} pruned" if pruned else ""
        if self.plan.config["pack"] is not None:
            wanted = self.plan.wanted()
            left = wanted - self.plan.complete()
            line += f"; {len(wanted) - len(left)} of {len(wanted)} variants complete"
            whole = seconds * epochs / max(epochs - self.first_epoch, 1)
            cost_left = sum(cost(v) for pack in self.plan.packs() for v in pack if v.number in left)
            rest = whole * cost_left / sum(map(cost, variants))
            line += f", about {duration(rest / self.workers)} left" if left and self.workers else ""
        self.say(line)

    def say(self, what: str, *more: str) -> None:
        """Print a line about the pack, and more lines below it."""
        erase()
        say(f"{self.title}: {what}", *more)
