"""The progress lines of a sweep."""

import time

import pytorch_lightning as pl

from aelle.sweep.live_status import chances_in_words, joined, left_in_words, stopped_in_words
from aelle.sweep.plan import Plan
from aelle.tasks.module import PopulationModule
from aelle.terminal import count, duration, say, shows_live_lines
from aelle.variants import Variant, cost

SECONDS_BETWEEN_LINES = 30.0

LONG_EPOCH_SECONDS = 3.0
"""In a longer one, the live line shows the share of its batches."""


class Progress(pl.Callback):
    """On a terminal, the live line of a pack in training; elsewhere a line every half minute; in both, a final one.

    `workers`: how many packs train at the same time, to estimate the time left; None if unknown.
    """

    def __init__(self, plan: Plan, workers: int | None):
        self.plan, self.workers, self.title = plan, workers, plan.title
        self.since = self.said = self.epoch_since = time.perf_counter()
        self.first_epoch = self.last_epoch = self.batch = 0
        self.batches, self.cost, self.left = float("inf"), 0.0, plan.remaining()
        self.chances = self.stopped = ""
        self.training = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        self.since = self.said = self.epoch_since = time.perf_counter()
        self.first_epoch = self.last_epoch = trainer.current_epoch
        self.batch, self.batches, self.variants = 0, trainer.num_training_batches, len(pl_module.variants)
        self.cost, self.left = sum(map(cost, pl_module.variants)), self.plan.remaining(besides=pl_module.variants)
        self._watch(pl_module)
        self.training = True

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: PopulationModule, outputs, batch, batch_idx) -> None:
        # Whatever more is shown is made where it is shown.
        self.batch = batch_idx + 1

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        self.last_epoch, self.batch, self.epoch_since = trainer.current_epoch + 1, 0, time.perf_counter()
        self._watch(pl_module)
        if self.last_epoch < self._epochs and not shows_live_lines():
            now = time.perf_counter()
            if now - self.said > SECONDS_BETWEEN_LINES:
                left = duration(self._seconds_left(now) or 0.0)
                self.say(f"epoch {self.last_epoch} of {self._epochs}, about {left} left")
                self.said = now

    def line(self) -> str:
        """What the live line shows; called by its thread."""
        now, left = time.perf_counter(), self.left
        if not self.training:
            return joined(self.title, "before training", self._variants())
        epoch = f"epoch {min(self.last_epoch + 1, self._epochs)} of {self._epochs}"
        if now - self.epoch_since > LONG_EPOCH_SECONDS and self.batches < float("inf"):
            epoch += f", {self.batch / self.batches:.0%}".replace("%", " %")
        seconds = self._seconds_left(now)
        if seconds is not None and left is not None and self.workers and self.cost:
            seconds += self.plan.pace(self.cost, self._whole(now)) * left.cost / self.workers
        return joined(
            self.title,
            epoch,
            "" if seconds is None else left_in_words(seconds),
            self.chances,
            self.stopped,
            self._variants(),
        )

    def finish(self, pl_module: PopulationModule, variants: list[Variant]) -> None:
        """Print the outcome of the pack with these variants, and how much of the sweep is left."""
        V, seconds = len(variants), time.perf_counter() - self.since
        line = f"{count(V, 'variant')} in {duration(seconds)}"
        if "val_loss" in pl_module.metrics:
            line += f", {int((pl_module.metrics['val_loss'] < self.plan.config['task']['threshold']).sum())} low-error"
        diverged = int(pl_module.diverged().sum())
        line += f", {diverged} diverged" if diverged else ""
        pruned = V - len(pl_module.variants)
        line += f", {pruned} pruned" if pruned else ""
        if (left := self.plan.remaining()) is not None:
            line += f"; {left.complete} of {left.wanted} variants complete"
            whole = seconds * self._epochs / max(self._epochs - self.first_epoch, 1)
            rest = self.plan.pace(sum(map(cost, variants)), whole, over=True) * left.cost
            line += f", about {duration(rest / self.workers)} left" if left.cost and self.workers else ""
        self.say(line)

    def say(self, what: str, *more: str) -> None:
        """Print a line about the pack, and more lines below it."""
        say(f"{self.title}: {what}", *more)

    @property
    def _epochs(self) -> int:
        return self.plan.config["epochs"]

    def _variants(self) -> str:
        return "" if self.left is None else f"{self.left.complete} of {count(self.left.wanted, 'variant')}"

    def _watch(self, pl_module: PopulationModule) -> None:
        """Put into words what there is of the module between two epochs; it is the training's own during them."""
        chance = pl_module.metrics.get("chance")
        self.chances = "" if chance is None else chances_in_words(chance.tolist())
        self.stopped = stopped_in_words(self.variants - len(pl_module.variants))

    def _whole(self, now: float) -> float:
        """Seconds that the pack would take from its first epoch to its last."""
        epochs = self.last_epoch - self.first_epoch
        if epochs:
            return (self.epoch_since - self.since) / epochs * self._epochs
        return (now - self.since) * self.batches / max(self.batch, 1) * self._epochs

    def _seconds_left(self, now: float) -> float | None:
        """Of the pack, by its epochs so far, or by the batches of the first one, once it takes long."""
        if self.last_epoch == self.first_epoch and (
            not self.batch or self.batches == float("inf") or now - self.since < LONG_EPOCH_SECONDS
        ):
            return None
        left = self._whole(now) * (1 - self.first_epoch / self._epochs)
        return max(left - (now - self.since), 0.0)
