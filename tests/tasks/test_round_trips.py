"""What would make a GPU wait for the host, counted on a CPU as the operations whose result the host has to read."""

import math
from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from aelle.data.images import digits
from aelle.tasks.classification import SequenceClassification
from aelle.trainer import lean_trainer
from aelle.variants import draw

READ = {"_local_scalar_dense", "nonzero", "equal", "masked_select", "unique_dim", "_unique2"}
"""Operators of ATen; boolean indices are taken as `nonzero`. Copies to the host cannot be told from others here."""


class RoundTrips(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in ("index", "index_put_", "index_put") and any(
            i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1]
        ):
            name = "nonzero"
        if name in READ:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def of_an_epoch(batch_size: int, **options) -> tuple[Counter[str], int]:
    """What the host has read, and in how many steps."""
    space = {"cell": "lstm", "hidden_size": 4, "p": 2.0, "learning_rate": 0.01, "batch_size": batch_size, **options}
    module = SequenceClassification(digits(), [draw(space, 0, n) for n in range(2)])
    trainer = lean_trainer(max_epochs=1, accelerator="cpu", enable_checkpointing=False, gradient_clip_val=1.0)
    with RoundTrips() as seen:
        trainer.fit(module)
    return seen.found, trainer.global_step


OPTIONS = [
    {},
    {"optimizer": "adamw", "weight_decay": [0.1, 0.0], "schedule": ["cosine", "step"], "warmup": 0.1},
    {"optimizer": "sgd", "momentum": [0.9, 0.0], "gradient_clip": [1.0, math.inf], "label_smoothing": [0.1, 0.0]},
    {"optimizer": "rmsprop", "weight_decay": [0.1, 0.0], "layers": 2, "readout": ["last", "mean"], "keep": [1.0, 0.5]},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_the_host_waits_as_often_for_an_epoch_of_many_steps_as_for_one_of_few(options):
    (few, steps), (many, more_steps) = of_an_epoch(600, **options), of_an_epoch(50, **options)
    assert more_steps > 5 * steps > 0
    assert few == many


@pytest.mark.parametrize(
    "waits", [lambda x: x.sum().item(), lambda x: bool((x > 0).any()), lambda x: x[x > 0], lambda x: x.nonzero()]
)
def test_what_waits_is_seen(waits):
    with RoundTrips() as seen:
        waits(torch.ones(3))
    assert seen.found.total() == 1
