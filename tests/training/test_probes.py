"""Probes that a trained embedding makes, and networks that are measured by a method of their own."""

import inspect

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.utils import prune, weight_norm
from torch.nn.utils.rnn import pack_sequence

from aelle import LyapunovCallback, lyapunov_spectrum
from aelle.errors import UserError
from aelle.tasks.initialization import Initialization
from aelle.tasks.population import Population
from trainings import probe, trainer

IDS = torch.randint(0, 7, (4, 9), generator=torch.Generator().manual_seed(0))


class OfTokens(pl.LightningModule):
    """Classifies sequences of tokens; its embedding has dropout and counts its calls."""

    def __init__(self, rnn: nn.Module | None = None, learning_rate: float = 0.1):
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Module()
        self.inner.embedding = nn.Sequential(nn.Embedding(7, 3), nn.Dropout(0.5), nn.BatchNorm1d(9))
        self.rnn = rnn or nn.GRU(3, 5, batch_first=True)
        self.head, self.learning_rate, self.calls = nn.Linear(5, 1), learning_rate, 0

    def embedded(self, ids):
        self.calls += 1
        x = self.inner.embedding(ids)
        self.log("embedded", x.mean())
        return x

    def training_step(self, ids, _):
        loss = (self.head(self.rnn(self.embedded(ids))[0][:, -1]) - 1).square().mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.learning_rate)


def fit(callbacks: list, module: OfTokens | None = None, epochs: int = 2) -> OfTokens:
    module = module or OfTokens()
    torch.manual_seed(1)
    batches = torch.utils.data.DataLoader(torch.randint(0, 7, (16, 9)), batch_size=4, shuffle=True)
    trainer(callbacks, max_epochs=epochs, log_every_n_steps=1).fit(module, batches)
    return module


PROBES = {
    "function": {"probe": lambda module: module.inner.embedding(IDS)},
    "logging function": {"probe": lambda module: module.embedded(IDS)},
    "ids": {"probe": IDS, "embedding": "inner.embedding"},
}


@pytest.mark.parametrize("given", PROBES.values(), ids=PROBES)
def test_the_embedding_of_each_epoch_drives_the_network(given):
    callback = LyapunovCallback("rnn", **given, test_probe=given["probe"])
    module = fit([callback])
    now = module.eval().inner.embedding(IDS)
    assert torch.equal(callback.spectra[2].exponents, lyapunov_spectrum(module.rnn, now).exponents)
    assert torch.equal(callback.test_spectra[2].exponents, callback.spectra[2].exponents)
    first = OfTokens()
    before = first.eval().inner.embedding(IDS)
    assert torch.equal(callback.spectra[0].exponents, lyapunov_spectrum(first.rnn, before).exponents)
    assert not torch.equal(before, now)


@pytest.mark.parametrize("given", PROBES.values(), ids=PROBES)
def test_calling_it_leaves_no_trace_bit_for_bit(given):
    """Neither in weights, running means and counters, nor in random states and logged values."""
    watched, alone = fit([LyapunovCallback("rnn", **given)]), fit([])
    for (name, tensor), other in zip(watched.state_dict().items(), alone.state_dict().values(), strict=True):
        assert torch.equal(tensor, other), name
    assert watched.calls == alone.calls and watched.training == alone.training
    metrics = watched.trainer.callback_metrics
    assert {name: float(value) for name, value in metrics.items() if "/" not in name} == {
        name: float(value) for name, value in alone.trainer.callback_metrics.items()
    }


@pytest.mark.parametrize("given", [PROBES["function"], PROBES["ids"]])
def test_an_embedding_that_has_diverged_gives_nan(given):
    callback = LyapunovCallback("rnn", **given)
    fit([callback], OfTokens(learning_rate=1e30))
    assert callback.spectra[0].exponents.isfinite().all()
    spectrum = callback.spectra[2]
    assert spectrum.exponents.shape == (5,) and spectrum.exponents.isnan().all() and spectrum.per_sequence.isnan().all()
    assert int(spectrum.clamped) == 0


def test_a_probe_that_is_not_finite_is_refused():
    x = torch.zeros(2, 3, 3)
    x[0, 0, 0] = torch.inf
    with pytest.raises(ValueError, match="inputs contains NaN or infinite"):
        fit([LyapunovCallback("rnn", x)])


@pytest.mark.parametrize(
    "result, message",
    [
        (torch.zeros(4, 9), r"probe\(module\) returns shape \[4, 9\]: return .*\[B, T, I\]"),
        (torch.zeros(0, 9, 3), r"probe\(module\) returns shape \[0, 9, 3\]"),
        (torch.zeros(4, 0, 3), r"at least one sequence and one step"),
        (torch.zeros(()), r"probe\(module\) returns shape \[\]"),
        (torch.zeros(4, 9, 2), r"inputs of shape \[4, 9, 2\]: give \[B, T, 3\]"),
        (torch.zeros(4, 9, 3, dtype=torch.complex64), r"probe\(module\) in torch.complex64: give real"),
        ([[0.0]], r"probe\(module\) of type list: give a tensor"),
        (None, r"probe\(module\) of type NoneType: give a tensor"),
    ],
)
def test_what_a_function_must_return(result, message):
    module = OfTokens()
    with pytest.raises(ValueError, match=message) as error:
        fit([LyapunovCallback("rnn", lambda _: result)], module)
    assert "\n" not in str(error.value) and module.training and "log" not in vars(module)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_functions_may_return_any_floating_point_numbers(dtype):
    callback = LyapunovCallback("rnn", lambda _: torch.ones(1, 1, 3, dtype=dtype))
    fit([callback], epochs=1)
    assert callback.spectra[1].exponents.isfinite().all() and callback.spectra[1].stderr.isnan().all()


