"""The figures and the page of a sweep of very many variants."""

from dataclasses import replace

import numpy as np
import pytest

from aelle.analysis.embeddings import Agreement, Comparison, Embedding
from aelle.analysis.findings import Findings
from aelle.analysis.importance import importance
from aelle.analysis.plane import TrainedPlane, trained_plane
from aelle.analysis.shares import shares
from aelle.model.estimator import AeLLE
from aelle.report.figures import MAX_SPECTRA, figures
from aelle.report.style import MAX_POINTS, note
from aelle.report.write import write_report
from findings import found_of, with_chances
from sweeps import synthetic

EPOCHS = 20


@pytest.fixture(scope="module", params=[3000, pytest.param(20_000, marks=pytest.mark.long)])
def large(request) -> Findings:
    """As of so many variants with ten hyperparameters. What is fitted was fitted to 200 of them."""
    V, rng = request.param, np.random.default_rng(0)
    sweep = synthetic(V, EPOCHS, 32)
    columns = {f"rate_{i}": 10 ** rng.uniform(-6, 0, V) for i in range(8)} | {"cell": rng.choice(["lstm", "gru"], V)}
    sweep = replace(sweep, hyperparameters=["p", *columns], variants=sweep.variants.assign(**columns))
    small = sweep.take(np.arange(200))
    found, fitted = found_of(small), trained_plane(small, AeLLE(0.5, epochs=2))
    assert found.early is not None
    points = rng.standard_normal((V, 2))
    plane = TrainedPlane(sweep, points, points, fitted.region, rng.uniform(size=V) < 0.2, fitted.scores)
    shown = [Embedding(title, points, np.arange(V)) for title in ("weights, PCA", "spectra, PCA", "AeLLE, t-SNE")]
    comparison = Comparison(shown, [(Agreement(0.7, 0.5, 9), Agreement(0.7, 0.5, 9))] * 3, None, "none")
    early = replace(found.early, tests=[rng.permutation(V)[: V * 4 // 5], *found.early.tests[1:]])
    parts = {"plane": plane, "comparison": comparison, "importance": importance(sweep), "shares": shares(sweep)}
    found = replace(found, sweep=sweep, complete=sweep, early=early, **parts)
    return with_chances(found, rng.uniform(size=V))


def test_the_page_of_very_many_variants_stays_small(large, tmp_path, monkeypatch):
    monkeypatch.setattr("aelle.report.write.write_stills", lambda *_: None)
    # Savings are of the test variants that were scored.
    monkeypatch.setattr("aelle.report.write.savings", lambda early, _: None)
    report = write_report(tmp_path, large)
    assert report.stat().st_size < 15e6
    html = report.read_text().split("<body>")[1]
    V = large.sweep.size
    assert f"A sample of 2,000 of {V:,} variants." in html
    assert f"A sample of 2,000 of {V * 4 // 5:,} test variants." in html
    assert html.count("<tr>") < 500


def test_figures_of_very_many_variants_have_a_sample_in_each_panel(large):
    drawn = figures(large)
    for name in ("losses", "features", "plane", "embeddings", "planes"):
        panels: dict[str, int] = {}
        for trace in drawn[name].data:
            if trace.type == "scatter":
                panels[trace.xaxis] = panels.get(trace.xaxis, 0) + len(trace.x)
        assert set(panels.values()) == {MAX_POINTS}, name
        assert "A sample of 2,000" in note(drawn[name])
    lines = sum(np.isnan(trace.x).sum() for trace in drawn["spectra"].data if trace.type == "scattergl")
    assert lines == MAX_SPECTRA and "A sample of 500 of" in note(drawn["spectra"])
    # Nothing is left out of what is counted.
    counted = sum(sum(trace.y) for trace in drawn["distribution"].data)
    assert counted == np.isfinite(large.sweep.final_loss).sum()
