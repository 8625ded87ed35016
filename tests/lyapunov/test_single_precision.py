"""float32: states in single precision, and resolved exponents within 1e-3 of those of exact factors.

A chaotic network's trajectory in float32 departs from the one in float64. So the reference is made of the Jacobians
along the same float32 trajectory, by QR at every step in float64 or by 60 digits.
"""

import math

import pytest
import torch
from torch import nn

from aelle import lyapunov_spectrum
from aelle.cells.stack import Stack, stack_of
from aelle.lyapunov import product
from aelle.lyapunov.estimate import population_spectrum
from aelle.lyapunov.interval import Turns
from aelle.lyapunov.spectrum import floor
from reference import NETWORKS, by_many_digits, by_qr, jacobians

PROMISE = 1e-3


def saturated(kind: str, I: int, H: int, p: float, seed: int, layers: int = 1) -> nn.RNNBase:
    torch.manual_seed(seed)
    net = NETWORKS[kind](I, H, num_layers=layers, batch_first=True)
    for weight in net.parameters():
        nn.init.uniform_(weight, -p, p)
    return net


def inputs(B: int, T: int, I: int, seed: int) -> torch.Tensor:
    return torch.rand(B, T, I, generator=torch.Generator().manual_seed(seed))


def errors(net: nn.RNNBase, x: torch.Tensor, over: str = "hidden", **options) -> torch.Tensor:
    """How far float32 is from QR at every step in float64, both clamped at the floor of float32."""
    J = jacobians(net, x, over == "full").double()
    found = lyapunov_spectrum(net, x, over=over, dtype=torch.float32, **options).per_sequence.double()
    return found - by_qr(J).clamp(min=floor(torch.float32, J.shape[-1]))


@pytest.mark.parametrize("every", ["auto", 1])
def test_sixty_saturated_grus(every):
    """Their gates are shut for many units, and rows of the Jacobians differ by ten orders of magnitude."""
    worst = [
        errors(saturated("gru", 8, 32, 2 + seed % 5 / 4, seed), inputs(2, 28, 8, seed), orthonormalize_every=every)
        .abs()
        .max()
        for seed in range(60)
    ]
    assert max(worst) < PROMISE


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("I, p", [(2, 3), (8, 3)])
def test_many_steps(I, p, seed):
    assert errors(saturated("gru", I, 22, p, seed), inputs(1, 200, I, seed)).abs().max() < PROMISE


@pytest.mark.parametrize(
    "kind, H, layers, over, ps",
    [
        ("lstm", 16, 1, "full", (0.5, 1, 2, 3)),
        ("lstm", 17, 2, "hidden", (0.5, 1, 2)),
        ("lstm", 33, 1, "hidden", (1, 2, 3)),
        ("gru", 19, 2, "full", (1, 1.5, 2)),
        ("rnn", 31, 1, "hidden", (0.3, 1, 2)),
        ("rnn", 9, 3, "full", (0.5, 1)),
    ],
)
def test_other_cells_states_and_depths(kind, H, layers, over, ps):
    for p in ps:
        for seed in range(6):
            net, x = saturated(kind, 8, H, p, seed, layers), inputs(2, 28, 8, seed)
            assert errors(net, x, over).abs().max() < PROMISE, (p, seed)


def test_against_sixty_digits():
    """Where single precision's own QR has lost the smaller directions."""
    net, x = saturated("gru", 8, 12, 3, 5), inputs(1, 12, 8, 5)
    J = jacobians(net, x, full=False)
    exact = by_many_digits(J[:, 0])
    assert exact.min() > floor(torch.float32, 12)
    assert (by_qr(J.float())[0] - exact).abs().max() > PROMISE
    found = lyapunov_spectrum(net, x, dtype=torch.float32).per_sequence[0]
    torch.testing.assert_close(found.double(), exact, atol=1e-4, rtol=0)


def test_populations_warm_up_history_and_the_leading_ones():
    nets, x = [saturated("lstm", 8, 12, 2, seed) for seed in range(3)], inputs(2, 20, 8, 0)
    stacks = [stack_of(net) for net in nets]
    layers = zip(*(stack.layers for stack in stacks), strict=True)
    joined = Stack(stacks[0].cell, tuple(type(l[0])(*(torch.cat(w) for w in zip(*l, strict=True))) for l in layers))
    together = population_spectrum(joined, x, over="full", dtype=torch.float32).per_sequence
    for net, found in zip(nets, together, strict=True):
        exact = by_qr(jacobians(net, x, full=True)).clamp(min=floor(torch.float32, 24))
        torch.testing.assert_close(found.double(), exact, atol=PROMISE, rtol=0)
        rest = lyapunov_spectrum(net, x, over="full", warmup=5, k=7, history=True, dtype=torch.float32)
        exact = by_qr(jacobians(net, x, full=True), warmup=5)[:, :7]
        torch.testing.assert_close(rest.per_sequence.double(), exact, atol=PROMISE, rtol=0)
        torch.testing.assert_close(rest.history[-1], rest.exponents, atol=1e-5, rtol=0)
        assert rest.exponents.dtype == rest.history.dtype == torch.float32


