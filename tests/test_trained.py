"""What the report says of trained networks: features, shares, the paper's words, examples and their figures."""

import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from test_analysis import QUICK, synthetic

from aelle.analysis.embeddings import compare
from aelle.analysis.examples import Example, load_examples
from aelle.analysis.features import correlations, features
from aelle.analysis.plane import trained_plane
from aelle.analysis.shares import PAPER, shares
from aelle.model.estimator import AeLLE
from aelle.report.example_figures import example_figure
from aelle.report.style import CLEAR, SHADE, log_ticks
from aelle.report.trained_figures import (
    embeddings,
    features_against_loss,
    loss_distribution,
    losses_over_hyperparameters,
    spectra_by_loss,
    trained_plane_figure,
)
from aelle.sweep.table import SweepTable, load_sweep


def of_spectra(spectra: np.ndarray, losses: list[float], **hyperparameters: list) -> SweepTable:
    V = len(losses)
    columns = {"variant": np.arange(V), "run": "r", "state": "complete", "error": None, "ended": True}
    variants = pd.DataFrame({**columns, **hyperparameters})
    grid = np.full((V, 2), np.nan)
    grid[:, 1] = losses
    grid[~np.isfinite(grid)] = np.nan
    return SweepTable("s", "t", 0.5, V, list(hyperparameters), variants, grid, np.stack([spectra, spectra], 1), [])


def test_the_features_of_a_line_and_of_a_parabola():
    at = np.linspace(0, 1, 21)
    table = features(of_spectra(np.stack([0.5 - 2 * at, 0.2 - at**2]), [1.0, 2.0], p=[3.0, 4.0]))
    np.testing.assert_allclose(table["largest exponent"], [0.5, 0.2])
    np.testing.assert_allclose(table["share above zero"], [5 / 21, 9 / 21])  # 0.5 − 2 · 0.25 = 0 is not above it.
    np.testing.assert_allclose(table["initial slope"], [-2, -0.1])
    np.testing.assert_allclose(table["final slope"], [-2, -1.9])
    np.testing.assert_allclose(table["mean"], [-0.5, 0.2 - (at**2).mean()])
    np.testing.assert_allclose(table["variance"], [4 * at.var(), (at**2).var()])
    assert list(table["p"]) == [3, 4]


def test_correlations_with_the_loss_and_with_low_error():
    largest = np.array([0.1, 0.4, 0.2, 0.3, 0.9])
    sweep = of_spectra(largest[:, None] - np.linspace(0, 1, 4), [0.1, 0.7, 0.4, 0.6, np.inf], p=[5, 1, 4, 2, 3])
    found = {one.feature: one for one in correlations(sweep)}
    assert found["largest exponent"].rho == pytest.approx(1) and found["largest exponent"].auc == 1
    # Ranks of p 5 1 4 2 3 against those of the loss 1 4 2 3 5: 1 − 6 Σd² / (n (n² − 1)) with Σd² = 34.
    assert found["p"].rho == pytest.approx(1 - 6 * 34 / 120)
    assert found["p"].auc == 1  # Low-error ones have 5 and 4, the others less: it ranks perfectly, the other way round.
    assert np.isnan(found["variance"].rho) and found["variance"].n == 5  # All spectra have one shape.
    sweep.spectra[2, -1] = np.nan
    assert {one.n for one in correlations(sweep)} == {4}


def test_features_of_one_variant_or_one_point_are_nothing_to_correlate():
    assert correlations(of_spectra(np.zeros((4, 0)), [0.1] * 4)) == []
    alone = correlations(of_spectra(np.zeros((1, 3)), [0.1]))
    assert all(np.isnan(one.rho) and np.isnan(one.auc) for one in alone)
    point = features(of_spectra(np.ones((2, 1)), [0.1, 0.2]))
    assert (point["initial slope"] == 0).all() and (point["largest exponent"] == 1).all()


def test_shares_of_low_error_per_value_and_per_interval():
    g = np.linspace(1.0001, 1.7999, 80)
    losses = np.where((g > 1.2) & (g < 1.4), 0.1, 0.9)
    losses[-1] = np.inf
    found = shares(of_spectra(np.zeros((80, 2)), list(losses), g=list(g), cell=["gru", "lstm"] * 40))
    assert [group.label for group in found["g"]] == ["1 to 1.2", "1.2 to 1.4", "1.4 to 1.6", "1.6 to 1.8"]
    assert [group.low for group in found["g"]] == [0, 20, 0, 0] and sum(group.variants for group in found["g"]) == 80
    assert [group.label for group in found["cell"]] == ["gru", "lstm"] and found["g"][3].median_loss == 0.9
    rates = shares(of_spectra(np.zeros((9, 2)), [0.1] * 9, learning_rate=list(np.geomspace(1e-4, 1, 9))))
    assert [group.label for group in rates["learning_rate"]] == [
        "0.0001 to 0.001",
        "0.001 to 0.01",
        "0.01 to 0.1",
        "0.1 to 1",
    ]
    assert [group.variants for group in rates["learning_rate"]] == [2, 2, 2, 3]


