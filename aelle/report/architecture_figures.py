"""Figures of a sweep over architectures: where each lies in the AeLLE plane, and which are taken for each other."""

import numpy as np
import plotly.graph_objects as go
from plotly.colors import qualitative

from aelle.analysis.architectures import ARCHITECTURE, Told
from aelle.analysis.plane import TrainedPlane
from aelle.report.style import SCALE, first_two, low_error_region, points, styled

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x")
COLOURS = qualitative.Dark24[:10]


def plane_by_architecture(plane: TrainedPlane) -> go.Figure:
    """The networks of each architecture have a colour and a symbol of their own."""
    cells = plane.sweep.variants[ARCHITECTURE].astype(str)
    figure = go.Figure(low_error_region(plane.region, plane.points))
    for i, name in enumerate(sorted(cells.unique())):
        rows = np.flatnonzero(cells == name)
        look = {"color": COLOURS[i % len(COLOURS)], "symbol": SYMBOLS[i // len(COLOURS) % len(SYMBOLS)]}
        figure.add_trace(points(plane.sweep, rows, *first_two(plane.points), 0.85, True, name, **look))
    figure.update_xaxes(title="PC1 (increases towards low error)")
    figure.update_yaxes(title="PC2")
    legend = {"y": -0.14, "yanchor": "top", "x": 0, "xanchor": "left"}
    return styled(figure).update_layout(height=620, legend=legend)


def confusion(told: Told) -> go.Figure:
    """Of the networks of an architecture (row), the share that was taken for each (column)."""
    share = told.confusion / told.confusion.sum(1, keepdims=True)
    text = [
        [
            f"{count} of {row.sum()} networks of {name} are taken for {other}"
            for count, other in zip(row, told.names, strict=True)
        ]
        for name, row in zip(told.names, told.confusion, strict=True)
    ]
    bar = {"title": "share of networks", "thickness": 12, "outlinewidth": 0}
    figure = go.Figure()
    figure.add_heatmap(
        z=share.round(3),
        x=told.names,
        y=told.names,
        customdata=text,
        hovertemplate="%{customdata}<extra></extra>",
        coloraxis="coloraxis",
    )
    figure.update_layout(coloraxis={"colorscale": SCALE, "colorbar": bar})
    figure.update_xaxes(title="taken for", tickangle=-60, dtick=1, automargin=True)
    figure.update_yaxes(title="architecture", autorange="reversed", dtick=1, automargin=True)
    return styled(figure).update_layout(height=max(380, 200 + 15 * len(told.names)))