@pytest.mark.parametrize("k", [8, 90])
def test_tangent_vectors_that_are_pushed_one_by_one(k):
    """Of a large callable, of which at most half of the exponents are wanted: those products are in float32."""
    cell = nn.RNNCell(2, 192)
    torch.manual_seed(0)
    for weight in cell.parameters():
        nn.init.normal_(weight, std=0.06)
    x = inputs(1, 30, 2, 0)
    exact = lyapunov_spectrum(cell, x, dtype=torch.float32).per_sequence[:, :k]
    W, V = cell.weight_hh.detach(), cell.weight_ih.detach()
    found = lyapunov_spectrum(
        lambda x, h: torch.tanh(V @ x + W @ h + cell.bias_hh.detach() + cell.bias_ih.detach()),
        x,
        state=torch.zeros(192),
        k=k,
        dtype=torch.float32,
    )
    torch.testing.assert_close(found.per_sequence, exact, atol=PROMISE, rtol=0)


LARGE = [
    ("lstm", 96, 1, "hidden", (0.1, 0.5, 1, 2.2)),
    ("lstm", 48, 1, "full", (0.15, 0.7, 2)),
    ("lstm", 40, 2, "hidden", (0.15, 1)),
    ("gru", 100, 1, "hidden", (0.1, 0.5, 2)),
    ("gru", 40, 2, "hidden", (0.3, 1)),
    ("rnn", 128, 1, "hidden", (0.05, 0.1, 0.5)),
]
"""Where products may be in float32."""


@pytest.mark.parametrize("kind, H, layers, over, ps", LARGE)
def test_resolved_exponents_of_larger_networks_are_those_of_exact_products(kind, H, layers, over, ps, monkeypatch):
    """Along the same float32 trajectory; the most is resolved of all but saturated networks."""
    for p in ps:
        for seed in range(3):
            net, x = saturated(kind, 8, H, p, seed, layers), inputs(3, 28, 8, seed)
            found = lyapunov_spectrum(net, x, over=over, dtype=torch.float32)
            with monkeypatch.context() as exactly:
                exactly.setattr("aelle.lyapunov.interval.COARSE_FROM", 10**9)
                exact = lyapunov_spectrum(net, x, over=over, dtype=torch.float32)
            some = int(found.resolved)
            assert (found.exponents - exact.exponents)[:some].abs().max() < PROMISE, (p, seed)
            assert some > 0.7 * len(found.exponents) or p >= 0.5, (p, seed, some)


def test_products_are_in_single_precision_where_that_is_enough_and_only_there(monkeypatch):
    made, factorizer = [], product.factorizer
    monkeypatch.setattr(product, "factorizer", lambda like: made.append(like.dtype) or factorizer(like))
    x = inputs(2, 20, 8, 0)
    lyapunov_spectrum(saturated("gru", 8, 100, 0.1, 0), x, dtype=torch.float32)
    assert made == [torch.float32]
    made.clear()
    wide = nn.LSTM(8, 128, batch_first=True)
    spectrum = lyapunov_spectrum(wide, x, over="full", dtype=torch.float32)
    assert made == [torch.float32, torch.float64]
    monkeypatch.setattr("aelle.lyapunov.interval.COARSE_FROM", 10**9)
    again = lyapunov_spectrum(wide, x, over="full", dtype=torch.float32)
    assert torch.equal(again.per_sequence, spectrum.per_sequence) and again.resolved == spectrum.resolved
    made.clear()
    monkeypatch.undo()
    monkeypatch.setattr(product, "factorizer", lambda like: made.append(like.dtype) or factorizer(like))
    lyapunov_spectrum(saturated("gru", 8, 100, 0.1, 0), x, dtype=torch.float32, orthonormalize_every=1)
    assert made == [torch.float64]


