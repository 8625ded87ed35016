"""The example as a user runs it."""

import importlib.util

import plotly.graph_objects as go

from sweeps import ROOT

SCRIPT = ROOT / "examples" / "spectrum_per_epoch.py"


def test_it_trains_and_plots_the_spectrum_of_every_epoch(tmp_path, capsys):
    """Learning to remember brings the largest exponent up to zero, from far below."""
    spec = importlib.util.spec_from_file_location("spectrum_per_epoch", SCRIPT)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    spectra = example.main(3, tmp_path / "plot.html")
    assert list(spectra) == [0, 1, 2, 3]
    assert spectra[0].maximum < -0.3 < spectra[3].maximum
    assert capsys.readouterr().out.count("nats per step") == 4
    assert "Lyapunov exponent" in (tmp_path / "plot.html").read_text()
    lines = example.figure(spectra).data
    assert len(lines) == 4 and all(isinstance(line, go.Scatter) and len(line.y) == 24 for line in lines)