@pytest.mark.parametrize(
    "given, message",
    [
        ({"probe": IDS}, r"probe of shape \[4, 9\] in torch.int64.*embedding="),
        ({"probe": probe(), "test_probe": IDS}, r"test_probe of shape \[4, 9\]"),
        ({"probe": None, "steps": 3, "embedding": "e"}, "embedding='e' and probe is None"),
        ({"probe": lambda _: 0, "embedding": "e"}, r"embedding='e' and probe is a function: give token ids \[B, T\]"),
        ({"probe": IDS, "embedding": "e", "test_probe": lambda _: 0}, "embedding='e' and test_probe is a function"),
        ({"probe": np.zeros((2, 3, 3))}, "probe of type ndarray: give a tensor, e.g. torch.as_tensor"),
        ({"probe": [[[0.0]]]}, "probe of type list: give a tensor"),
        ({"probe": pack_sequence([torch.zeros(3, 3)])}, r"probe is a PackedSequence: give a tensor \[B, T, I\]"),
        ({"probe": torch.zeros(2, 3, 3, device="meta")}, "probe is on the meta device, without values"),
        ({"probe": torch.nested.nested_tensor([torch.zeros(3, 3)])}, "probe is a nested tensor: give a dense one"),
        ({"probe": torch.zeros(2, 3, 3).to_sparse()}, "probe is torch.sparse_coo: give a dense tensor"),
        ({"probe": torch.zeros(2, 3, 3, dtype=torch.cfloat)}, "probe in torch.complex64: give real numbers"),
        ({"probe": probe(), "test_probe": np.zeros((2, 3, 3))}, "test_probe of type ndarray: give a tensor"),
        ({"probe": IDS, "embedding": nn.Embedding(7, 3)}, "embedding is of type Embedding: give its attribute path"),
        ({"network": nn.GRU(3, 5), "probe": probe()}, "network is of type GRU: give its attribute path in the Ligh"),
        ({"probe": probe(), "k": 1.5}, "k=1.5: give a whole number of at least 1"),
        ({"probe": None, "steps": 0}, "steps=0: give a whole number of at least 1"),
        ({"probe": probe(), "over": "both"}, "over='both': choose"),
        ({"probe": probe(), "dtype": torch.float16}, "dtype=torch.float16: choose"),
    ],
)
def test_probes_that_say_too_little_or_too_much_are_refused_at_once(given, message):
    """Types are checked at run time here, but not where people use it."""
    init = inspect.unwrap(LyapunovCallback.__init__)
    with pytest.raises(ValueError, match=message) as error:
        init(object.__new__(LyapunovCallback), **{"network": "rnn", **given})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        (IDS.float(), "in torch.float32: give token ids as whole numbers, e.g. probe.long()"),
        (IDS + 10, r"in torch.int64: its ids are 10 to 16; give ids from 0 to 6"),
        (IDS - 1, r"its ids are -1 to 5; give ids from 0 to 6"),
        (IDS[:, :5], "in torch.int64: .*; give what it takes in training"),
    ],
)
def test_what_an_embedding_cannot_take_is_one_line(ids, says):
    path = "inner.embedding" if ids.shape[1] < 9 else "inner.embedding.0"
    with pytest.raises(UserError, match=rf"embedding='{path}' cannot take probe \[4, \d\] .*{says}") as error:
        fit([LyapunovCallback("rnn", ids, embedding=path)])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path, message", [("embedding", "not an attribute"), ("learning_rate", "a float")])
def test_a_wrong_path_of_an_embedding_is_told_the_right_ones(path, message):
    with pytest.raises(UserError, match=rf"embedding='{path}' is {message} of OfTokens: .*\['inner.embedding.0'\]"):
        fit([LyapunovCallback("rnn", IDS, embedding=path)])


def test_a_linear_embedding_takes_vectors():
    module = OfTokens(nn.RNN(5, 5, batch_first=True))
    module.rnn, module.projection = nn.GRU(3, 5, batch_first=True), nn.Linear(2, 3)
    callback = LyapunovCallback("rnn", probe(), embedding="projection")
    fit([callback], module)
    expected = lyapunov_spectrum(module.rnn, module.projection(probe()))
    assert torch.equal(callback.spectra[2].exponents, expected.exponents)