def test_directions_that_a_later_one_overtakes_are_turned_towards_it():
    """By as much as that one is stretched more, and the last direction has no later one."""
    turns, error = Turns(torch.zeros(1, 1, 2, dtype=torch.float64)), torch.full((1, 1, 2), 1e-6, dtype=torch.float64)
    for _ in range(2):
        turns = turns.stretched(torch.tensor([[[-8.0, 0.0]]], dtype=torch.float64)).turned(error, 8)
    first, last = turns.passed_on()[0, 0]
    assert first == pytest.approx(1e-6 * (1 + math.exp(8)), rel=1e-9) and last == 0


def test_errors_of_many_intervals_are_followed_together():
    def followed(most: int) -> Turns:
        turns, generator = Turns(torch.zeros(1, 1, 3, dtype=torch.float64)), torch.Generator().manual_seed(0)
        for _ in range(40):
            rates = torch.randn(1, 1, 3, dtype=torch.float64, generator=generator) - torch.arange(3.0)
            turns = turns.stretched(rates)
            turns = turns.turned(torch.rand(1, 1, 3, dtype=torch.float64, generator=generator), most)
        return turns

    few, many = followed(4), followed(1000)
    assert len(few.errors) <= 4 < len(many.errors) == 40
    assert (few.passed_on() >= many.passed_on() * (1 - 1e-12)).all() and few.passed_on().isfinite().all()


def test_history_and_blocks_of_products_in_single_precision():
    net, x = saturated("gru", 8, 80, 0.1, 0), inputs(1, 400, 8, 0)
    found = lyapunov_spectrum(net, x, history=True, dtype=torch.float32)
    assert found.resolved == 80 and found.stderr.isfinite().all()
    torch.testing.assert_close(found.history[-1], found.exponents, atol=1e-5, rtol=0)
    assert found.history.dtype == found.exponents.dtype == torch.float32


def test_everything_is_resolved_in_double_precision_but_what_is_at_the_floor():
    x = inputs(3, 28, 8, 0)
    for kind in NETWORKS:
        assert lyapunov_spectrum(saturated(kind, 8, 24, 0.5, 0), x).resolved == 24
    dead = nn.RNN(8, 6, batch_first=True)
    nn.init.zeros_(dead.weight_hh_l0)
    found = lyapunov_spectrum(dead, x)
    assert found.clamped == 18 and found.resolved == 0


def test_each_variant_has_its_own_number_of_resolved_exponents():
    nets, x = [saturated("rnn", 8, 70, p, 0) for p in (0.05, 0.3)], inputs(2, 28, 8, 0)
    stacks = [stack_of(net) for net in nets]
    layers = zip(*(stack.layers for stack in stacks), strict=True)
    joined = Stack(stacks[0].cell, tuple(type(l[0])(*(torch.cat(w) for w in zip(*l, strict=True))) for l in layers))
    joined.layers[0].weight_hh[1, 0, 0] = torch.nan
    found = population_spectrum(joined, x, dtype=torch.float32)
    assert found.resolved.shape == (2,) and found.resolved[0] > 40 and found.resolved[1] == 0
    assert found.of_variant(0).resolved == found.resolved[0]


@pytest.mark.parametrize("warmup, steps", [(1, 1), (3, 2), (8, 4), (20, 3)])
def test_what_a_warm_up_has_turned_is_not_resolved_afterwards(warmup, steps, monkeypatch):
    """Its error cannot be seen in the few steps that follow, and is in their exponents."""
    for kind, H, layers, over, p in (
        ("lstm", 32, 1, "full", 0.2),
        ("gru", 64, 1, "hidden", 1),
        ("rnn", 32, 2, "full", 0.5),
    ):
        for seed in range(4):
            net, x = saturated(kind, 8, H, p, seed, layers), inputs(2, warmup + steps, 8, seed)
            found = lyapunov_spectrum(net, x, over=over, warmup=warmup, dtype=torch.float32)
            with monkeypatch.context() as exactly:
                exactly.setattr("aelle.lyapunov.interval.COARSE_FROM", 10**9)
                exact = lyapunov_spectrum(net, x, over=over, warmup=warmup, dtype=torch.float32)
            some = int(found.resolved)
            if some:
                assert (found.exponents - exact.exponents)[:some].abs().max() < PROMISE, (kind, seed)


def test_the_last_of_the_running_exponents_are_the_exponents():
    net, x = saturated("lstm", 8, 96, 0.5, 0), inputs(2, 5, 8, 0)
    found = lyapunov_spectrum(net, x, history=True, dtype=torch.float32)
    torch.testing.assert_close(found.history[-1], found.exponents, atol=1e-6, rtol=0)
