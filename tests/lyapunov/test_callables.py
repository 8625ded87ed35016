"""A user's own step: that it is one map, however it is written, and however it is differentiated."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from aelle import lyapunov_spectrum
from aelle.lyapunov import driven_map
from reference import Cube, henon, lorenz_step

W = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 6**0.5


class Counter:
    """Doubles and quarters in turn: not a map of the state alone."""

    n = 0

    def __call__(self, _, x):
        self.n += 1
        return x * (2.0 if self.n % 2 else 0.25)


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.drop = nn.Linear(4, 4), nn.Dropout(0.5)

    def forward(self, _, state):
        return torch.tanh(self.linear(self.drop(state)))


def by_numpy(step, jacobian, state, steps):
    """The definition, with a QR at every step."""
    Q, total = np.eye(len(state)), np.zeros(len(state))
    for _ in range(steps):
        Q, R = np.linalg.qr(jacobian(state) @ Q)
        total, state = total + np.log(np.abs(R.diagonal())), step(state)
    return total / steps


def test_a_step_that_counts_its_calls_is_refused():
    with pytest.raises(ValueError, match="step is not one map: two calls with the same x and state") as caught:
        lyapunov_spectrum(Counter(), state=torch.ones(1), steps=100)
    assert "stochastic=True" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("steps", [100, 1000])
def test_a_step_that_changes_on_the_way_is_refused(steps):
    """Also one that has been traced: its Python code runs no more, except where it is differentiated."""
    calls = []

    def step(_, x):
        calls.append(None)
        return x * (2.0 if len(calls) < 40 else 0.25)

    with pytest.raises(ValueError, match="step is not one map: between steps"):
        lyapunov_spectrum(step, state=torch.ones(1), steps=steps)


def test_the_same_counter_with_the_time_in_the_state_is_a_map():
    """(ln 2 + ln ¼) / 2."""
    factor = lambda n: torch.where(n % 2 == 0, 2.0, 0.25)  # noqa: E731
    step = lambda _, s: (s[0] * factor(s[1]), (s[1] + 1) % 2)  # noqa: E731
    spectrum = lyapunov_spectrum(step, state=(torch.ones(1), torch.zeros(1)), steps=100)
    assert spectrum.maximum.item() == pytest.approx((math.log(2) + math.log(0.25)) / 2, abs=1e-9)


def test_a_module_is_measured_in_evaluation_mode_and_left_as_it_was():
    torch.manual_seed(0)
    net = Noisy()
    net.linear.eval()
    state = torch.full((4,), 0.3)
    before = torch.get_rng_state()
    trained = lyapunov_spectrum(net, state=state, steps=200)
    assert torch.equal(torch.get_rng_state(), before)
    assert net.training and net.drop.training and not net.linear.training
    net = net.double()
    without = lyapunov_spectrum(lambda _, s: torch.tanh(net.linear(s)), state=state, steps=200)
    torch.testing.assert_close(trained.exponents, without.exponents, atol=1e-9, rtol=0)
    method = lyapunov_spectrum(net.forward, state=state, steps=200)
    torch.testing.assert_close(method.exponents, without.exponents, atol=1e-9, rtol=0)
    assert net.drop.training


def test_a_module_that_fails_is_left_as_it_was():
    net = nn.Sequential(nn.Dropout(0.5))
    with pytest.raises(ValueError, match="step fails"):
        lyapunov_spectrum(net, state=torch.ones(3), steps=3)
    assert net[0].training


def test_a_random_function_is_refused_and_moves_nothing():
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="step is not one map"):
        lyapunov_spectrum(lambda _, s: s + torch.randn(2, dtype=s.dtype), state=torch.zeros(2), steps=5)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("branches", [False, True], ids=["vectorised", "one by one"])
def test_a_stochastic_step_has_one_noise_for_state_and_derivative(branches):
    """x' = a x, a = e^u with u uniform on [0, 1): the growth of the derivative is that of the state itself, exactly."""

    def step(_, x):
        if branches and bool(x[0] < 0):
            return x
        return x * torch.rand(1, dtype=x.dtype).exp()

    starts = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
    reached = {}

    def kept(_, x):
        new = step(None, x)
        reached[float(x[0])] = float(new[0])
        return new

    arguments = dict(state=starts, steps=400, stochastic=True)
    before = torch.get_rng_state()
    spectrum = lyapunov_spectrum(step, generator=torch.Generator().manual_seed(1), **arguments)
    again = lyapunov_spectrum(step, generator=torch.Generator().manual_seed(1), **arguments)
    other = lyapunov_spectrum(step, generator=torch.Generator().manual_seed(2), **arguments)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(spectrum.per_sequence, again.per_sequence)
    assert not torch.equal(spectrum.per_sequence, other.per_sequence)
    # The sequences have noise of their own, of mean ½ and variance 1/12.
    assert len(spectrum.per_sequence.unique()) == 3
    assert abs(spectrum.maximum.item() - 0.5) < 4 / (12 * 3 * 400) ** 0.5
    if branches:
        one = lyapunov_spectrum(
            kept, state=starts[:1], steps=30, stochastic=True, generator=torch.Generator().manual_seed(1)
        )
        path, x = [1.0], 1.0
        while x in reached:
            x = reached[x]
            path.append(x)
        assert one.maximum.item() == pytest.approx(math.log(path[30] / path[0]) / 30, abs=1e-6)


