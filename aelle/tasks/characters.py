"""Prediction of the next character of a text: `charrnn` and `charrnn_small`."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aelle.data.text import Characters
from aelle.seeds import seed_for
from aelle.tasks.classification import SequenceClassification
from aelle.variants import Variant

MAX_LOOKED_UP = 2**25
"""Maximum size of the looked-up inputs in one evaluation step: 128 MiB in float32."""


class CharacterPrediction(SequenceClassification):
    """V networks read characters and predict the next one, after every step or after the last.

    Each learns a share `keep` of the training sequences, with dropout before the readout and without recurrent bias.
    """

    data: Characters
    recurrent_bias = False

    def __init__(self, data: Characters, variants: Sequence[Variant]):
        super().__init__(data, variants)
        self.dropout = float(variants[0].hyperparameters["dropout"])

    def forward(self, x: Int[Tensor, "V B T"]) -> Tensor:
        return self.logits(self.hidden(x))

    @property
    def capturable(self) -> bool:
        return not self.dropout and self.network_of_aelle

    def training_logits(self, x: Int[Tensor, "V B T"], batch: int) -> Tensor:
        h = self.hidden(x)
        if self.dropout:
            h = h * self.mask(h, batch) / (1 - self.dropout)
        return self.logits(h)

    def hidden(self, x: Int[Tensor, "V B T"]) -> Float[Tensor, "V B Y H"]:
        """h after the Y steps whose next character is to be predicted."""
        steps = self.network.hidden(x)
        return (steps if self.data.every else steps[-1:]).permute(1, 2, 0, 3)

    def logits(self, h: Float[Tensor, "V B Y H"]) -> Tensor:
        logits = self.network.readout(h.flatten(1, 2)).unflatten(1, h.shape[1:3])
        return logits if self.data.every else logits[:, :, 0]

    def mask(self, h: Float[Tensor, "V B Y H"], batch: int) -> Tensor:
        """The dropout mask, drawn for each variant from its seed, the epoch and the batch."""
        mask = torch.empty(h.shape, dtype=torch.bool, device=h.device)
        for variant, of_one in zip(self.variants, mask, strict=True):
            key = seed_for(variant.seeds["shuffle"], "dropout", self.current_epoch, batch)
            of_one.bernoulli_(1 - self.dropout, generator=torch.Generator(h.device).manual_seed(key))
        return mask

    @property
    def rows(self) -> int:
        return max(1, MAX_LOOKED_UP // (self.network.bias_hh_l0.numel() * self.val_x.shape[-1]))

    @torch.no_grad()
    def example_outputs(self) -> dict[str, Any]:
        """For the first validation sequence: its characters, those to predict, and the probability of each [V, Y]."""
        x, y = self.val_x[0], self.val_y[0].reshape(-1)
        V = len(self.variants)
        probabilities = self.logits(self.hidden(x.expand(V, 1, -1))).softmax(-1).reshape(V, len(y), -1)
        return {
            "input": [self.data.decode(x)] * V,
            "right": [self.data.decode(y)] * V,
            "probability": probabilities[:, torch.arange(len(y)), y],
        }
