"""Figures of trained networks hold what they are drawn from."""

from dataclasses import replace

import numpy as np
import pytest

from aelle.analysis.embeddings import compare
from aelle.analysis.features import correlations
from aelle.analysis.plane import trained_plane
from aelle.model.estimator import AeLLE
from aelle.report.style import CLEAR, SHADE
from aelle.report.trained_figures import (
    embeddings,
    features_against_loss,
    loss_distribution,
    losses_over_hyperparameters,
    plane_in_space,
    spectra_by_loss,
    trained_plane_figure,
)
from sweeps import of_spectra, synthetic


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


def test_the_important_hyperparameters_come_first_and_orders_of_magnitude_are_logarithmic():
    sweep = synthetic()
    rate = np.geomspace(1e-5, 1e-1, 60)
    columns = {"size": np.where(np.arange(60) % 2, 32, 64), "decay": rate[::-1], "rate": rate}
    names = ["p", *columns]
    sweep = replace(sweep, hyperparameters=names, variants=sweep.variants.assign(**columns))
    plane = trained_plane(sweep, AeLLE(0.5, epochs=5))
    figure = trained_plane_figure(plane, ["rate", "size"])
    assert [note.text for note in figure.layout.annotations] == ["class", "rate", "size", "p"]
    coloured = [trace for trace in figure.data if trace.type == "scatter" and trace.marker.coloraxis == "coloraxis2"]
    shown = np.concatenate([trace.marker.color for trace in coloured])
    np.testing.assert_allclose(np.sort(shown), np.log10(rate))
    bar = figure.layout.coloraxis2.colorbar
    np.testing.assert_allclose(bar.tickvals, np.log10([float(word) for word in bar.ticktext]))

    losses = losses_over_hyperparameters(sweep, ["rate", "size"])
    titles = [losses.layout[f"xaxis{i}"].title.text for i in ("", 2, 3, 4)]
    assert titles == ["rate", "size", "p", "decay"]
    assert losses.layout.xaxis.type == "log" == losses.layout.xaxis4.type
    assert losses.layout.xaxis2.type is None and list(losses.layout.xaxis2.ticktext) == ["64", "32"]


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


def test_three_components_stand_in_space_with_the_border_of_the_region():
    plane = trained_plane(synthetic(), AeLLE(0.5, epochs=5, n_components=4, classifier="hyperplane"))
    border, *points = plane_in_space(plane).data
    shown = np.concatenate([np.stack([trace.x, trace.y, trace.z], 1) for trace in points])
    assert sorted(map(tuple, shown)) == sorted(map(tuple, plane.points[:, :3]))
    at = np.stack([border.x, border.y, border.z, np.full(len(border.x), plane.points[:, 3].mean())], 1)
    np.testing.assert_allclose(border.value, plane.region.log_odds(at))