@pytest.mark.parametrize(
    ("low", "high", "first", "step"),
    [(2.0013, 2.993, 2, 0.25), (0.512, 2.49, 0.5, 0.5), (1.003, 1.79, 1, 0.2), (-3, 5, -4, 2), (0.2, 3.9, 0, 1)],
)
def test_bins_begin_and_end_at_round_numbers_near_the_drawn_ones(low, high, first, step):
    values = np.linspace(low, high, 40)
    groups = shares(of_spectra(np.zeros((40, 2)), [0.1] * 40, p=list(values)))["p"]
    edges = [first + step * i for i in range(len(groups) + 1)]
    assert [group.label for group in groups] == [f"{a:.4g} to {b:.4g}" for a, b in pairwise(edges)]
    assert [g.variants for g in groups] == np.histogram(values, edges)[0].tolist() and edges[-2] < high <= edges[-1]


def test_the_paper_is_cited_for_the_tasks_that_it_has():
    assert set(PAPER) == {"target", "charrnn", "smnist"}
    assert [PAPER[task].of_all[:4] for task in ("target", "charrnn", "smnist")] == ["22 %", "28 %", "28 %"]


def test_three_examples_at_low_middle_and_high_loss(small_sweep):
    sweep = load_sweep(small_sweep)
    examples, problems = load_examples(small_sweep, sweep)
    order = np.argsort(sweep.final_loss)
    assert problems == [] and [e.number for e in examples] == [order[1], order[6], order[10]]
    for example in examples:
        assert example.loss == sweep.final_loss[example.number]
        np.testing.assert_allclose(np.sum(example.output["class_probabilities"], 1), 1, rtol=1e-5)
        assert example.output["classes"] == list(range(10))


def test_examples_that_cannot_be_read_are_named_and_the_report_goes_on(small_sweep, tmp_path, main):
    sweep = tmp_path / "digits"
    shutil.copytree(small_sweep, sweep)
    for path in sweep.glob("*/examples.parquet"):
        path.write_bytes(b"PAR1")
    code, out, _ = main("analyze.py", f"sweep={sweep}", *QUICK)
    assert code == 0 and "examples are left out: examples.parquet" in out
    assert "examples are left out" in (sweep / "report.html").read_text()
    assert load_examples(sweep, load_sweep(sweep).take(np.arange(2))) == ([], [])


@pytest.mark.parametrize("of_the_paper", [True, False])
def test_the_papers_words_stand_beside_the_papers_tasks(small_sweep, tmp_path, main, monkeypatch, of_the_paper):
    if of_the_paper:
        monkeypatch.setitem(PAPER, "digits", PAPER["smnist"])
    sweep = tmp_path / "digits"
    shutil.copytree(small_sweep, sweep)
    threshold = float(np.median(load_sweep(sweep).final_loss))
    code, out, _ = main("analyze.py", f"sweep={sweep}", f"threshold={threshold}", *QUICK)
    assert code == 0 and "low-error:   50 %" in out and "% of" in out.split("  p ")[1]
    assert "rank correlation with the final loss: largest exponent" in out
    assert ("the paper: uncorrelated with accuracy" in out) == of_the_paper == ("the paper: 28 %" in out)
    assert ("The paper: uncorrelated with accuracy" in (sweep / "report.html").read_text()) == of_the_paper


SIGNAL = {"target": [0.0, 1.0, 0.0], "output": [0.1, 1e6, 0.0]}
TEXT = {"input": "a b", "right": " b\n", "probability": [0.5, 0.25, 1.0]}
CLASSES = {"classes": [0, 1], "class_probabilities": [[0.9, 0.1], [0.4, 0.6]]}


@pytest.mark.parametrize("output", [SIGNAL, TEXT, CLASSES])
def test_each_tasks_example_has_its_figure(output):
    figure = example_figure([Example(number, 0.1 * number, output) for number in (3, 1, 2)])
    assert figure is not None
    assert [a.text for a in figure.layout.annotations] == [f"variant {n}, final loss {0.1 * n:.3g}" for n in (3, 1, 2)]


