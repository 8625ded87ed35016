"""The figures as PNG and SVG, read back."""

import warnings
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from plotly.subplots import make_subplots

from aelle.analysis.early import study
from aelle.analysis.examples import Example
from aelle.analysis.plane import trained_plane
from aelle.model.estimator import AeLLE
from aelle.report.early_figures import planes_over_training, scores_over_epochs
from aelle.report.example_figures import example_figure
from aelle.report.figures import FIGURES
from aelle.report.still_traces import rgba
from aelle.report.stills import still, write_stills
from aelle.report.style import styled
from aelle.report.trained_figures import (
    loss_distribution,
    losses_over_hyperparameters,
    spectra_by_loss,
    trained_plane_figure,
)
from aelle.sweep.table import SweepTable, load_sweep
from example_outputs import CLASSES, SIGNAL, TEXT
from sweeps import QUICK, results_of, synthetic

SVG = "{http://www.w3.org/2000/svg}"


def words(path: Path) -> set[str]:
    """What an SVG says, as text."""
    return {"".join(element.itertext()) for element in ET.parse(path).iter(f"{SVG}text")}


def test_a_report_has_every_figure_as_png_and_svg_and_no_older_one(sweep, main):
    threshold = float(np.median(load_sweep(sweep).final_loss))
    code, out, err = main("analyze.py", f"sweep={sweep}", f"threshold={threshold}", *QUICK, stills=True)
    assert code == 0 and err == "", err
    # Twelve variants are too few to tell which hyperparameter is important, and have one architecture.
    absent, figures = {"importance", "architectures", "confusion"}, results_of(out) / "figures"
    names = [name for name in FIGURES if name not in absent]
    assert {path.name for path in figures.iterdir()} == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    for name in names:
        pixels = imread(figures / f"{name}.png")
        assert pixels.shape[1] == 2 * 1080 and pixels[..., :3].std() > 0.02, name
    assert {"final validation loss", "low-error", "p"} <= words(figures / "losses.svg")
    assert {"0 % (epoch 0)", "100 % (epoch 3)", "PC1"} <= words(figures / "planes.svg")
    assert {"ROC AUC", "recommended"} <= words(figures / "curves.svg")
    assert "all variants" not in words(figures / "curves.svg")
    assert {"epoch", "low-error", "validation loss"} <= words(figures / "learning.svg")

    (sweep / "figures").mkdir()
    for name in ("mine.png", "plane.png", "curves.svg"):
        (sweep / "figures" / name).write_text("a user's, or of an earlier report")
    code, _, err = main("analyze.py", f"sweep={sweep}", "splits=2", stills=True)
    assert code == 0 and err == "", err
    assert {path.stem for path in (sweep / "figures").iterdir()} == {
        *("mine", "learning", "distribution", "losses", "spectra", "features", "examples")
    }


def drawn_points(page: Figure) -> list[set[tuple[float, float]]]:
    """Per panel, the places of its points and of its lines' corners."""
    panels = []
    for axes in page.axes:
        lines = [line.get_xydata() for line in axes.lines]
        dots = [found.get_offsets() for found in axes.collections if len(found.get_offsets()) > 1]
        panels.append({tuple(np.round(row, 9)) for part in [*lines, *dots] for row in np.asarray(part, float)})
    return panels


def both_classes() -> SweepTable:
    """With a hyperparameter of a distribution and one of words."""
    sweep = synthetic()
    cells = np.where(np.arange(60) % 3, "lstm", "gru")
    return replace(sweep, hyperparameters=["p", "cell"], variants=sweep.variants.assign(cell=cells))


def test_panels_hold_the_points_that_plotly_has_in_them():
    sweep = both_classes()
    early, plane = study(sweep, AeLLE(0.5, epochs=4), splits=2), trained_plane(sweep, AeLLE(0.5, epochs=4))
    for figure in (trained_plane_figure(plane), planes_over_training(sweep, early), scores_over_epochs(early)):
        found = drawn_points(still(figure))
        names = list(dict.fromkeys((trace.xaxis or "x", trace.yaxis or "y") for trace in figure.data))
        for axes, (x, y) in enumerate(names):
            here = [t for t in figure.data if (t.xaxis or "x", t.yaxis or "y") == (x, y) and t.type == "scatter"]
            shown = [t for t in here if t.visible != "legendonly" and t.fill is None]
            for trace in shown:
                assert {tuple(row) for row in np.round(np.stack([trace.x, trace.y], 1), 9)} <= found[axes]
    lines = still(scores_over_epochs(early)).axes[0].lines
    assert len(lines) == 3 < len(early.summary["predictor"].unique())


def test_axes_lines_and_legends_are_those_of_the_figure():
    sweep = both_classes()
    page = still(losses_over_hyperparameters(sweep))
    p, cell = page.axes
    assert p.get_yscale() == "log" and p.get_xlabel() == "p" and cell.get_xlabel() == "cell"
    assert [tick.get_text() for tick in cell.get_xticklabels()] == ["lstm", "gru"]
    assert [list(line.get_ydata()) for line in p.lines if line.get_linestyle() == "--"] == [[0.5, 0.5]]
    assert [text.get_text() for text in page.legends[0].get_texts()] == ["low-error", "high-error"]
    assert p.get_shared_y_axes().joined(p, cell) and page.get_supylabel() == "final validation loss"
    assert 0.5 in p.get_yticks() and "0.5" in [tick.get_text() for tick in p.get_yticklabels()]


