"""The examples as a user runs them."""

import importlib.util
import re
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from sweeps import ROOT

EXAMPLES = ROOT / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run an example of the gallery in an empty folder; its module, what it returns, and its picture."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def started(name: str):
        monkeypatch.delitem(sys.modules, name, raising=False)
        script = importlib.import_module(name)
        found, picture = script.main(), (tmp_path / f"{name}.svg").read_text()
        committed = (ROOT / "docs" / "gallery" / f"{name}.svg").read_text()
        assert texts(picture) == texts(committed), "the gallery's picture is that of another version of the script"
        return script, found

    return started


def texts(picture: str) -> list[str]:
    """Titles, axes and legend, without the numbers at ticks."""
    found = re.findall(r">([^<>\n]+)</text>", picture)
    return [text for text in found if re.search(r"[a-z]{3}", text)]


def test_a_random_network_becomes_chaotic_at_a_gain_of_one(run):
    """At a gain of ½ its exponents are the logarithms of the moduli of its eigenvalues."""
    _, spectra = run("spectrum_of_a_network")
    largest = {gain: float(spectrum.maximum) for gain, spectrum in spectra.items()}
    assert largest[0.5] < -0.5 and abs(largest[1.0]) < 0.05 and 0 < largest[1.5] < largest[2.0]
    torch.manual_seed(0)
    nn.RNN(4, 100, bias=False), torch.randn(8, 400, 4)
    moduli = torch.linalg.eigvals(0.5 * torch.randn(100, 100).double() / 10).abs().log().sort(descending=True).values
    torch.testing.assert_close(spectra[0.5].exponents[:90], moduli[:90], atol=0.02, rtol=0)


def test_it_trains_and_plots_the_spectrum_of_every_epoch(run, capsys):
    """Learning to remember brings the largest exponent up to zero, from far below."""
    _, spectra = run("spectrum_per_epoch")
    assert list(spectra) == [0, 1, 2, 3, 4, 5]
    assert spectra[0].maximum < -0.3 < spectra[3].maximum < 0
    assert capsys.readouterr().out.count("nats per step") == 6


def test_a_task_of_ones_own_is_learned_at_middle_learning_rates(run):
    _, (rates, losses, largest) = run("own_task")
    assert rates.shape == losses.shape == largest.shape == (24,) and len(set(rates.tolist())) == 24
    low, middle = losses[rates < 1e-3], losses[(rates > 3e-3) & (rates < 0.2)]
    assert len(low) >= 3 and low.min() > 0.5 and middle.max() < low.min()
    assert abs(spearmanr(largest, losses).statistic) < 0.5


@pytest.mark.long
def test_the_leak_of_a_cell_of_ones_own_sets_what_it_forgets(run):
    """Before training, exponents lie around log(1 − leak); training makes memories longer, and beats the best constant
    answer, whose error is 1/6."""
    script, (spectra, losses) = run("own_cell")
    assert list(spectra) == [0, 20] and (losses < 1 / 6).all()
    before = spectra[0].exponents.numpy()
    for leak, exponents in zip((0.05, 0.2, 0.8), before, strict=True):
        assert exponents.max() < 0
        assert abs(exponents.mean() - np.log1p(-leak)) < 0.3 * leak
    assert (spectra[20].maximum > spectra[0].maximum).all()
    cell, h = script.LeakyRNN(2, 5, leak=0.0), torch.randn(3, 5)
    assert torch.equal(cell(torch.randn(3, 2), h), h)


@pytest.mark.long
def test_an_objective_of_ones_own_is_pruned_by_chances(run):
    """Pruned trials are those that the first study shows to end badly: at learning rates far from its good ones."""
    optuna = pytest.importorskip("optuna")
    pytest.importorskip("aelle.integrations.optuna")
    script, (first, second) = run("optuna_pruning")
    states = [trial.state for trial in second.trials]
    pruned = [trial for trial in second.trials if trial.state == optuna.trial.TrialState.PRUNED]
    assert len(states) == 20 and 5 <= len(pruned) <= 15
    assert all(trial.user_attrs["aelle:chance"] < 0.1 for trial in pruned)
    assert all(len(trial.user_attrs["losses"]) <= script.EPOCHS for trial in pruned)
    good = [trial.params["learning_rate"] for trial in first.trials if trial.value < 0.2]
    inside = [min(good) < trial.params["learning_rate"] < max(good) for trial in second.trials]
    kept = [trial not in pruned for trial in second.trials]
    assert np.corrcoef(inside, kept)[0, 1] > 0.5
    assert second.best_value < 0.2


@pytest.mark.parametrize(("name", "layer"), [("rnn", nn.RNN), ("gru", nn.GRU), ("lstm", nn.LSTM)])
def test_a_forecaster_is_pytorchs_network_in_a_loop(name, layer):
    """Two steps of the loop are two calls of PyTorch's network, and its Jacobian by differences has the determinant
    that the exponents sum up to."""
    script = example("lorenz_closed_loop")
    torch.manual_seed(0)
    network, readout = layer(3, 4, batch_first=True).double(), nn.Linear(4, 3).double()
    w = {**dict(network.named_parameters()), **{f"readout_{part}": p for part, p in readout.named_parameters()}}
    x = torch.randn(1, 5, 3, dtype=torch.float64)

    def loop(flat):
        parts = tuple(part.view(1, 1, 4) for part in flat.split(4))
        _, last = network(readout(parts[0]), parts if name == "lstm" else parts[0])
        return torch.cat(last if name == "lstm" else (last,)).flatten()

    with torch.no_grad():
        _, last = network(x)
        state = torch.cat(last if name == "lstm" else (last,)).flatten()
        logarithms = []
        for _ in range(2):
            ahead, behind = (
                torch.stack([loop(state + sign * 1e-6 * e) for e in torch.eye(len(state)).double()]) for sign in (1, -1)
            )
            logarithms.append(torch.linalg.slogdet((ahead - behind) / 2e-6).logabsdet.item())
            state = loop(state)
        spectrum = script.closed_loop_spectrum(w, name, x, steps=2, warmup=0)
    assert len(spectrum.exponents) == len(state)
    assert spectrum.exponents.sum().item() == pytest.approx(sum(logarithms) / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("cell", "layers", "words"), [("lem", 1, "cell=lem, layers=1"), ("gru", 2, "cell=gru, layers=2")]
)
def test_a_forecaster_that_the_example_has_no_step_of_is_one_line(cell, layers, words):
    w = {f"weight_{part}_l{layer}": torch.zeros(3, 3) for layer in range(layers) for part in ("ih", "hh")}
    with pytest.raises(ValueError, match=f"^{words}: this example has the steps of rnn, gru, lstm of one layer$"):
        example("lorenz_closed_loop").closed_loop_spectrum(w, cell, torch.zeros(1, 2, 3), steps=2, warmup=0)


def test_the_closed_loops_of_a_sweep_stand_beside_the_system(main, tmp_path, capsys):
    few = ("task.data.train=40", "task.data.val=8", "task.data.test=8", "batch_size=20", "task.data.steps=6")
    tiny = ("size=4", "hidden_size=4", "epochs=1", "lyapunov.sequences=2")
    code, _, err = main("train.py", "-m", "experiment=lorenz", "cell=[rnn,gru,lstm]", *tiny, *few)
    assert code == 0, err
    example("lorenz_closed_loop").main(tmp_path / "outputs" / "lorenz", networks=4, steps=20)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "exponents in nats per unit of time" and said[3].split()[2:] == ["0.906", "0.000", "-14.572"]
    assert len(said) == 8 and all(line.startswith("variant ") and len(line.split()) == 8 for line in said[4:])
