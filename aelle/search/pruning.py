"""Stops the variants of a search that are a poorer bet than new ones."""

import numpy as np
from jaxtyping import Bool

from aelle.search.learning import BEST
from aelle.sweep.resuming import Place
from aelle.tasks.module import PopulationModule
from aelle.training.prediction_callback import PredictionCallback
from aelle.training.pruning_callback import PruningCallback


class BetterBet(PruningCallback):
    """Stops a variant whose chance of being among the best, for each epoch that it still needs, is below that of a new
    variant, for each of all E epochs: after epoch e, below BEST · (1 - e / E)."""

    def __init__(self, prediction: PredictionCallback, place: Place):
        super().__init__(prediction, BEST, 1, place.last)

    def judge(self, pl_module: PopulationModule, epoch: int) -> Bool[np.ndarray, "V"]:
        self.below = BEST * (1 - epoch / (pl_module.trainer.max_epochs or epoch))
        return super().judge(pl_module, epoch)
