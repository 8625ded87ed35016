"""Spectra on a GPU are those of a CPU."""

import pytest
import torch
from torch import nn

from aelle import lyapunov_spectrum
from devices import NEEDS_GPU
from reference import NETWORKS, network

pytestmark = NEEDS_GPU


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"orthonormalize_every": 1},
        {"over": "full", "k": 3, "warmup": 3},
        {"product": "transposed"},
        {"history": True},
    ],
)
@pytest.mark.parametrize("kind", list(NETWORKS))
@pytest.mark.parametrize("scale", [0.2, 0.6])
def test_of_a_network(kind, scale, options):
    """Where a last digit of the inputs changes no exponent by more than a hundredth of the tolerance."""
    net = network(kind, 3, 8, layers=2, scale=scale)
    x = torch.rand(5, 12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    one, other = lyapunov_spectrum(net, x, **options), lyapunov_spectrum(net.cuda(), x.cuda(), **options)
    torch.testing.assert_close(other.per_sequence.cpu(), one.per_sequence, atol=1e-6, rtol=0)
    if one.history is not None:
        torch.testing.assert_close(other.history.cpu(), one.history, atol=1e-6, rtol=0)


def test_of_a_callable():
    A = 0.5 * torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    states = torch.rand(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def found(device: str) -> torch.Tensor:
        there = A.to(device)
        return lyapunov_spectrum(lambda x, s: torch.tanh(there @ s), state=states.to(device), steps=30).per_sequence

    torch.testing.assert_close(found("cuda").cpu(), found("cpu"), atol=1e-6, rtol=0)


def test_a_single_precision_network_is_measured_where_it_lies():
    net = nn.LSTM(3, 8, batch_first=True).cuda()
    assert lyapunov_spectrum(net, torch.rand(2, 6, 3)).exponents.device.type == "cuda"


@pytest.mark.parametrize("every", [1, "auto"])
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_a_saturated_network_is_measured(kind, every):
    """Gates that are shut make Jacobians nearly singular: the last digit of an input may decide on small exponents."""
    torch.manual_seed(0)
    net = kind(8, 32, batch_first=True)
    for parameter in net.parameters():
        nn.init.uniform_(parameter, -8, 8)
    x = torch.rand(20, 28, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = lyapunov_spectrum(net.cuda(), x.cuda(), orthonormalize_every=every)
    assert found.per_sequence.isfinite().all()
