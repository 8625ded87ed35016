"""Initial weights have the properties that define them, gate by gate."""

import pytest
import torch
from torch import nn

from aelle.tasks.initialization import Initialization
from aelle.tasks.population import Population

H, I = 24, 7
GATES = {"lstm": 4, "gru": 3, "rnn": 1, "rnn_relu": 1}


def one(cell: str = "lstm", layers: int = 2, **rule) -> Population:
    return Population(cell, I, H, 3, [Initialization(**rule)], [5], layers=layers)


def blocks(cell: str, **rule) -> torch.Tensor:
    made = one(cell, **rule)
    return torch.cat([weight[0].unflatten(0, (-1, H)) for weight in (made.weight_hh_l0, made.weight_hh_l1)])


@pytest.mark.parametrize("cell", sorted(GATES))
def test_recurrent_blocks(cell):
    eye = torch.eye(H)
    orthogonal = blocks(cell, name="orthogonal", gain=0.5)
    torch.testing.assert_close(orthogonal @ orthogonal.mT, (0.25 * eye).expand_as(orthogonal), rtol=0, atol=1e-6)
    assert (torch.linalg.det(orthogonal.double() / 0.5).abs() - 1).abs().max() < 1e-5
    torch.testing.assert_close(blocks(cell, name="identity", gain=0.9), (0.9 * eye).expand_as(orthogonal))
    spectral = blocks(cell, name="spectral", spectral_radius=1.3, gain=0.5)
    radii = torch.linalg.eigvals(spectral.double()).abs().amax(-1)
    torch.testing.assert_close(radii, torch.full_like(radii, 0.65), rtol=1e-5, atol=0)
    assert len(orthogonal) == 2 * GATES[cell]


@pytest.mark.parametrize(
    ("rule", "bound", "input_bound"),
    [
        ({"name": "uniform", "p": 0.3}, 0.3, 0.3),
        ({"name": "uniform", "p": 0.3, "gain": 2.0}, 0.6, 0.6),
        ({"name": "uniform"}, H**-0.5, H**-0.5),
        ({"name": "xavier"}, (6 / (2 * H)) ** 0.5, (6 / (H + I)) ** 0.5),
        ({"name": "orthogonal"}, None, (6 / (H + I)) ** 0.5),
    ],
)
def test_uniform_bounds(rule, bound, input_bound):
    made = one(**rule)
    for weight, most in ((made.weight_hh_l0, bound), (made.weight_ih_l0, input_bound)):
        assert most is None or 0.95 * most < weight.abs().max() <= most
    assert not made.bias_ih_l0.any() and not made.bias_hh_l1.any()


@pytest.mark.parametrize("name", ["orthogonal", "identity", "spectral"])
def test_what_concerns_recurrent_weights_leaves_square_input_weights_alone(name):
    made = Population("rnn", H, H, 3, [Initialization(name, spectral_radius=0.1)], [5], layers=2)
    for weight in (made.weight_ih_l0, made.weight_ih_l1):
        bound = (6 / (2 * H)) ** 0.5
        assert 0.95 * bound < weight.abs().max() <= bound and weight.unique().numel() == H * H


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_the_default_is_distributed_as_pytorchs(cell):
    made = Population(cell, I, 200, 3, [Initialization("default")], [1], layers=2)
    network = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell](I, 200, 2)
    for name, parameter in network.named_parameters():
        mine = getattr(made, name)[0]
        assert mine.shape == parameter.shape
        assert mine.abs().max() <= 200**-0.5 and mine.std().item() == pytest.approx(parameter.std().item(), rel=0.1)


def test_the_forget_bias_is_added_to_the_gate_that_keeps_the_state():
    """With it very large, an LSTM's cell state and a GRU's state stay what they were."""
    state, x = torch.randn(1, 2, H), torch.randn(1, 2, I)
    for cell in ("lstm", "gru"):
        made = one(cell, layers=1, p=0.1, forget_bias=50.0)
        (weights,) = made.stack.layers
        new = made.cell.step(weights, x, (state,) * made.cell.parts)
        if cell == "gru":
            torch.testing.assert_close(new[0], state)
        else:
            without = one(cell, layers=1, p=0.1)
            fed = without.cell.step(without.stack.layers[0], x, (state, torch.zeros_like(state)))[1]
            torch.testing.assert_close(new[1], state + fed)
    for name in ("rnn", "rnn_relu"):
        assert torch.equal(one(name, forget_bias=3.0).bias_ih_l0, one(name).bias_ih_l0)


def test_a_network_of_one_unit_has_every_initialization():
    for name in ("uniform", "default", "orthogonal", "xavier", "identity", "spectral"):
        made = Population("lstm", 1, 1, 1, [Initialization(name)], [0])
        assert made.weight_hh_l0.isfinite().all() and made.weight_hh_l0.any()
