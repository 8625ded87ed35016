"""Three components of AeLLE's embedding in one figure that turns."""

import numpy as np
import plotly.graph_objects as go

from aelle.analysis.plane import TrainedPlane
from aelle.report.style import CLASSES, LOW, styled

GRID = 25


def plane_in_space(plane: TrainedPlane) -> go.Figure:
    """The first three components, the border of the region of low error, and test variants larger than the others."""
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
    """Where either class is as likely, within the box that holds the points; further components at their mean."""
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
