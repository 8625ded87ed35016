"""Prediction of the next character of a text: `charrnn` and `charrnn_small`."""

from collections.abc import Sequence
from typing import Any

import torch

from aelle.data.text import Characters
from aelle.tasks.classification import SequenceClassification
from aelle.tasks.sequences import SequenceLearning
from aelle.variants import Variant


class CharacterPrediction(SequenceClassification):
    """V networks read characters and predict the next one, after every step or after the last; no recurrent bias.

    `data`: a text cut into sequences. `variants`: those of a pack. Losses are cross entropy in nats per character.
    """

    data: Characters
    recurrent_bias = False
    reads = tuple(name for name in SequenceClassification.reads if name != "readout")
    capturable = SequenceLearning.capturable

    def __init__(self, data: Characters, variants: Sequence[Variant]):
        super().__init__(data, variants)

    @torch.no_grad()
    def example_outputs(self) -> dict[str, Any]:
        """For the first validation sequence: its characters, those to predict, and the probability of each [V, Y]."""
        x, y = self.val_x[0], self.val_y[0].reshape(-1)
        V = len(self.variants)
        probabilities = self(x.expand(V, 1, -1)).softmax(-1).reshape(V, len(y), -1)
        return {
            "input": [self.data.decode(x)] * V,
            "right": [self.data.decode(y)] * V,
            "probability": probabilities[:, torch.arange(len(y)), y],
        }
