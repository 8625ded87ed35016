"""Stops the variants of a population that have little chance, so that the others have its time."""

import numpy as np
import pyarrow as pa
import pytorch_lightning as pl
from jaxtyping import Float

from aelle.tasks.module import PopulationModule
from aelle.training.prediction_callback import PredictionCallback


class PruningCallback(pl.Callback):
    """Takes variants whose chance is below `below` out of the population, after epoch `after` or any later one.

    Its place among the trainer's callbacks is behind `prediction`. What an epoch decides follows from that epoch's
    chances alone, and is carried out when the next one begins, with rows and checkpoint of before written: a run that
    goes on from that checkpoint, given that epoch's rows as `last`, decides the same. A variant's fate depends on no
    other's: where none is left, the training ends. A diverged variant has no chance, stands still and stays.

    `.stopping`: the numbers of those that the last epoch has decided to stop.
    """

    def __init__(
        self,
        prediction: PredictionCallback,
        below: float,
        after: int,
        last: pa.Table | None = None,
    ):
        self.prediction, self.below, self.after, self.last = prediction, below, after, last
        self.stopping: set[int] = set()

    def on_train_start(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        if self.last is None:
            self._decide(trainer, pl_module, 0, self.prediction.chances.get(0))
        elif "chance" in self.last.column_names:
            # Null after an epoch without a spectrum, which becomes NaN and decides nothing.
            chances = dict(zip(self.last["variant"].to_pylist(), self.last["chance"].to_pylist(), strict=True))
            of_each = np.array([chances[v.number] for v in pl_module.variants], dtype=float)
            self._decide(trainer, pl_module, self.last["epoch"][0].as_py(), of_each)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        self._stop(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        epoch = trainer.current_epoch + 1
        self._decide(trainer, pl_module, epoch, self.prediction.chances.get(epoch))

    def on_train_end(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        self._stop(trainer, pl_module)

    def _decide(
        self,
        trainer: pl.Trainer,
        pl_module: PopulationModule,
        epoch: int,
        chances: Float[np.ndarray, "V"] | None,
    ) -> None:
        """The last epoch decides nothing: there is no time left to save."""
        if chances is not None and self.after <= epoch < (trainer.max_epochs or 0):
            low = chances < self.below
            self.stopping = {v.number for v, stops in zip(pl_module.variants, low, strict=True) if stops}
            trainer.should_stop |= bool(low.all())

    def _stop(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        if self.stopping:
            rows = [row for row, v in enumerate(pl_module.variants) if v.number not in self.stopping]
            pl_module.take(rows, trainer.optimizers)
            self.prediction.take(rows)
            self.stopping = set()
