"""Stops the poor variants of a population, which saves their time."""

import numpy as np
import pyarrow as pa
import pytorch_lightning as pl
from jaxtyping import Bool

from aelle.tasks.module import PopulationModule
from aelle.training.prediction_callback import PredictionCallback


class Stopping(pl.Callback):
    """Removes from the population, as long as it is trained, the variants that `judge` finds poor.

    An epoch's decision is carried out at the start of the next, when rows and checkpoint have been written. If no
    variant is left, training ends. Networks for reference, numbered from `size` on, are never stopped.

    `.stopping`: the numbers of the variants that the last epoch has decided to stop.
    """

    def __init__(self, size: int | None = None):
        self.size = size
        self.stopping: set[int] = set()

    def judge(self, pl_module: PopulationModule, epoch: int) -> Bool[np.ndarray, "V"]:
        """Which variants are poor after this epoch."""
        raise NotImplementedError

    def on_train_start(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        self.decide(trainer, pl_module, trainer.current_epoch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        self._stop(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        self.decide(trainer, pl_module, trainer.current_epoch + 1)

    def on_train_end(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        self._stop(trainer, pl_module)

    def decide(self, trainer: pl.Trainer, pl_module: PopulationModule, epoch: int) -> None:
        """Nothing is stopped after the last epoch: there is no time left to save."""
        if epoch >= (trainer.max_epochs or 0):
            return
        poor = self.judge(pl_module, epoch)
        if self.size is not None:
            poor = poor & np.array([v.number < self.size for v in pl_module.variants], dtype=bool)
        self.stopping = {v.number for v, stops in zip(pl_module.variants, poor, strict=True) if stops}
        trainer.should_stop |= bool(poor.all())

    def _stop(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        if self.stopping:
            rows = [row for row, v in enumerate(pl_module.variants) if v.number not in self.stopping]
            pl_module.take(rows, trainer.optimizers)
            callbacks: list[pl.Callback] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
            for one in callbacks:
                if isinstance(one, PredictionCallback):
                    one.take(rows)
            self.stopping = set()


class PruningCallback(Stopping):
    """Stops variants whose chance is below `below`, after epoch `after` or any later one.

    Comes after `prediction` among the trainer's callbacks. An epoch's decision follows from that epoch's chances alone:
    a run that resumes from that epoch's checkpoint, given its rows as `last`, decides the same. Variants are judged
    independently. A diverged variant has no chance; it is no longer trained, but stays in the population. Networks that
    the predictor marks as outside of what it knows are never stopped.
    """

    def __init__(
        self,
        prediction: PredictionCallback,
        below: float,
        after: int,
        last: pa.Table | None = None,
        size: int | None = None,
    ):
        super().__init__(size)
        self.prediction, self.below, self.after, self.last = prediction, below, after, last

    def on_train_start(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        if self.last is not None:
            if "outside" not in self.last.column_names:
                return
            # Null after an epoch without chances; as NaN it stops no variant.
            rows = {row["variant"]: row for row in self.last.select(["variant", "chance", "outside"]).to_pylist()}
            own, epoch = [rows[v.number] for v in pl_module.variants], self.last["epoch"][0].as_py()
            self.prediction.chances[epoch] = np.array([row["chance"] for row in own], dtype=float)
            self.prediction.outside[epoch] = [row["outside"] or "" for row in own]
        super().on_train_start(trainer, pl_module)

    def judge(self, pl_module: PopulationModule, epoch: int) -> Bool[np.ndarray, "V"]:
        if epoch not in self.prediction.chances or epoch < self.after:
            return np.zeros(len(pl_module.variants), dtype=bool)
        low = np.asarray(self.prediction.chances[epoch] < self.below)
        return low & np.array([not outside for outside in self.prediction.outside[epoch]], dtype=bool)