def test_bars_stand_on_each_other():
    figure = styled(go.Figure(layout={"barmode": "stack"}))
    figure.add_bar(x=[0, 1], y=[2, 3], width=[1, 1], marker_color="red")
    figure.add_bar(x=[0, 1], y=[5, 7], width=[1, 1], marker_color="rgba(0, 0, 255, 0.5)")
    below, above = still(figure).axes[0].containers
    assert [bar.get_height() for bar in below] == [2, 3] and [bar.get_y() for bar in above] == [2, 3]
    assert above[0].get_facecolor() == (0, 0, 1, 0.5)
    counts = [bar for bars in still(loss_distribution(synthetic())).axes[0].containers for bar in bars]
    assert sum(bar.get_height() for bar in counts) == np.isfinite(synthetic().final_loss).sum()


def test_the_region_of_low_error_has_its_area_and_border():
    at = np.linspace(-1, 1, 201)
    x, y = np.meshgrid(at, at)
    plane = trained_plane(synthetic(), AeLLE(0.5, epochs=4))
    (region,) = (trace for trace in trained_plane_figure(plane).data[:2] if trace.xaxis == "x")
    region.update(x=at, y=at, z=np.clip(50 * (0.36 - x**2 - y**2), -1, 1))
    figure = styled(go.Figure(region))
    areas, border = still(figure).axes[0].collections
    clear, shaded = areas.get_facecolors()
    assert clear[3] == 0 and 0 < shaded[3] < 0.2 and shaded[1] > shaded[0]
    np.testing.assert_allclose(np.hypot(*border.get_paths()[0].vertices.T), 0.6, atol=0.01)


def test_colour_scales_have_their_bar_beside_their_panel():
    page = still(spectra_by_loss(synthetic()))
    spectra, bar = page.axes
    assert bar.get_ylabel() == "final loss" and len(bar.get_yticks()) == 5
    # NaN parts the variants within a line.
    known = sum(np.isfinite(line.get_ydata()).sum() for line in spectra.lines)
    assert known == 60 * 8 and all(line.get_rasterized() for line in spectra.lines)
    characters = still(example_figure([Example(number, 0.1, TEXT) for number in (0, 1)]))
    upper = characters.axes[0]
    assert [text.get_text() for text in upper.texts][:3] == ["␣", "b", "⏎"] and upper.yaxis.get_inverted()
    assert [axes.get_title() for axes in characters.axes[:2]] == [
        "variant 0, final loss 0.1",
        "variant 1, final loss 0.1",
    ]
    classes = still(example_figure([Example(0, 0.1, CLASSES)])).axes[0]
    assert [tick.get_text() for tick in classes.get_yticklabels()] == [
        "0",
        "1",
    ] and classes.get_ylabel() == "true class"
    np.testing.assert_array_equal(classes.collections[0].get_array(), CLASSES["class_probabilities"])
    narrow = go.Figure(go.Scatter(x=[1, 2], y=[1, 2], mode="markers", marker={"color": [0.0, 1.0], "showscale": True}))
    narrow.data[0].marker.update(colorscale="Viridis")
    narrow.data[0].marker.colorbar = {"tickvals": [-1, 0, 1, 2], "ticktext": list("abcd")}
    bar = still(narrow.update_layout(height=300)).axes[1]
    assert [tick.get_text() for tick in bar.get_yticklabels()] == ["b", "c"]
    signal = still(example_figure([Example(0, 0.1, SIGNAL)])).axes[0]
    assert signal.get_ylim() == (-2, 2) and list(signal.lines[0].get_ydata()) == SIGNAL["target"]


@pytest.mark.parametrize(
    "figure",
    [
        go.Figure(go.Box(y=[1, 2])),
        go.Figure(go.Scatter(x=[1], y=[1], mode="text", text="a")),
        go.Figure(go.Scatter(x=[1], y=[1])).add_shape(type="rect", xref="x", yref="y", x0=0, x1=1, y0=0, y1=1),
        go.Figure(go.Scatter(x=[1], y=[1])).add_annotation(x=0.2, y=0.3, text="here"),
    ],
)
def test_what_has_no_still_picture_is_refused(figure):
    with pytest.raises(NotImplementedError, match="no still picture for"):
        still(styled(figure))


def test_names_are_text_and_no_mathematics_and_the_same_figure_gives_the_same_files(tmp_path):
    figure = make_subplots(1, 1, subplot_titles=["cost_$_a$<br>漢字"])
    figure.add_scatter(x=[1, 2, np.nan], y=[np.nan, np.nan, np.nan], name="$x_{", mode="lines")
    figure.add_scatter(x=[], y=[], name="none", mode="markers")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_stills(tmp_path / "one", {"a": styled(figure), "b": None})
        write_stills(tmp_path / "two", {"a": styled(figure)})
    said = words(tmp_path / "one" / "a.svg")
    assert {"$x_{", "none"} <= said and any("漢字" in word for word in said)
    for kind in ("png", "svg"):
        assert (tmp_path / "one" / f"a.{kind}").read_bytes() == (tmp_path / "two" / f"a.{kind}").read_bytes()
    assert len(list((tmp_path / "one").iterdir())) == 2


def test_colours():
    assert rgba("rgb(255, 0, 51)") == (1, 0, 0.2, 1) and rgba("rgba(0, 0, 0, 0.5)", 0.5) == (0, 0, 0, 0.25)
    assert rgba("#ff0000", 0.3) == (1, 0, 0, 0.3) and rgba("white") == (1, 1, 1, 1)