def test_a_population_may_have_one_too():
    class Members(OfTokens):
        def __init__(self):
            super().__init__()
            self.network = Population("rnn", 3, 5, 1, [Initialization(p=p) for p in (0.2, 0.5)], [1, 2])

        def training_step(self, ids, _):
            return self.network(self.inner.embedding(ids).expand(2, -1, -1, -1)).square().sum()

    for rate, finite in ((0.1, True), (1e30, False)):
        callback, module = LyapunovCallback("network", IDS, embedding="inner.embedding"), Members()
        module.learning_rate = rate
        fit([callback], module)
        assert callback.spectra[2].exponents.shape == (2, 5)
        assert callback.spectra[2].exponents.isfinite().all() == finite


class Squashed(nn.LSTM):
    def forward(self, x, state=None):
        return super().forward(x.tanh(), state)


class Step(nn.Module):
    def __init__(self, lstm):
        super().__init__()
        self.lstm = lstm

    def forward(self, x, state):
        h, c = state
        _, (h, c) = self.lstm(x[None, None], (h[None, None], c[None, None]))
        return h[0, 0], c[0, 0]


class Measured(Squashed):
    def spectrum(self, probe, **options):
        zeros = torch.zeros(self.hidden_size)
        return lyapunov_spectrum(Step(self), probe, state=(zeros, zeros), diverged="nan", **options)


@pytest.mark.parametrize("due", [1, [2]])
def test_a_subclass_with_its_own_forward_is_named_with_the_reason_and_the_remedy(due):
    """Before training, whenever its turn would come."""
    callback = LyapunovCallback("rnn", torch.zeros(2, 4, 3), every_n_epochs=due)
    module = OfTokens(Squashed(3, 5, batch_first=True))
    with pytest.raises(UserError) as error:
        fit([callback], module)
    said = str(error.value)
    assert said.startswith(
        "network='rnn': Squashed has a forward of its own, which may compute something else than LSTM"
    )
    assert "aelle.lyapunov_spectrum" in said and "step(x, state)" in said and "\n" not in said and module.calls == 0


def test_its_own_method_measures_it():
    callback = LyapunovCallback("rnn", torch.randn(2, 4, 3), over="full", k=3)
    module = fit([callback], OfTokens(Measured(3, 5, batch_first=True)), epochs=1)
    plain = nn.LSTM(3, 5, batch_first=True)
    plain.load_state_dict(module.rnn.state_dict())
    expected = lyapunov_spectrum(plain, callback.probe.tanh(), over="full", k=3).exponents
    torch.testing.assert_close(callback.spectra[1].exponents, expected, rtol=0, atol=1e-6)


def test_it_may_diverge():
    callback = LyapunovCallback("rnn", torch.randn(2, 4, 3))
    fit([callback], OfTokens(Measured(3, 5, batch_first=True), learning_rate=1e30))
    assert callback.spectra[0].exponents.isfinite().all() and callback.spectra[2].exponents.isnan().all()


def pruned(rnn: nn.Module) -> nn.Module:
    prune.random_unstructured(rnn, "weight_hh_l0", 0.3)
    return rnn


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("hooked", [lambda rnn: weight_norm(rnn, "weight_hh_l0"), pruned])
def test_the_spectrum_is_of_the_weights_after_the_last_step(hooked):
    """And training is the same with and without it."""

    def module() -> OfTokens:
        torch.manual_seed(2)
        return OfTokens(hooked(nn.GRU(3, 5, batch_first=True)))

    x = torch.randn(2, 4, 3)
    callback = LyapunovCallback("rnn", x)
    watched, alone = fit([callback], module()), fit([], module())
    assert all(map(torch.equal, watched.state_dict().values(), alone.state_dict().values()))
    watched.rnn(x)
    plain = nn.GRU(3, 5, batch_first=True)
    plain.load_state_dict({name: getattr(watched.rnn, name).detach() for name in plain.state_dict()})
    assert torch.equal(callback.spectra[2].exponents, lyapunov_spectrum(plain, x).exponents)


class Dropped(nn.Module):
    """WeightDrop: sets the network's weights in its own forward."""

    def __init__(self):
        super().__init__()
        self.inner = nn.LSTM(3, 5, batch_first=True)
        self.raw = nn.Parameter(self.inner._parameters.pop("weight_hh_l0").detach())
        self.inner.weight_hh_l0 = self.raw.clone()

    def forward(self, *arguments):
        self.inner.weight_hh_l0 = nn.functional.dropout(self.raw.clone(), 0.5, training=self.training)
        return self.inner(*arguments)


def test_weights_that_a_module_around_sets_are_those_without_dropout():
    x = torch.randn(2, 4, 3)
    callback = LyapunovCallback("rnn.inner", x)
    torch.manual_seed(3)
    watched = fit([callback], OfTokens(Dropped()))
    torch.manual_seed(3)
    alone = fit([], OfTokens(Dropped()))
    assert all(map(torch.equal, watched.state_dict().values(), alone.state_dict().values()))
    plain = nn.LSTM(3, 5, batch_first=True)
    state = {name.removeprefix("inner."): tensor for name, tensor in watched.rnn.state_dict().items()}
    plain.load_state_dict({**{k: v for k, v in state.items() if k != "raw"}, "weight_hh_l0": state["raw"]})
    assert torch.equal(callback.spectra[2].exponents, lyapunov_spectrum(plain, x).exponents)
