"""Regression from sequences: numbers at the end (`adding`), or after every step (`flipflop` and `lorenz`).

Axes: V variant, B sequence, T step, O target.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from aelle.errors import UserError
from aelle.tasks.sequences import SequenceData, SequenceLearning
from aelle.variants import Variant

ERRORS = {"squared": Tensor.square, "absolute": Tensor.abs}


class SequenceRegression(SequenceLearning):
    """V networks learn targets [n, O] from whole sequences, or [n, T, O] from their every step; a mean over all O.

    `data`: a `Sequences` of numbers, or any object with its attributes. `variants`: those of a pack, whose
    hyperparameters are named in `reads`. `error`: squared or absolute, in training as in evaluation. Raises ValueError
    for another error, and for targets of another shape.
    """

    reads = SequenceLearning.reads
    capturable = SequenceLearning.capturable

    def __init__(self, data: SequenceData, variants: Sequence[Variant], error: str = "squared"):
        if error not in ERRORS:
            raise UserError(f"task.module.error={error}: choose {' or '.join(ERRORS)}")
        y = data.train.y
        if not y.is_floating_point() or y.ndim not in (2, 3) or (y.ndim == 3 and y.shape[1] != data.train.x.shape[1]):
            raise UserError(
                f"targets of shape {list(y.shape)} in {y.dtype}: regression needs numbers [n, O], one set for each "
                f"sequence, or [n, {data.train.x.shape[1]}, O], one for each step"
            )
        super().__init__(data, variants, y.shape[-1], every=y.ndim == 3)
        self.error = ERRORS[error]

    def losses(self, outputs: Float[Tensor, "V B *T O"], y: Float[Tensor, "V B *T O"]) -> Float[Tensor, "V B"]:
        return self.error(outputs - y).flatten(2).mean(2)

    @torch.no_grad()
    def example_outputs(self) -> dict[str, Any]:
        """The first target and the output for it: of every step of the first validation sequence, or of the first
        sequences."""
        V, x, y = len(self.variants), self.val_x, self.val_y
        if self.every:
            output, target = self(x[:1].expand(V, *x[:1].shape))[:, 0, :, 0], y[0, :, 0]
        else:
            x, target = x[:EXAMPLES], y[:EXAMPLES, 0]
            output = self(x.expand(V, *x.shape))[..., 0]
        return {"output": output, "target": target.expand(V, -1)}


EXAMPLES = 50
"""Sequences whose single output is an example."""
