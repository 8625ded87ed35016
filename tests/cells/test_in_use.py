"""Weights that are computed in each forward pass, by hooks, parametrizations and modules around the network."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from aelle import lyapunov_spectrum
from aelle.cells.in_use import stack_in_use
from aelle.cells.stack import stack_of
from aelle.errors import UserError


def masked(network: nn.Module) -> nn.Module:
    """A hook that changes the parameters themselves."""

    def mask(module, _):
        with torch.no_grad():
            module.weight_hh_l0.clamp_(-0.05, 0.05)

    network.register_forward_pre_hook(mask)
    return network


def pruned(network: nn.Module) -> nn.Module:
    prune.random_unstructured(network, "weight_hh_l0", 0.3)
    return network


def dropped(network: nn.Module) -> nn.Module:
    """DropConnect by a hook of keyword arguments."""
    raw = nn.Parameter(network._parameters.pop("weight_hh_l0").detach())
    network.register_parameter("raw", raw)
    network.weight_hh_l0 = raw.clone()

    def drop(module, arguments, options):
        module.weight_hh_l0 = nn.functional.dropout(module.raw.clone(), 0.5, training=module.training)

    network.register_forward_pre_hook(drop, with_kwargs=True)
    return network


HOOKED = [
    lambda network: nn.utils.weight_norm(network, "weight_hh_l0"),
    lambda network: nn.utils.spectral_norm(network, "weight_hh_l0"),
    lambda network: parametrizations.weight_norm(network, "weight_hh_l0"),
    lambda network: parametrizations.spectral_norm(network, "weight_hh_l0"),
    *(masked, pruned, dropped),
]


def trained(network: nn.Module, call=None) -> torch.Tensor:
    """Two steps; an input of it."""
    x = torch.randn(4, 9, 3)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for _ in range(2):
        optimizer.zero_grad()
        (call or network)(x)[0].square().sum().backward()
        optimizer.step()
    return x


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("hooked", HOOKED)
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_the_spectrum_is_that_of_the_next_forward_pass_and_changes_nothing(hooked, kind):
    torch.manual_seed(0)
    network = hooked(kind(3, 6, num_layers=2, batch_first=True))
    x = trained(network)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    attributes, weights = dict(vars(network)), [id(weight) for weight in network._flat_weights]
    numbers = [weight.clone() for weight in network._flat_weights]
    measured, state = lyapunov_spectrum(network, x).exponents, torch.get_rng_state()

    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert attributes.keys() == vars(network).keys() and all(vars(network)[k] is v for k, v in attributes.items())
    assert weights == [id(weight) for weight in network._flat_weights] and network.training
    assert all(map(torch.equal, numbers, network._flat_weights)) and torch.equal(state, torch.get_rng_state())

    with torch.no_grad():
        network.eval()(x)
    plain = kind(3, 6, num_layers=2, batch_first=True)
    plain.load_state_dict({name: getattr(network, name).detach() for name in plain.state_dict()})
    assert torch.equal(measured, lyapunov_spectrum(plain, x).exponents)
    network.train()(x)[0].sum().backward()


@pytest.mark.filterwarnings("ignore")
def test_a_step_of_the_optimiser_is_seen():
    """Without it, the spectrum stays that of the weights before."""
    torch.manual_seed(0)
    network = nn.utils.weight_norm(nn.RNN(3, 6), "weight_hh_l0")
    x = trained(network)
    stale, network.weight_hh_l0_g.data = network.weight_hh_l0.detach().clone(), network.weight_hh_l0_g.data * 2
    used = stack_in_use(network).layers[0].weight_hh[0]
    assert torch.equal(stack_of(network).layers[0].weight_hh[0], stale)
    assert torch.equal(used, torch._weight_norm(network.weight_hh_l0_v, network.weight_hh_l0_g, 0))
    measured = lyapunov_spectrum(network, x).exponents
    network(x)
    assert torch.equal(measured, lyapunov_spectrum(network, x).exponents)


@pytest.mark.filterwarnings("ignore")
def test_cells_have_hooks_too():
    cell = nn.utils.weight_norm(nn.GRUCell(3, 6), "weight_hh")
    cell.weight_hh_g.data *= 2
    expected = torch._weight_norm(cell.weight_hh_v, cell.weight_hh_g, 0)
    assert torch.equal(stack_in_use(cell).layers[0].weight_hh[0], expected)


class WeightDrop(nn.Module):
    """Sets the weights of the network inside in its own forward."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner
        self.raw = nn.Parameter(inner._parameters.pop("weight_hh_l0").detach())
        inner.weight_hh_l0 = self.raw.clone()

    def forward(self, *arguments):
        self.inner.weight_hh_l0 = nn.functional.dropout(self.raw.clone(), 0.5, training=self.training)
        return self.inner(*arguments)


class OfTokens(nn.Module):
    """Cannot be called with the network's input."""

    def __init__(self):
        super().__init__()
        self.embedding, self.drop = nn.Embedding(5, 3), WeightDrop(nn.LSTM(3, 6))

    def forward(self, ids):
        return self.drop(self.embedding(ids))


@pytest.mark.parametrize("logs", [False, True])
def test_a_module_around_the_network_sets_its_weights(logs):
    """Also beside a hook that sets nothing."""
    outer = OfTokens()
    drop, calls = outer.drop, []
    if logs:
        drop.inner.register_forward_pre_hook(lambda *_: calls.append(1))
    trained(drop.inner, drop)
    now = drop.inner.weight_hh_l0
    used = stack_in_use(drop.inner, [drop, outer]).layers[0].weight_hh[0]
    assert torch.equal(used, drop.raw) and not torch.equal(used, now) and drop.inner.weight_hh_l0 is now
    assert drop.training and "forward" not in vars(drop.inner)


def test_weights_that_nobody_is_known_to_compute_are_refused_in_one_line():
    outer = OfTokens()
    drop = outer.drop
    with pytest.raises(UserError, match=r"^weight_hh_l0 of LSTM are computed .* forward pre-hook .*$"):
        stack_in_use(drop.inner, [outer])
    with torch.no_grad():
        drop.inner.weight_hh_l0 = drop.raw.clone()
    assert torch.equal(stack_in_use(drop.inner, [outer]).layers[0].weight_hh[0], drop.raw)


def test_a_hook_that_fails_is_left_to_the_forward_pass():
    network = nn.GRU(3, 6)
    network.register_forward_pre_hook(lambda _, arguments: arguments[1].size())
    assert torch.equal(stack_in_use(network).layers[0].weight_hh[0], network.weight_hh_l0)
