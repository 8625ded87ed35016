"""What the packs of a search are trained with: besides the usual parts, the study and, on request, our own pruning."""

from collections.abc import Callable

import pytorch_lightning as pl

from aelle.search.pruning import BetterBet
from aelle.search.reporting import StudyCallback
from aelle.search.study import Study
from aelle.sweep.resuming import Place
from aelle.training.parts import Parts
from aelle.training.prediction_callback import PredictionCallback
from aelle.training.pruning_callback import PruningCallback


class SearchParts(Parts):
    study: Study | None = None
    tells_chances = False

    def watching(self, place: Place, say: Callable[..., object]) -> list[pl.Callback]:
        return [] if self.study is None else [StudyCallback(self.study, place.rows, say)]

    def stopping(self, prediction: PredictionCallback, place: Place) -> PruningCallback | None:
        """By our own predictor, once it is fitted; a model of `prediction` prunes as in any sweep."""
        if self.config["prediction"]["model"] is not None:
            return super().stopping(prediction, place)
        return BetterBet(prediction, place)
