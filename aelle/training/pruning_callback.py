"""Stops the variants of a population with a low chance, which saves their time."""

import numpy as np
import pyarrow as pa
import pytorch_lightning as pl

from aelle.tasks.module import PopulationModule
from aelle.training.prediction_callback import PredictionCallback


class PruningCallback(pl.Callback):
    """Removes variants whose chance is below `below` from the population, after epoch `after` or any later one.

    Comes after `prediction` among the trainer's callbacks. An epoch's decision follows from that epoch's chances alone
    and is carried out at the start of the next, when rows and checkpoint have been written: a run that resumes from
    that checkpoint, given that epoch's rows as `last`, decides the same. Variants are judged independently; if none is
    left, training ends. A diverged variant has no chance; it is no longer trained, but stays in the population.

    Networks that the predictor marks as outside of what it knows are never stopped, nor are those for reference,
    numbered from `size` on.

    `.stopping`: the numbers of the variants that the last epoch has decided to stop.
    """

    def __init__(
        self,
        prediction: PredictionCallback,
        below: float,
        after: int,
        last: pa.Table | None = None,
        size: int | None = None,
    ):
        self.size = size
        self.prediction, self.below, self.after, self.last = prediction, below, after, last
        self.stopping: set[int] = set()

    def on_train_start(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        if self.last is None:
            self._decide(trainer, pl_module, 0)
        elif "outside" in self.last.column_names:
            # Null after an epoch without chances; as NaN it stops no variant.
            rows = {row["variant"]: row for row in self.last.select(["variant", "chance", "outside"]).to_pylist()}
            own, epoch = [rows[v.number] for v in pl_module.variants], self.last["epoch"][0].as_py()
            self.prediction.chances[epoch] = np.array([row["chance"] for row in own], dtype=float)
            self.prediction.outside[epoch] = [row["outside"] or "" for row in own]
            self._decide(trainer, pl_module, epoch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        self._stop(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        self._decide(trainer, pl_module, trainer.current_epoch + 1)

    def on_train_end(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        self._stop(trainer, pl_module)

    def _decide(self, trainer: pl.Trainer, pl_module: PopulationModule, epoch: int) -> None:
        """Nothing is stopped after the last epoch: there is no time left to save."""
        if epoch in self.prediction.chances and self.after <= epoch < (trainer.max_epochs or 0):
            low = self.prediction.chances[epoch] < self.below
            low &= np.array([not outside for outside in self.prediction.outside[epoch]], dtype=bool)
            if self.size is not None:
                low &= np.array([v.number < self.size for v in pl_module.variants], dtype=bool)
            self.stopping = {v.number for v, stops in zip(pl_module.variants, low, strict=True) if stops}
            trainer.should_stop |= bool(low.all())

    def _stop(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        if self.stopping:
            rows = [row for row, v in enumerate(pl_module.variants) if v.number not in self.stopping]
            pl_module.take(rows, trainer.optimizers)
            self.prediction.take(rows)
            self.stopping = set()
