"""Whatever a module does inside, it is as before afterwards."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from aelle.cells.without_trace import without_trace


class Restless(nn.Module):
    """Draws random numbers, counts its calls, and changes everything that it has."""

    def __init__(self):
        super().__init__()
        self.part = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.BatchNorm1d(2))
        self.register_buffer("nothing", torch.tensor([1.0, torch.nan]))
        self.plain, self.seen, self.options = torch.zeros(3), [1], {"a": 1}

    def forward(self, x):
        self.plain += torch.rand(3)
        self.seen.append(random.random())
        self.options["a"], self.new = float(np.random.random()), 1
        self.nothing = self.nothing + 1
        with torch.no_grad():
            self.part[0].weight.mul_(2)
            self.part[0].bias.data.fill_(np.nan)
        return self.part(x)


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_of_what_happened_inside(fails):
    module, x = Restless(), torch.randn(4, 2)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    plain, seen, options, weight = module.plain, module.seen, module.options, module.part[0].weight
    names, version = set(vars(module)), weight._version
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    try:
        with without_trace(module):
            assert not module.part[1].training and not module(x).requires_grad
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor.view(torch.uint8), before[name].view(torch.uint8)) if tensor.ndim else True, name
    assert module.part[2].num_batches_tracked == before["part.2.num_batches_tracked"]
    assert module.plain is plain and not plain.any()
    assert module.seen is seen and seen == [1] and module.options is options and options == {"a": 1}
    assert module.part[0].weight is weight and weight._version == version + 1  # of mul_ itself
    assert set(vars(module)) == names and module.training and module.part[1].training
    assert random.getstate() == states[0] and np.array_equal(np.random.get_state()[1], states[1])
    assert torch.equal(torch.get_rng_state(), states[2])


def test_a_module_without_anything_is_fine():
    with without_trace(nn.Identity()):
        pass
