"""Figures of trained networks, after Figs. 1, 2 and 4 of Vogt et al. (2022): losses, spectra, features, the plane.

Axes: V variant, M point of the common-length spectrum.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from aelle.analysis.embeddings import Embedding
from aelle.analysis.features import Correlation, features
from aelle.analysis.plane import TrainedPlane
from aelle.analysis.shares import groupable, spans_magnitudes
from aelle.lyapunov.features import FEATURES
from aelle.report.style import (
    CLASSES,
    GREY,
    LOW,
    SCALE,
    by_class,
    by_value,
    first_two,
    log_ticks,
    loss_axis,
    low_error_region,
    short,
    styled,
    with_note,
)
from aelle.sweep.table import SweepTable

MAX_PANELS = 3
"""Panels of hyperparameters beside the plane."""

MAX_TICKS = 5
"""Values of a hyperparameter that each have a tick."""

MAX_COLUMNS = 4
"""Panels of embeddings in a row."""


REFERENCE = {"dash": "dot", "color": "#1f5fbf"}
"""The line of the networks that the sweep is compared with."""


def losses_over_hyperparameters(sweep: SweepTable, order: Sequence[str] = ()) -> go.Figure:
    """Final validation loss against each hyperparameter that varies, in that `order`."""
    names = _ordered(groupable(sweep), order) or sweep.hyperparameters[:1]
    columns = min(len(names), MAX_COLUMNS if len(names) > 6 else 3)
    rows = -(-len(names) // columns)
    gap = 0.3 / rows
    figure = make_subplots(rows, columns, shared_yaxes=True, y_title="final validation loss", vertical_spacing=gap)
    for i, name in enumerate(names):
        row, column, values = i // columns + 1, i % columns + 1, sweep.variants[name].to_numpy()
        for trace in by_class(sweep, values, sweep.final_loss, show=i == 0):
            figure.add_trace(trace, row=row, col=column)
        figure.update_xaxes(title=name, row=row, col=column)
        known = sweep.variants[name].dropna().unique()
        if spans_magnitudes(values):
            at, text = log_ticks(values.astype(float), most=4)
            figure.update_xaxes(type="log", tickvals=at, ticktext=text, row=row, col=column)
        elif values.dtype.kind in "iuf" and len(known) <= MAX_TICKS:
            figure.update_xaxes(tickvals=known, ticktext=[short(value) for value in known], row=row, col=column)
    figure.add_hline(sweep.threshold, line={"dash": "dash", "color": GREY})
    if sweep.reference is not None:
        figure.add_hline(sweep.reference.median, line=REFERENCE)
    axis = loss_axis(sweep.final_loss, sweep.threshold)
    figure.update_yaxes(axis.axis)
    return with_note(styled(figure).update_layout(height=420 if rows == 1 else 320 * rows), axis.note)


def _ordered(names: list[str], order: Sequence[str]) -> list[str]:
    """Those in `order` first."""
    return sorted(names, key=lambda name: list(order).index(name) if name in order else len(order))


def spectra_by_loss(sweep: SweepTable) -> go.Figure:
    """The spectra after the last epoch, a line per variant, coloured by final loss."""
    order = np.argsort(-np.nan_to_num(sweep.final_loss, nan=np.inf))
    low, high = loss_axis(sweep.final_loss).axis["range"]
    # Diverged variants, and losses beyond an axis of losses, have the last colour.
    log_loss = np.clip(np.log10(np.nan_to_num(sweep.final_loss, nan=np.inf)), low, high)
    share = (log_loss - low) / (high - low)
    fraction = np.linspace(0, 1, sweep.spectra.shape[2])
    figure = go.Figure()
    bins = np.array_split(order, min(len(order), 24))
    for variants in bins:
        lines = np.concatenate([np.append(sweep.spectra[v, -1], np.nan) for v in variants])
        colour = sample_colorscale("Viridis_r", [float(share[variants].mean())])[0]
        figure.add_scattergl(
            x=np.tile(np.append(fraction, np.nan), len(variants)),
            y=lines,
            mode="lines",
            line={"color": colour, "width": 1},
            hoverinfo="skip",
            showlegend=False,
        )
    ticks = np.linspace(low, high, 5)
    bar = {"title": "final loss", "tickvals": ticks, "ticktext": [f"{10**t:.2g}" for t in ticks]}
    marker = {"color": [low, high], "colorscale": "Viridis_r", "showscale": True, "colorbar": bar, "opacity": 0}
    figure.add_scatter(x=[0, 0], y=[0, 0], mode="markers", marker=marker, hoverinfo="skip", showlegend=False)
    figure.update_xaxes(title="index of the exponent, as a fraction")
    figure.update_yaxes(title="Lyapunov exponent (nats per step)")
    return styled(figure)


def loss_distribution(sweep: SweepTable) -> go.Figure:
    """Histogram of the final losses, in bins of the log loss."""
    axis = loss_axis(sweep.final_loss, sweep.threshold)
    finite = np.log10(np.nan_to_num(sweep.final_loss, nan=np.inf)) <= axis.axis["range"][1]
    loss, cut = np.log10(sweep.final_loss[finite]), np.log10(sweep.threshold)
    # The threshold is an edge, so that no bar contains both classes.
    width = max(np.ptp(loss) / 30, 1e-3)
    first = int(np.floor((loss.min() - cut) / width))
    last = max(int(np.ceil((loss.max() - cut) / width)), first + 1)
    edges = cut + width * np.arange(first, last + 1)
    figure = go.Figure(layout={"barmode": "stack"})
    for low, name, colour in CLASSES:
        counts, _ = np.histogram(loss[sweep.low_error[finite] == low], edges)
        bounds = [f"{10**left:.3g} to {10**right:.3g}" for left, right in pairwise(edges)]
        text = [f"{count} {name}<br>loss {bound}" for count, bound in zip(counts, bounds, strict=True)]
        middles, widths = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
        figure.add_bar(x=middles, y=counts, width=widths, name=name, marker_color=colour, hovertext=text)
    figure.update_traces(hovertemplate="%{hovertext}<extra></extra>")
    figure.add_vline(cut, line={"dash": "dash", "color": GREY})
    if sweep.reference is not None:
        figure.add_vline(np.log10(sweep.reference.median), line=REFERENCE)
    at, text = axis.axis["tickvals"], axis.axis["ticktext"]
    figure.update_xaxes(
        title="final validation loss", range=[edges[0], edges[-1]], tickvals=np.log10(at), ticktext=text
    )
    figure.update_yaxes(title="number of variants", dtick=None if sweep.low_error.size > 40 else 1)
    return with_note(styled(figure), axis.note)


def features_against_loss(sweep: SweepTable, correlations: list[Correlation]) -> go.Figure:
    """The final loss against every scalar feature of the final spectrum, with the rank correlation."""
    rho = {found.feature: "" if np.isnan(found.rho) else f", ρ = {found.rho:.2f}" for found in correlations}
    titles = [name + rho[name] for name in FEATURES]
    figure = make_subplots(2, 3, shared_yaxes=True, subplot_titles=titles, y_title="final validation loss")
    table = features(sweep)
    for i, name in enumerate(FEATURES):
        traces = by_class(sweep, table[name].to_numpy(), sweep.final_loss, 0.6, show=i == 0)
        figure.add_traces(traces, rows=1 + i // 3, cols=1 + i % 3)
    axis = loss_axis(sweep.final_loss)
    figure.update_yaxes(axis.axis)
    figure.update_annotations(font_size=13)
    return with_note(styled(figure).update_layout(height=560, margin_t=90, legend_y=1.08), axis.note)


def embeddings(plane: TrainedPlane, shown: Sequence[Embedding]) -> go.Figure:
    """A panel per embedding: test variants in full colour, those that AeLLE was fitted to faint."""
    rows = -(-len(shown) // MAX_COLUMNS)
    columns = -(-len(shown) // rows)
    figure = make_subplots(
        rows, columns, subplot_titles=[embedding.title for embedding in shown], vertical_spacing=0.2 / rows
    )
    for i, embedding in enumerate(shown):
        row, column = 1 + i // columns, 1 + i % columns
        if embedding.region is not None:
            figure.add_trace(low_error_region(embedding.region, embedding.points), row=row, col=column)
        sweep, test = plane.sweep.take(embedding.rows), plane.test[embedding.rows]
        for among, opacity, show in ((~test, 0.25, False), (test, 1.0, i == 0)):
            for trace in by_class(sweep, *first_two(embedding.points), opacity, show, among):
                figure.add_trace(trace, row=row, col=column)
    figure.update_annotations(font_size=13)
    return styled(figure).update_layout(height=60 + 360 * rows, margin_t=90, legend_y=1 + 0.12 / rows)


def trained_plane_figure(plane: TrainedPlane, order: Sequence[str] = ()) -> go.Figure:
    """The plane with the region of low error: by class and, beside and below it, by the first hyperparameters of that
    `order`, of those that vary."""
    names = _ordered(groupable(plane.sweep), order)[:MAX_PANELS]
    titles = ["class", *names]
    columns = 2 if len(titles) > 1 else 1
    rows = -(-len(titles) // columns)
    figure = make_subplots(rows, columns, subplot_titles=titles, horizontal_spacing=0.14)
    x, y = first_two(plane.points)
    places = [(1 + i // columns, 1 + i % columns) for i in range(len(titles))]
    for row, column in places:
        figure.add_trace(low_error_region(plane.region, plane.points), row=row, col=column)
    for among, opacity, show in ((~plane.test, 0.18, False), (plane.test, 1.0, True)):
        for i, (row, column) in enumerate(places):
            axis = f"coloraxis{i + 1}"
            for trace in (
                by_value(plane.sweep, names[i - 1], x, y, opacity, show, among, axis)
                if i
                else by_class(plane.sweep, x, y, opacity, show, among)
            ):
                figure.add_trace(trace, row=row, col=column)
    layout: Any = figure.layout
    for i, name in enumerate(names, 2):
        bar: dict[str, Any] = {"x": layout[f"xaxis{i}"].domain[1], "thickness": 10, "outlinewidth": 0}
        domain = layout[f"yaxis{i}"].domain
        bar |= {"y": sum(domain) / 2, "len": domain[1] - domain[0]}
        values = plane.sweep.variants[name].to_numpy()
        if spans_magnitudes(values):
            at, text = log_ticks(values.astype(float), most=6)
            bar |= {"tickvals": np.log10(at), "ticktext": text}
        figure.update_layout({f"coloraxis{i}": {"colorscale": SCALE, "colorbar": bar}})
    figure.update_xaxes(title="PC1 (increases towards low error)", row=rows)
    figure.update_xaxes(matches="x").update_yaxes(matches="y")
    figure.update_layout(xaxis_matches=None, yaxis_matches=None)
    figure.update_yaxes(title="PC2", col=1)
    figure.update_annotations(font_size=13)
    return styled(figure).update_layout(height=420 if rows == 1 else 340 * rows, margin_t=100, legend_y=1 + 0.13 / rows)


GRID = 25
"""Points per axis at which the region of low error is evaluated in space."""


def plane_in_space(plane: TrainedPlane) -> go.Figure:
    """The first three components and the boundary of the low-error region; test variants are larger."""
    points, sweep = plane.points[:, :3], plane.sweep
    figure = go.Figure(_border(plane))
    for among, size, opacity in ((~plane.test, 2.5, 0.35), (plane.test, 5.0, 1.0)):
        for low, name, colour in CLASSES:
            rows = np.flatnonzero((sweep.low_error == low) & among)
            numbers = sweep.variants["variant"].iloc[rows]
            figure.add_scatter3d(
                **dict(zip("xyz", points[rows].T, strict=True)),
                mode="markers",
                marker={"size": size, "opacity": opacity, "color": colour},
                name=name,
                showlegend=size == 5.0,
                text=[
                    f"variant {n}<br>final loss {sweep.final_loss[r]:.3g}" for n, r in zip(numbers, rows, strict=True)
                ],
                hovertemplate="%{text}<extra></extra>",
            )
    figure.update_layout(
        scene={f"{axis}axis": {"title": {"text": f"PC{i}"}} for i, axis in enumerate("xyz", 1)} | {"aspectmode": "cube"}
    )
    return styled(figure).update_layout(height=560)


def _border(plane: TrainedPlane) -> go.Isosurface:
    """Where both classes are equally likely, in the bounding box of the points; further components at their mean."""
    low, high = plane.points[:, :3].min(0), plane.points[:, :3].max(0)
    margin = np.where(high > low, 0.05 * (high - low), 1.0)
    axes = [np.linspace(*ends, GRID) for ends in zip(low - margin, high + margin, strict=True)]
    grid = np.tile(plane.points.mean(0), (GRID**3, 1))
    grid[:, :3] = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    return go.Isosurface(
        **dict(zip("xyz", grid[:, :3].T, strict=True)),
        value=plane.region.log_odds(grid),
        isomin=0,
        isomax=0,
        surface={"count": 1},
        caps={axis: {"show": False} for axis in "xyz"},
        colorscale=[[0, LOW], [1, LOW]],
        opacity=0.25,
        showscale=False,
        hoverinfo="skip",
    )
