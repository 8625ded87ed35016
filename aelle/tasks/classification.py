"""Classification of a sequence, or of its every step: `digits`, `smnist`, `pmnist`, `fashion`, `recall` and `copy`.

Axes: V variant, B sequence, T step, C class.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from aelle.tasks.sequences import SequenceData, SequenceLearning
from aelle.variants import Variant, values_of


@runtime_checkable
class ClassifiedSequences(SequenceData, Protocol):
    @property
    def classes(self) -> int: ...


class SequenceClassification(SequenceLearning):
    """V networks classify sequences (classes [n]) or their every step ([n, T]); cross entropy in nats.

    `data`: a `Sequences` with classes, or any object with its attributes. `variants`: those of a pack, whose
    hyperparameters are named in `reads`. `metrics` has `val_loss`, `test_loss`, `train_loss` and accuracies, [V] each.
    `label_smoothing` ε trains towards 1 − ε for the class and ε / C for all (Szegedy et al. 2016); losses are evaluated
    without it.
    """

    label_smoothing: Tensor
    reads = (*SequenceLearning.reads, "label_smoothing")
    capturable = SequenceLearning.capturable

    def __init__(self, data: ClassifiedSequences, variants: Sequence[Variant]):
        super().__init__(data, variants, data.classes, every=data.train.y.ndim == 2)
        smoothing = torch.tensor(values_of(variants, "label_smoothing"), dtype=torch.float32)
        self.register_buffer("label_smoothing", smoothing, persistent=False)
        self.smooths = bool(smoothing.any())

    def losses(self, outputs: Float[Tensor, "V B *T C"], y: Int[Tensor, "V B *T"]) -> Float[Tensor, "V B"]:
        losses = F.cross_entropy(outputs.flatten(0, -2), y.flatten(), reduction="none")
        return losses.view(*y.shape[:2], -1).mean(2)

    def training_losses(self, outputs: Float[Tensor, "V B *T C"], y: Int[Tensor, "V B *T"]) -> Float[Tensor, "V B"]:
        losses = self.losses(outputs, y)
        if not self.smooths:
            return losses
        uniform = outputs.float().log_softmax(-1) if outputs.dtype.itemsize < 4 else outputs.log_softmax(-1)
        return torch.lerp(losses, -uniform.flatten(2).mean(2), self.label_smoothing[:, None].to(losses.dtype))

    def scores(self, outputs: Float[Tensor, "V B *T C"], y: Int[Tensor, "V B *T"]) -> dict[str, Tensor]:
        right = (outputs.argmax(-1) == y).to(self.train_loss_sum.dtype)
        return {"accuracy": right.view(*y.shape[:2], -1).mean(2)}

    @torch.no_grad()
    def example_outputs(self) -> dict[str, Any]:
        """For the first validation sequence of each class: the probabilities of all classes [V, n, C], and its own."""
        if self.every:
            return {}
        y, first = self.val_y.unique(return_inverse=True)
        at = [int((first == i).nonzero()[0, 0]) for i in range(len(y))]
        x, V = self.val_x[at], len(self.variants)
        return {"class_probabilities": self(x.expand(V, *x.shape)).softmax(-1), "classes": [y.tolist()] * V}
