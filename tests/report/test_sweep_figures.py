"""Figures of a sweep as a whole."""

from dataclasses import replace

import numpy as np
import pytest

from aelle.analysis.importance import Column, Importance
from aelle.report.stills import still
from aelle.report.style import note
from aelle.report.sweep_figures import MAX_LINES, importance_figure, learning_curves, parallel_coordinates
from sweeps import synthetic


def test_learning_curves_have_every_variant_once_in_the_colour_of_its_class():
    sweep = synthetic()
    figure = learning_curves(sweep)
    assert figure.layout.yaxis.type == "log" and note(figure) == ""
    for trace in figure.data:
        lines = np.reshape(trace.y, (-1, sweep.epochs + 2))
        numbers = np.reshape(trace.customdata, lines.shape)[:, 0]
        assert np.isnan(lines[:, -1]).all() and (sweep.low_error[numbers] == (trace.name == "low-error")).all()
        np.testing.assert_allclose(lines[:, :-1], sweep.losses[numbers], atol=1e-5)
    assert sum(len(trace.x) for trace in figure.data) == 60 * (sweep.epochs + 2)


def test_of_many_variants_a_sample_is_drawn_and_the_caption_says_so():
    sweep = synthetic(1000)
    for figure in (learning_curves(sweep), parallel_coordinates(sweep)):
        assert note(figure).startswith(f"A sample of {MAX_LINES} of 1,000 variants.")
    assert sum(len(trace.x) for trace in learning_curves(sweep).data) == MAX_LINES * (sweep.epochs + 2)
    assert len(parallel_coordinates(sweep).data[0].dimensions[0]["values"]) == MAX_LINES


def test_each_hyperparameter_has_an_axis_of_its_kind():
    sweep = synthetic()
    rate, momentum = np.geomspace(1e-5, 1e-1, 60), np.where(np.arange(60) % 2, np.linspace(0, 0.9, 60), np.nan)
    columns = {
        "rate": rate,
        "momentum": momentum,
        "cell": np.array(["lstm", "gru", "rnn"] * 20),
        "size": np.array([32, 64] * 30),
        "clip": np.where(np.arange(60) % 3, 1.0, np.inf),
        "name": np.array([f"run {i}" for i in range(60)]),
    }
    sweep = replace(sweep, hyperparameters=list(columns), variants=sweep.variants.assign(**columns))
    (trace,) = parallel_coordinates(sweep).data
    axes = {axis.label: axis for axis in trace.dimensions}
    # Names of runs, which all differ, are no axis.
    assert list(axes) == ["rate", "momentum", "cell", "size", "clip", "final loss"]
    np.testing.assert_allclose(axes["rate"]["values"], np.log10(rate), atol=1e-5)
    assert "0.001" in axes["rate"].ticktext
    np.testing.assert_allclose(axes["rate"].tickvals[list(axes["rate"].ticktext).index("0.001")], -3)
    not_read = np.array(axes["momentum"]["values"])[::2]
    assert (not_read == not_read[0]).all() and not_read[0] < 0 and axes["momentum"].ticktext[-1] == "none"
    assert list(axes["cell"].ticktext) == ["gru", "lstm", "rnn"] and list(axes["size"].ticktext) == ["32", "64"]
    assert list(axes["cell"]["values"])[:3] == [1, 0, 2] and axes["clip"].ticktext[-1] == "none"
    for axis in axes.values():
        low, high = axis.range
        assert all(low <= value <= high for value in [*axis["values"], *axis.tickvals])
    diverged = ~np.isfinite(sweep.final_loss)
    loss = np.array(axes["final loss"]["values"])
    assert (loss[diverged] == loss.max()).all() and "3 diverged or larger losses" in note(parallel_coordinates(sweep))
    np.testing.assert_allclose(loss[~diverged], np.log10(sweep.final_loss[~diverged]), atol=1e-4)
    np.testing.assert_array_equal(trace.line.color, loss)


@pytest.mark.parametrize("V", [1, 2])
def test_figures_of_very_few_variants(V):
    sweep = synthetic().take(np.arange(V))
    assert learning_curves(sweep).data and parallel_coordinates(synthetic().take(np.arange(2))).data


def test_importance_is_a_dot_per_column_with_the_largest_on_top():
    columns = [Column("rate", 0.8, 0.5, 0.9), Column("spectrum", 0.2, 0.1, 0.3), Column("decay", 0.0, -0.1, 0.1)]
    figure = importance_figure(Importance(columns, "spectrum", 0.7, 0.6, 100))
    ends, hyperparameters, spectrum = figure.data
    assert list(figure.layout.yaxis.ticktext) == ["decay", "spectrum", "rate"]
    assert dict(zip(hyperparameters.x, hyperparameters.y, strict=True)) == {0.0: 0, 0.8: 2}
    assert list(spectrum.x) == [0.2] and list(spectrum.y) == [1]
    np.testing.assert_allclose(np.reshape(ends.x, (-1, 3))[:, :2], [[-0.1, 0.1], [0.1, 0.3], [0.5, 0.9]])
    assert [tick.get_text() for tick in still(figure).axes[0].get_yticklabels()] == ["decay", "spectrum", "rate"]
