"""What every population of a task can do: go on with some of its variants."""

import pytest
import pytorch_lightning as pl
import torch

from aelle.data.sines import FourSines
from aelle.data.text import characters
from aelle.tasks import CharacterPrediction, SequenceClassification, TargetLearning
from aelle.variants import Variant
from trainings import small_data, trainer, variant


class Keep(pl.Callback):
    """Keeps some variants before an epoch."""

    def __init__(self, rows: list[int], epoch: int = 2):
        self.rows, self.epoch = rows, epoch

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        if trainer.current_epoch == self.epoch:
            pl_module.take(self.rows, trainer.optimizers)


def character_variant(number: int) -> Variant:
    shared = {"dropout": 0.3, "keep": 0.5, "cell": "gru"}
    return variant(number, **shared)


def trained(task: str, callbacks=()):
    if task == "characters":
        text = "".join(chr(97 + (i * i) % 7) for i in range(101 * 40))
        module = CharacterPrediction(characters(text, "every"), [character_variant(n) for n in range(4)]).double()
    elif task == "target":
        space = {"hidden_size": 20, "g": 1.3, "target": "random"}
        chosen = [Variant(n, space, {"init": n, "shuffle": n}) for n in range(4)]
        module = TargetLearning(FourSines(), chosen)
    else:
        # As many sequences as variants in a part that is shared: it must not be taken for one per variant.
        data = small_data()
        data = type(data)(data.train, data.val, type(data.test)(data.test.x[:4], data.test.y[:4]), data.classes)
        module = SequenceClassification(data, [variant(n, 0.5 + n) for n in range(4)]).double()
    options = {} if task == "target" else {"gradient_clip_val": 0.5}
    trainer(callbacks, max_epochs=4, **options).fit(module)
    return module


@pytest.mark.parametrize("task", ["classification", "characters", "target"])
def test_survivors_train_on_as_the_members_of_the_whole_population(task):
    whole, left = trained(task), trained(task, [Keep([3, 1])])
    assert [v.number for v in left.variants] == [3, 1]
    tensors = dict(whole.named_parameters()) | dict(whole.named_buffers())
    for name, found in [*left.named_parameters(), *left.named_buffers()]:
        wanted = tensors[name] if name in whole.shared else tensors[name][[3, 1]]
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11, msg=lambda m, name=name: f"{name}: {m}")
    for name, values in left.metrics.items():
        torch.testing.assert_close(values, whole.metrics[name][[3, 1]], rtol=1e-9, atol=1e-11)
    assert all(len(column) == 2 for column in left.example_outputs().values())