def test_figures_hold_what_they_are_drawn_from():
    signal = example_figure([Example(0, 0.1, SIGNAL)])
    assert {trace.name: list(trace.y) for trace in signal.data} == SIGNAL and signal.layout.yaxis.range == (-2, 2)
    text = example_figure([Example(0, 0.1, TEXT)])
    assert "".join(text.data[0].text[0]).rstrip() == "␣b⏎"
    np.testing.assert_array_equal(text.data[0].z[0][:3], TEXT["probability"])
    assert example_figure([Example(0, 0.1, {"something": 1})]) is None and example_figure([]) is None


def test_the_distribution_counts_every_variant_once_and_by_class():
    sweep = synthetic()
    low, high = (trace for trace in loss_distribution(sweep).data)
    finite = np.isfinite(sweep.final_loss)
    assert sum(low.y) == sweep.low_error.sum() and sum(high.y) == (finite & ~sweep.low_error).sum()
    cut = np.log10(sweep.threshold)
    assert all(x < cut for x, y in zip(low.x, low.y, strict=True) if y)
    assert all(x > cut for x, y in zip(high.x, high.y, strict=True) if y)


def test_the_plane_shows_each_variant_once_per_panel_and_the_region_of_low_error():
    sweep = synthetic()
    sizes = np.where(np.arange(60) % 2, 32, 64)
    sweep = replace(sweep, hyperparameters=["p", "hidden_size"], variants=sweep.variants.assign(hidden_size=sizes))
    plane = trained_plane(sweep, AeLLE(0.5, epochs=20))
    figure = trained_plane_figure(plane)
    for axis in ("x", "x2", "x3"):
        traces = [trace for trace in figure.data if trace.xaxis == axis and trace.type == "scatter"]
        assert sum(len(trace.x) for trace in traces) == len(plane.points)
    assert {trace.name for trace in figure.data if trace.xaxis == "x3" and trace.type == "scatter"} == {
        "hidden_size 32",
        "hidden_size 64",
    }
    regions = [trace for trace in figure.data if trace.type == "contour"]
    assert len(regions) == 3
    x, y = np.meshgrid(regions[0].x, regions[0].y)
    log_odds = plane.region.log_odds(np.stack([x.ravel(), y.ravel()], 1)).reshape(x.shape)
    assert ((np.array(regions[0].z) > 0) == (log_odds > 0)).all() and (log_odds > 0).any() and (log_odds < 0).any()
    colours = dict(regions[0].colorscale)
    assert regions[0].contours.coloring == "heatmap" and (regions[0].zmin, regions[0].zmax) == (-1, 1)
    assert (
        regions[0].colorscale[0][1] == CLEAR and regions[0].colorscale[-1][1] == SHADE and set(colours) == {0, 0.5, 1}
    )


def test_embeddings_show_every_network_in_every_panel():
    plane = trained_plane(synthetic(), AeLLE(0.5, epochs=5))
    shown = compare(plane, None, "", ["tsne"], 0).embeddings
    figure = embeddings(plane, shown)
    for axis in ("x", "x2", "x3"):
        traces = [trace for trace in figure.data if trace.xaxis == axis and trace.type == "scatter"]
        assert sum(len(trace.x) for trace in traces) == len(plane.points)
    assert [trace.xaxis for trace in figure.data if trace.type == "contour"] == ["x2"]  # AeLLE's plane has its region.
    again = embeddings(plane, compare(plane, None, "", ["tsne"], 0).embeddings)
    assert all(np.array_equal(a.x, b.x) for a, b in zip(figure.data, again.data, strict=True))


@pytest.mark.parametrize("V", [1, 2])
def test_figures_of_very_few_variants(V):
    sweep = of_spectra(np.zeros((V, 3)), [0.3] * V, p=list(range(V)))
    for figure in (loss_distribution(sweep), losses_over_hyperparameters(sweep), spectra_by_loss(sweep)):
        assert figure.data
    assert features_against_loss(sweep, correlations(sweep)).data


@pytest.mark.parametrize(
    ("low", "high", "within"),
    [(0.1, 2, ["0.1", "0.2", "0.5", "1", "2"]), (1.8, 2.2, ["1.8", "2"]), (1e-6, 10, ["0.001", "0.01", "1", "10"])],
)
def test_round_numbers_on_a_logarithmic_axis(low, high, within):
    at, text = log_ticks(np.array([low, np.nan, high, np.inf]))
    inside = [name for place, name in zip(at, text, strict=True) if low <= place <= high]
    assert set(within) <= set(inside) and 2 <= len(inside) <= 9 and np.allclose([float(t) for t in text], at)
