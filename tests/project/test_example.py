"""The examples as a user runs them."""

import importlib.util
from types import ModuleType

import plotly.graph_objects as go
import pytest
import torch
from torch import nn

from sweeps import ROOT


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_trains_and_plots_the_spectrum_of_every_epoch(tmp_path, capsys):
    """Learning to remember brings the largest exponent up to zero, from far below."""
    script = example("spectrum_per_epoch")
    spectra = script.main(3, tmp_path / "plot.html")
    assert list(spectra) == [0, 1, 2, 3]
    assert spectra[0].maximum < -0.3 < spectra[3].maximum
    assert capsys.readouterr().out.count("nats per step") == 4
    assert "Lyapunov exponent" in (tmp_path / "plot.html").read_text()
    lines = script.figure(spectra).data
    assert len(lines) == 4 and all(isinstance(line, go.Scatter) and len(line.y) == 24 for line in lines)


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