def test_dropout_that_is_a_part_of_the_system():
    torch.manual_seed(0)
    net = Noisy().double()
    arguments = dict(state=torch.full((4,), 0.3), steps=300, stochastic=True)
    one = lyapunov_spectrum(net, generator=torch.Generator().manual_seed(0), **arguments)
    with pytest.raises(ValueError, match=r"generator=torch\.Generator"):
        lyapunov_spectrum(net, **arguments)
    assert one.exponents[0] != lyapunov_spectrum(net, **arguments | dict(stochastic=False)).exponents[0]
    assert net.training and one.exponents.isfinite().all()


def test_noise_from_a_generator_of_the_step_s_own_is_refused():
    own = torch.Generator()
    with pytest.raises(ValueError, match="from no other generator"):
        lyapunov_spectrum(
            lambda _, s: s + torch.randn(2, dtype=s.dtype, generator=own),
            state=torch.zeros(2),
            steps=5,
            stochastic=True,
            generator=torch.Generator(),
        )


@pytest.mark.parametrize("steps", [3, 30, 700])
@pytest.mark.parametrize("step", ["traced", "branching", "reverse", "jacobian", "numpy"])
def test_however_it_is_differentiated_it_is_the_definition(step, steps):
    """s' = tanh(½ s³ + W s), by all ways that there are."""

    def of(s):
        return torch.tanh(0.5 * s**3 + W @ s)

    def jacobian(_, s):
        return (1 - of(s) ** 2)[:, None] * (W + (1.5 * s**2).diag())

    ways = {
        "traced": (lambda _, s: of(s), None),
        "branching": (lambda _, s: of(s) if s[0] > 0 else of(s) + 0, None),
        "reverse": (lambda _, s: torch.tanh(0.5 * Cube.apply(s) + W @ s), None),
        "jacobian": (lambda _, s: of(s), jacobian),
        "numpy": (lambda _, s: torch.from_numpy(np.tanh(0.5 * s.numpy() ** 3 + W.numpy() @ s.numpy())), jacobian),
    }
    start = 0.1 * torch.arange(6, dtype=torch.float64)
    call, J = ways[step]
    found = lyapunov_spectrum(call, state=start, steps=steps, jacobian=J).per_sequence[0]
    expected = by_numpy(
        lambda s: of(torch.as_tensor(s)).numpy(), lambda s: jacobian(None, torch.as_tensor(s)).numpy(), start, steps
    )
    torch.testing.assert_close(found, torch.as_tensor(expected), atol=2e-6, rtol=0)


