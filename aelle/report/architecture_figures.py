"""Figures of a sweep over architectures: where each lies in the AeLLE plane, and the confusion matrix."""

import numpy as np
import plotly.graph_objects as go
from plotly.colors import qualitative

from aelle.analysis.architectures import ARCHITECTURE, ArchitectureAccuracy
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


def confusion(found: ArchitectureAccuracy) -> go.Figure:
    """Of the networks of an architecture (row), the share that is predicted as each (column)."""
    share = found.confusion / found.confusion.sum(1, keepdims=True)
    text = [
        [
            f"{count} of {row.sum()} networks of {name} are predicted as {other}"
            for count, other in zip(row, found.names, strict=True)
        ]
        for name, row in zip(found.names, found.confusion, strict=True)
    ]
    bar = {"title": "share of networks", "thickness": 12, "outlinewidth": 0}
    figure = go.Figure()
    figure.add_heatmap(
        z=share.round(3),
        x=found.names,
        y=found.names,
        customdata=text,
        hovertemplate="%{customdata}<extra></extra>",
        coloraxis="coloraxis",
    )
    figure.update_layout(coloraxis={"colorscale": SCALE, "colorbar": bar})
    figure.update_xaxes(title="predicted", tickangle=-60, dtick=1, automargin=True)
    figure.update_yaxes(title="true", autorange="reversed", dtick=1, automargin=True)
    return styled(figure).update_layout(height=max(380, 200 + 15 * len(found.names)))
