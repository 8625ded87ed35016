"""A step is one map or refused: also where noise vanishes in its first state, and where it changes later."""

import copy
import functools
import io
import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from aelle import lyapunov_spectrum
from reference import henon

ONE, ZERO = torch.ones(1), torch.zeros(8)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.i, self.h, self.drop = nn.Linear(2, 8), nn.Linear(8, 8), nn.Dropout(0.5)
        self.double()

    def forward(self, x, h):
        return torch.tanh(self.i(x) + self.h(self.drop(h)))

    def other(self, x, h):
        return self(x, h)


X = torch.randn(1, 60, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
W = torch.randn(600, 600, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 600**0.5
NET = Net()
OWN = np.random.default_rng(0)
OF_TORCH = torch.Generator().manual_seed(0)


def numpy_noise(x, h):
    return torch.tanh(0.1 + W @ h * (1 + 0.5 * np.random.randn()))


RANDOM = {
    "dropout around": (lambda x, h: NET(x, h), dict(inputs=X, state=ZERO)),
    "torch": (lambda _, h: torch.tanh(h * (2 + torch.randn_like(h))), dict(state=torch.zeros(1), steps=20)),
    "NumPy, pushed": (numpy_noise, dict(state=torch.zeros(600), steps=5, k=3)),
    "NumPy's own": (lambda _, h: h * (1 + OWN.random()), dict(state=ZERO, steps=5)),
    "Python": (lambda _, h: h * (1 + random.random()), dict(state=ZERO, steps=5)),
    "own": (
        lambda _, h: h * (1 + torch.rand(8, dtype=h.dtype, generator=OF_TORCH)),
        dict(state=ZERO, steps=5),
    ),
    "jacobian": (
        lambda _, h: h / 2,
        dict(state=ZERO, steps=5, jacobian=lambda _, h: torch.rand(8, 8, dtype=h.dtype)),
    ),
}


@pytest.mark.parametrize("name", RANDOM)
def test_noise_that_vanishes_at_zero_is_refused(name):
    step, arguments = RANDOM[name]
    before = torch.get_rng_state(), np.random.get_state()[2], random.getstate()
    with pytest.raises(ValueError, match=r"is not one map: .*stochastic=True") as caught:
        lyapunov_spectrum(step, **arguments)
    assert "\n" not in str(caught.value)
    assert torch.equal(torch.get_rng_state(), before[0]) and np.random.get_state()[2] == before[1]


def test_a_global_generator_that_moves_is_named():
    with pytest.raises(ValueError, match="it draws random numbers from PyTorch's global generator"):
        lyapunov_spectrum(lambda _, h: h + 0 * torch.rand(8), state=ZERO, steps=5)


def test_noise_of_one_s_own_is_refused_of_stochastic_steps_too():
    """At zero, too, where it vanishes."""
    for noise in (OWN.random, np.random.random, lambda: torch.rand((), generator=OF_TORCH)):
        with pytest.raises(ValueError, match="from no other generator"):
            lyapunov_spectrum(
                lambda _, h, noise=noise: h * (1 + noise()),
                state=ZERO,
                steps=5,
                stochastic=True,
                generator=torch.Generator(),
            )


def test_noise_that_begins_later_is_found():
    """And the random numbers drawn until then are given back."""
    before = torch.get_rng_state()

    def step(_, h):
        return h - 0.05 if h[0] > 0.5 else (h * (1 + 0.1 * torch.rand(1))).clamp(max=0.5)

    with pytest.raises(ValueError, match="is not one map"):
        lyapunov_spectrum(step, state=ONE, steps=100)
    assert torch.equal(torch.get_rng_state(), before)


WAYS = {
    "vectorised": dict(state=ONE, steps=1000),
    "jacobian": dict(state=ONE, steps=1000, jacobian=lambda _, x: torch.full((1, 1), 0.25, dtype=x.dtype)),
    "pushed": dict(state=torch.ones(600), steps=150, k=2),
    "one by one": dict(state=ONE, steps=150),
    "stochastic": dict(state=ONE, steps=150, stochastic=True, generator=torch.Generator()),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("period", [20, 50])
def test_a_counter_is_found_whatever_the_way(way, period):
    calls = []

    def step(_, x):
        if way == "one by one" and x[0] > 1e9:
            return x
        calls.append(None)
        return x * (2.0 if (len(calls) // period) % 2 else 0.25)

    with pytest.raises(ValueError, match="step is not one map"):
        lyapunov_spectrum(step, **WAYS[way])


def test_a_change_between_two_blocks_is_found():
    """The derivatives of a block are its last calls: the first of the next block finds another map. One that changes
    before the first measured step, between the checks, is from then on one map, and measured rightly."""
    found = 0
    for change in range(20, 60):
        calls = []

        def step(_, x, calls=calls, change=change):
            calls.append(None)
            return x * (0.5 if len(calls) < change else 0.25)

        try:
            exponent = float(lyapunov_spectrum(step, state=ONE, steps=100).exponents[0])
        except ValueError as error:
            assert "step is not one map" in str(error)
            found += 1
        else:
            assert abs(exponent - np.log(0.25)) < 1e-9
    assert found >= 30


def test_where_the_step_is_not_defined_it_is_not_asked():
    """log and a table, at the border of where they have values."""

    def fails(_, x):
        if x[0] < 1 or x[0] > 1:
            raise KeyError("outside")
        return x * 1

    table = torch.arange(3.0, dtype=torch.float64)
    steps = [
        fails,
        lambda _, x: x.log() + 1,
        lambda _, x: torch.sqrt(x - 1) + 1 if x[0] > 1 else x * 0.5 + 0.5,
        lambda _, x: x * table[x.long()],
    ]
    for step in steps:
        assert lyapunov_spectrum(step, state=ONE, steps=10).exponents.shape == (1,)


def test_asking_again_costs_little():
    calls = []

    def step(_, x):
        calls.append(None)
        return torch.tanh(x * 2) if x[0] > 0 else x

    lyapunov_spectrum(step, state=ONE, steps=100)
    before, calls = len(calls), calls.clear() or calls
    lyapunov_spectrum(step, state=ONE, steps=500)
    assert len(calls) - before < 400 * 17 / 16 + 1


def test_of_a_partial_method_the_module_is_measured_in_evaluation_mode():
    net = Net()
    expected = lyapunov_spectrum(net, X, state=ZERO).exponents
    for step in (functools.partial(net.other), functools.partial(functools.partial(net.forward)), net.other):
        assert torch.equal(lyapunov_spectrum(step, X, state=ZERO).exponents, expected)
    assert net.training and net.drop.training


class Restless(nn.Module):
    """Weights computed in a hook, running statistics, a counter, and its last state."""

    def __init__(self, reassigns: bool):
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.lin = torch.nn.utils.weight_norm(nn.Linear(4, 4))
        self.double()
        self.register_buffer("mean", torch.zeros(4, dtype=torch.float64))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.last, self.seen, self.reassigns = None, [], reassigns

    def forward(self, _, h):
        if self.reassigns:
            self.mean, self.calls = self.mean * 0.9 + 0.1 * h, self.calls + 1
        else:
            self.mean.lerp_(h, 0.1)
            self.calls += 1
        self.last = h
        self.seen.append(h)
        return torch.tanh(self.lin(h))


@pytest.mark.parametrize("reassigns", [False, True], ids=["in place", "reassigned"])
@pytest.mark.parametrize("use", ["module", "method", "closure", "object", "function"])
def test_a_module_that_changes_itself_is_left_as_it_was(use, reassigns):
    torch.manual_seed(0)
    net = Restless(reassigns)
    weight = net.lin.weight

    class Object:
        def __init__(self):
            self.net = net

        def __call__(self, x, h):
            return self.net(x, h)

    def inner(h):
        return net(None, h)

    steps = {
        "module": net,
        "method": net.forward,
        "closure": lambda x, h: net(x, h),
        "object": Object(),
        "function": lambda x, h: inner(h),
    }
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    found = lyapunov_spectrum(steps[use], state=torch.ones(4), steps=50)
    assert net.lin.weight is weight and net.last is None and net.seen == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not net.mean.requires_grad and net.mean.grad_fn is None
    torch.save(net, io.BytesIO())
    plain = torch._weight_norm(net.lin.weight_v, net.lin.weight_g, 0)
    expected = lyapunov_spectrum(lambda _, h: torch.tanh(plain @ h + net.lin.bias), state=torch.ones(4), steps=50)
    torch.testing.assert_close(found.exponents, expected.exponents)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        copy.deepcopy(nn.utils.remove_weight_norm(net.lin))


@pytest.mark.parametrize("reassigns", [False, True])
def test_a_module_whose_result_depends_on_its_counter_is_refused(reassigns):
    class Counting(Restless):
        def forward(self, x, h):
            return super().forward(x, h) * (1 + self.calls % 2)

    net = Counting(reassigns)
    with pytest.raises(ValueError, match="step is not one map"):
        lyapunov_spectrum(net, state=torch.ones(4), steps=50)
    assert net.calls == 0


def test_a_module_with_a_sparse_buffer():
    class Sparse(nn.Module):
        def __init__(self, W):
            super().__init__()
            self.register_buffer("W", W)

        def forward(self, _, h):
            return torch.tanh(self.W @ h)

    W = torch.diag(torch.tensor([0.5, 0.25], dtype=torch.float64))
    kinds = [W, W.to_sparse()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kinds.append(W.to_sparse_csr())
    for kind in kinds:
        found = lyapunov_spectrum(Sparse(kind), state=torch.zeros(2), steps=5, jacobian=lambda _, h: W)
        assert found.exponents.exp().tolist() == pytest.approx([0.5, 0.25])


@pytest.mark.parametrize("change", [lambda x: x.clamp_(-1, 1), lambda x: x.mul_(0.5), lambda x: x.zero_()])
@pytest.mark.parametrize("state", [torch.zeros(3), (torch.zeros(3), torch.zeros(3))])
def test_a_step_may_change_its_arguments_and_not_those_of_the_caller(change, state):
    x = 5 * torch.randn(1, 20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kept = x.clone()

    def step(x, h, change=change):
        change(x)
        parts = h if isinstance(h, tuple) else (h,)
        for part in parts:
            part.mul_(0.5)
        new = tuple(torch.tanh(x + part) for part in parts)
        return new if isinstance(h, tuple) else new[0]

    found = lyapunov_spectrum(step, x, state=state)
    expected = lyapunov_spectrum(lambda x, h: torch.tanh(change(x.clone()) + 0.5 * h), x, state=torch.zeros(3))
    assert torch.equal(x, kept)
    torch.testing.assert_close(found.exponents, expected.exponents)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_inputs_in_inference_mode():
    branches = lambda _, h: henon(None, h) if h[0] < 1e9 else h  # noqa: E731
    expected = lyapunov_spectrum(branches, state=torch.zeros(2), steps=50).exponents
    with torch.inference_mode():
        assert torch.equal(lyapunov_spectrum(branches, state=torch.zeros(2), steps=50).exponents, expected)
        net, x = Net(), X.clone()
        branches = lambda x, h: net.other(x, h) if h.sum() < 1e9 else h  # noqa: E731
        with pytest.raises(ValueError, match="Inference tensors cannot be saved"):
            lyapunov_spectrum(branches, x, state=ZERO) if net.eval() else None


def raising(error):
    def step(x, h):
        raise error

    return step


@pytest.mark.parametrize(
    "error", [AssertionError(), AttributeError("a"), KeyError("a"), ZeroDivisionError("a"), OSError()]
)
def test_what_a_step_raises_is_named_in_one_line(error):
    for arguments in (dict(network=raising(error)), dict(network=lambda x, h: h / 2, jacobian=raising(error))):
        with pytest.raises(ValueError, match=f"it raised {type(error).__name__}.*with x=None") as caught:
            lyapunov_spectrum(state=ZERO, steps=5, **arguments)
        assert "\n" not in str(caught.value) and caught.value.__cause__ is error


@pytest.mark.parametrize("branches", [False, True])
def test_what_it_raises_later_is_named_too(branches):
    calls = []

    def step(_, h):
        if branches and h[0] > 1e9:
            return h
        calls.append(None)
        if len(calls) > 200:
            raise LookupError("it is late")
        return h / 2

    with pytest.raises(ValueError, match=r"step fails on a state of 8 numbers.*it raised LookupError: it is late"):
        lyapunov_spectrum(step, state=ZERO, steps=1000)


@pytest.mark.parametrize(
    "returned, message",
    [
        (lambda h: None, "step returned None: return the new state, a tensor"),
        (lambda h: {"h": h}, "step returned a dict: return the new state"),
        (lambda h: h.numpy(), "step returned a NumPy array: .*jacobian="),
        (lambda h: list(h), r"step returned 8 numbers: return torch\.stack"),
        (lambda h: (h[:3], None), "step returned a tuple of NoneType and Tensor"),
        (lambda h: (h[None],), r"step returned parts of \[\[1, 8\]\]: return one tensor \[N\], without a batch axis"),
        (lambda h: 0.5, "step returned a float"),
    ],
)
def test_what_is_no_state_is_named(returned, message):
    with pytest.raises(ValueError, match=message) as caught:
        lyapunov_spectrum(lambda _, h: returned(h), state=ZERO, steps=5)
    assert "dtype" not in str(caught.value) and "\n" not in str(caught.value)


def test_parts_of_another_size_are_refused():
    """They would be cut elsewhere at the next step."""
    with pytest.raises(ValueError, match=r"step returned parts of \[\[3\], \[2\]\]: return parts of \[\[2\], \[3\]\]"):
        lyapunov_spectrum(lambda _, s: (s[1], s[0]), state=(torch.zeros(2), torch.zeros(3)), steps=5)


def test_weights_without_values_are_named():
    net = nn.Sequential(nn.Linear(3, 3, device="meta"))
    with pytest.raises(ValueError, match=r"Sequential\.0\.weight is on the meta device"):
        lyapunov_spectrum(net, state=torch.zeros(3), steps=5)
