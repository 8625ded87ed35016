"""A population against its members one by one."""

import pytest
import torch
from torch import nn

from aelle import lyapunov_spectrum
from aelle.lyapunov.estimate import population_spectrum
from aelle.tasks.initialization import Initialization
from aelle.tasks.population import Population
from reference import NETWORKS


def population(kind: str, V: int = 3, I: int = 2, H: int = 5, C: int = 4) -> Population:
    p = [0.3 * (v + 1) for v in range(V)]
    made = Population(kind, I, H, C, [Initialization(p=p_v) for p_v in p], range(10, 10 + V)).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for bias in (made.bias_ih_l0, made.bias_hh_l0):
            bias.copy_(0.5 * torch.randn(bias.shape, generator=generator))
    return made


def member(made: Population, kind: str, v: int) -> tuple[nn.RNNBase, nn.Linear]:
    I, (C, H) = made.weight_ih_l0.shape[-1], made.readout_weight.shape[1:]
    network, readout = NETWORKS[kind](I, H, batch_first=True).double(), nn.Linear(H, C).double()
    network.load_state_dict({n: p[v] for n, p in made.state_dict().items() if n.endswith("_l0")})
    readout.load_state_dict({"weight": made.readout_weight[v], "bias": made.readout_bias[v]})
    return network, readout


@pytest.mark.parametrize("T", [1, 7])
@pytest.mark.parametrize("kind", sorted(NETWORKS))
def test_each_member_is_the_ordinary_network_with_its_slices(kind, T):
    """Outputs, gradients of all parameters, and those of the input."""
    made = population(kind)
    x = torch.randn(3, 6, T, 2, dtype=torch.float64, requires_grad=True)
    logits = made(x)
    weight = torch.randn_like(logits)
    (logits * weight).sum().backward()
    for v in range(3):
        network, readout = member(made, kind, v)
        x_v = x[v].detach().requires_grad_()
        expected = readout(network(x_v)[0][:, -1])
        torch.testing.assert_close(logits[v], expected, atol=1e-12, rtol=1e-10)
        (expected * weight[v]).sum().backward()
        torch.testing.assert_close(x.grad[v], x_v.grad, atol=1e-12, rtol=1e-9)
        for name, p in network.named_parameters():
            torch.testing.assert_close(getattr(made, name).grad[v], p.grad, atol=1e-12, rtol=1e-9)
        torch.testing.assert_close(made.readout_weight.grad[v], readout.weight.grad, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("kind", sorted(NETWORKS))
def test_shared_sequences_may_be_expanded(kind):
    made, x = population(kind), torch.randn(6, 4, 2, dtype=torch.float64)
    torch.testing.assert_close(made(x.expand(3, -1, -1, -1)), made(x.repeat(3, 1, 1, 1)), atol=0, rtol=0)


def test_initial_weights_are_the_papers_and_a_members_own():
    together = Population("lstm", 3, 50, 10, [Initialization(p=0.4), Initialization(p=2.0)], [1, 2])
    alone = Population("lstm", 3, 50, 10, [Initialization(p=2.0)], [2])
    for name, p in alone.named_parameters():
        assert torch.equal(getattr(together, name)[1], p[0]), name
    for weight in (together.weight_hh_l0, together.weight_ih_l0):
        for v, p in enumerate((0.4, 2.0)):
            assert 0.9 * p < weight[v].abs().max() <= p
    assert (together.bias_ih_l0 == 0).all() and (together.bias_hh_l0 == 0).all()
    assert together.readout_weight.abs().max() <= 50**-0.5
    assert len(together) == 2


def test_an_unknown_cell_is_named():
    with pytest.raises(ValueError, match=r"cell='elman'.*lstm, gru, rnn"):
        Population("elman", 1, 2, 3, [Initialization()], [0])


@pytest.mark.parametrize("over", ["hidden", "full"])
@pytest.mark.parametrize("kind", sorted(NETWORKS))
def test_a_populations_spectra_are_those_of_its_members(kind, over):
    made, probe = population(kind, V=5), torch.randn(4, 9, 2)
    spectrum = population_spectrum(made.stack, probe, over=over)
    for v in range(5):
        alone = lyapunov_spectrum(member(made, kind, v)[0], probe, over=over)
        torch.testing.assert_close(spectrum.per_sequence[v], alone.per_sequence, atol=1e-6, rtol=0)
        torch.testing.assert_close(spectrum.exponents[v], alone.exponents, atol=1e-6, rtol=0)
        torch.testing.assert_close(spectrum.stderr[v], alone.stderr, atol=1e-5, rtol=0)
        assert spectrum.clamped[v] == alone.clamped


def test_a_diverged_variant_is_nan_and_leaves_the_others_alone():
    """Non-finite weights, and finite ones whose state overflows on the way."""
    made, probe = population("lstm", V=4), torch.randn(4, 9, 2)
    healthy = population_spectrum(made.stack, probe)
    with torch.no_grad():
        made.weight_hh_l0[1, 3, 2] = torch.nan
        made.bias_ih_l0[2, 0] = torch.inf
    spectrum = population_spectrum(made.stack, probe)
    for field in (spectrum.exponents, spectrum.stderr, spectrum.per_sequence, spectrum.maximum):
        assert field[1:3].isnan().all()
        assert field[[0, 3]].isfinite().all()
    torch.testing.assert_close(spectrum.exponents[[0, 3]], healthy.exponents[[0, 3]], atol=1e-6, rtol=0)
    assert spectrum.clamped.tolist() == [0, 0, 0, 0]
    assert spectrum.kaplan_yorke_dimension[1:3].isnan().all()
    with torch.no_grad():
        made.weight_hh_l0.fill_(torch.nan)
    assert population_spectrum(made.stack, probe).exponents.isnan().all()


def test_overflow_in_single_precision_spoils_only_its_variant():
    made, probe = population("gru", V=3), torch.randn(4, 9, 2)
    healthy = population_spectrum(made.stack, probe, dtype=torch.float32)
    with torch.no_grad():
        made.weight_hh_l0[1] = 1e38
        made.bias_hh_l0[1] = 1e38
    spectrum = population_spectrum(made.stack, probe, dtype=torch.float32)
    torch.testing.assert_close(spectrum.exponents[::2], healthy.exponents[::2], atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(inputs=torch.randn(4, 9, 3)), r"give \[B, T, 2\]"),
        (dict(inputs=torch.randn(9, 2)), r"inputs of shape \[9, 2\]"),
        (dict(inputs=torch.full((4, 9, 2), torch.nan)), "NaN or infinite"),
        (dict(over="both"), "over='both'"),
        (dict(dtype=torch.bfloat16), "bfloat16"),
    ],
)
def test_what_a_user_can_mend(change, message):
    with pytest.raises(ValueError, match=message):
        population_spectrum(population("rnn").stack, **{"inputs": torch.randn(4, 9, 2), **change})