def test_driven_steps_in_blocks(monkeypatch):
    """Inputs, several sequences and a state of parts, in blocks of several sizes and traced, against single steps."""
    cell = nn.LSTMCell(2, 3).double()
    x = torch.randn(4, 300, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    step = lambda x, state: cell(x[None], [part[None] for part in state])  # noqa: E731
    squeezed = lambda x, state: tuple(part[0] for part in step(x, state))  # noqa: E731
    arguments = dict(inputs=x, state=(torch.zeros(3), torch.zeros(3)), over="full", warmup=7)
    blocks = lyapunov_spectrum(squeezed, **arguments)
    monkeypatch.setattr(driven_map, "MAX_BLOCK", 1)
    monkeypatch.setattr(driven_map, "STEPS_WORTH_TRACING", 10**9)
    single = lyapunov_spectrum(squeezed, **arguments)
    torch.testing.assert_close(blocks.per_sequence, single.per_sequence, atol=1e-6, rtol=0)
    torch.testing.assert_close(blocks.per_sequence, lyapunov_spectrum(cell, x, over="full", warmup=7).per_sequence)


def test_few_of_many_exponents_are_pushed():
    N = 260
    A = torch.randn(N, N, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / N**0.5
    arguments = dict(network=lambda _, s: torch.tanh(1.5 * A @ s), state=torch.full((N,), 0.1), steps=20, warmup=3)
    few, all_ = lyapunov_spectrum(k=3, **arguments), lyapunov_spectrum(**arguments)
    torch.testing.assert_close(few.per_sequence, all_.per_sequence[:, :3], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "jacobian, message",
    [
        (
            lambda _, s: torch.zeros(3, 3, dtype=s.dtype),
            r"jacobian returned \[3, 3\] in torch.float64: return the 2 × 2",
        ),
        (lambda _, s: torch.zeros(2, 2), "in torch.float32: return"),
        (lambda _, s: [[0.0, 1.0], [1.0, 0.0]], "jacobian returned list"),
        (lambda s: s, "jacobian fails"),
    ],
)
def test_a_jacobian_of_another_shape_is_named(jacobian, message):
    with pytest.raises(ValueError, match=message):
        lyapunov_spectrum(henon, state=torch.zeros(2), steps=5, jacobian=jacobian)


def test_a_step_that_leaves_pytorch_is_refused_rather_than_taken_for_constant():
    with pytest.raises(ValueError, match="give jacobian="):
        lyapunov_spectrum(lambda _, s: torch.from_numpy(np.tanh(s.detach().numpy())), state=torch.zeros(2), steps=5)


@pytest.mark.parametrize(
    "network, state, message",
    [
        (lambda x, h: torch.tanh(torch.cat((x, h), 1)[:, :3]), torch.zeros(3), "it is called for one sequence, with x"),
        (lambda x, h: h, torch.zeros(1, 2, 3), "flatten states of more axes"),
        (lambda h: h, torch.zeros(3), "step fails"),
    ],
)
def test_steps_for_batches_are_told_how_to_be_written(network, state, message):
    with pytest.raises(ValueError, match=message) as caught:
        lyapunov_spectrum(network, torch.zeros(2, 5, 4), state=state)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_module_starts_from_a_state_in_pytorch_s_layout(kind):
    torch.manual_seed(0)
    net = kind(2, 3, num_layers=2, batch_first=True).double()
    x = torch.randn(4, 9, 2, dtype=torch.float64)
    _, reached = net(x[:, :5])
    later = lyapunov_spectrum(net, x[:, 5:], state=reached)
    parts = [reached] if kind is not nn.LSTM else reached
    flat = torch.cat([part[layer] for layer in range(2) for part in parts], -1)
    assert torch.equal(later.per_sequence, lyapunov_spectrum(net, x[:, 5:], state=flat).per_sequence)
    # The sum of all exponents, the growth of volumes, does not depend on the directions one starts with.
    going_on = lyapunov_spectrum(net, x, warmup=5)
    torch.testing.assert_close(later.per_sequence.sum(-1), going_on.per_sequence.sum(-1), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match=r"\[2, B, H\] as PyTorch has it"):
        lyapunov_spectrum(net, x, state=torch.zeros(5))


def test_a_tuple_that_is_not_in_pytorch_s_layout_is_refused():
    """h of all layers and then c of all layers would be read as h and c of each layer."""
    net, x = nn.LSTM(2, 3, num_layers=2, batch_first=True).double(), torch.randn(4, 9, 2, dtype=torch.float64)
    h, c = torch.randn(2, 2, 4, 3, dtype=torch.float64)
    flat = h.transpose(0, 1).flatten(1), c.transpose(0, 1).flatten(1)
    for state in (flat, [part[0] for part in flat], (h, c, h), (h,), (h, flat[1]), (h[0], c[0], h[1], c[1])):
        with pytest.raises(ValueError, match=r"state is a tuple of shapes.*give h and c.*\[2, B, H\] each") as caught:
            lyapunov_spectrum(net, x, state=state if isinstance(state, tuple) else tuple(state))
        assert "\n" not in str(caught.value)
    one = nn.LSTM(2, 3, batch_first=True).double()
    expected = lyapunov_spectrum(one, x, state=torch.cat((h[0], c[0]), -1)).per_sequence
    for state in ((h[:1], c[:1]), (h[0], c[0])):
        assert torch.equal(lyapunov_spectrum(one, x, state=state).per_sequence, expected)
    with pytest.raises(ValueError, match="state is a tuple of shapes"):
        lyapunov_spectrum(one, x, state=(h[0, :, :2], torch.cat((h[0, :, 2:], c[0]), -1)))


def test_exponents_per_unit_of_time():
    per_step = lyapunov_spectrum(lorenz_step, state=torch.tensor([1.0, 1.0, 20.0]), steps=500, history=True)
    per_time = lyapunov_spectrum(lorenz_step, state=torch.tensor([1.0, 1.0, 20.0]), steps=500, history=True, dt=0.01)
    for field in ("exponents", "stderr", "per_sequence", "history"):
        torch.testing.assert_close(getattr(per_time, field), getattr(per_step, field) / 0.01)
    assert per_time.dt == 0.01 and "dt=0.01" in repr(per_time)
    assert per_time.entropy_rate.item() == pytest.approx(per_step.entropy_rate.item() / 0.01)
    assert per_time.kaplan_yorke_dimension.item() == pytest.approx(per_step.kaplan_yorke_dimension.item())


@pytest.mark.parametrize("dt", [0.0, -1.0, math.inf, math.nan])
def test_the_length_of_a_step_is_a_number(dt):
    with pytest.raises(ValueError, match=r"dt=.*give the length of a step, a finite number above 0"):
        lyapunov_spectrum(henon, state=torch.zeros(2), steps=5, dt=dt)


def test_sequences_that_escape_are_nan_on_request():
    """x' = x² from ½ and ¼ shrinks, from 2 it escapes."""
    arguments = dict(network=lambda _, x: x**2, steps=15, history=True)
    starts = torch.tensor([[0.5], [2.0], [0.25]])
    with pytest.raises(ValueError, match=r"sequences \[1\].*diverged=\"nan\""):
        lyapunov_spectrum(state=starts, **arguments)
    some = lyapunov_spectrum(state=starts, diverged="nan", **arguments)
    others = lyapunov_spectrum(state=starts[[0, 2]], **arguments)
    assert some.per_sequence.isnan()[:, 0].tolist() == [False, True, False]
    assert torch.equal(some.per_sequence[[0, 2]], others.per_sequence)
    for field in ("exponents", "stderr", "history", "clamped"):
        assert torch.equal(getattr(some, field), getattr(others, field))
    none = lyapunov_spectrum(state=starts[1], diverged="nan", **arguments)
    assert none.exponents.isnan().all() and none.stderr.isnan().all()
    with pytest.raises(ValueError, match="diverged='ignore'"):
        lyapunov_spectrum(state=starts, diverged="ignore", **arguments)
