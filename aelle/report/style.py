"""What the report's figures share: colours, style, and variants as points."""

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Shaped
from plotly.colors import sample_colorscale

from aelle.analysis.shares import MAX_GROUPS
from aelle.hyperparameters import not_read
from aelle.model.regions import Points, Region
from aelle.sweep.table import SweepTable

LOW, HIGH, GREY = "#2a9d5c", "#d1495b", "#8a8f98"
CLASSES = ((True, "low-error", LOW), (False, "high-error", HIGH))
SCALE = "Viridis"
CLEAR, SHADE = "rgba(255, 255, 255, 0)", "rgba(42, 157, 92, 0.12)"
GRID = 81
COLOURS = ["#1f5fbf", "#8a8f98", "#e08e0b", "#7b4fa3", "#b9bec6"]

Array = Shaped[np.ndarray, "V"]
Mask = Bool[np.ndarray, "V"]


def first_two(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first two components; with a single one, y is zero."""
    return points[:, 0], points[:, 1] if points.shape[1] > 1 else np.zeros(len(points))


def low_error_region(region: Region, points: Points) -> go.Contour:
    """Where low error is more likely than not, over the extent of `points`; further components at their mean."""
    axes = []
    for values in first_two(points):
        margin = 0.05 * np.ptp(values) or 1.0
        axes.append(np.linspace(values.min() - margin, values.max() + margin, GRID))
    plane = np.broadcast_to(points.mean(0), (GRID, GRID, points.shape[1])).copy()
    for component, values in enumerate(np.meshgrid(*axes)[: points.shape[1]]):
        plane[..., component] = values
    inside = region.log_odds(plane.reshape(GRID**2, -1)).reshape(GRID, GRID)
    return go.Contour(
        x=axes[0],
        y=axes[1],
        z=np.clip(inside, -1, 1),
        zmin=-1,
        zmax=1,
        colorscale=[[0, CLEAR], [0.5, CLEAR], [0.5, SHADE], [1, SHADE]],
        contours={"start": 0, "end": 0, "size": 1, "coloring": "heatmap"},
        line={"dash": "dash", "color": GREY, "width": 1.5},
        hoverinfo="skip",
        showscale=False,
        showlegend=False,
    )


def by_class(
    sweep: SweepTable, x: Array, y: Array, opacity: float = 0.8, show: bool = True, among: Mask | None = None
) -> list[go.Scatter]:
    """Low-error variants in green, high-error in red, with hover texts. `among`: only these variants."""
    shown = np.ones(len(x), dtype=bool) if among is None else among
    return [
        _points(sweep, np.flatnonzero((sweep.low_error == low) & shown), x, y, opacity, show, name, color=colour)
        for low, name, colour in CLASSES
    ]


def by_value(
    sweep: SweepTable, name: str, x: Array, y: Array, opacity: float, show: bool, among: Mask, axis: str
) -> list[go.Scatter]:
    """Coloured by a hyperparameter: a trace per value where there are few, otherwise one trace on the colour axis. Grey
    are variants that do not read it, or have no limit."""
    values = sweep.variants[name]
    has = (values.notna() & ~values.isin([np.inf])).to_numpy()

    def points(rows: Mask, show: bool, said: str, **colour: object) -> go.Scatter:
        return _points(sweep, np.flatnonzero(rows & among), x, y, opacity, show, said, **colour)

    unique = sorted(values[has].unique())
    if len(unique) > MAX_GROUPS:
        rows = np.flatnonzero(has & among)
        traces = [points(has, False, name, color=values.iloc[rows], coloraxis=axis)]
    else:
        colours = sample_colorscale(SCALE, np.linspace(0, 0.9, len(unique)).tolist())
        traces = [
            points((values == value).to_numpy(), show, f"{name} {_short(value)}", color=colour)
            for value, colour in zip(unique, colours, strict=True)
        ]
    return traces if has.all() else [*traces, points(~has, show, f"{name} none", color=GREY)]


def log_ticks(values: Array) -> tuple[np.ndarray, list[str]]:
    """Round numbers for a logarithmic axis, and their labels: powers of ten only where there are many."""
    values = values[np.isfinite(values) & (values > 0)]
    low, high = (values.min(), values.max()) if len(values) else (0.1, 1.0)
    powers = range(int(np.floor(np.log10(low))) - 1, int(np.ceil(np.log10(high))) + 2)
    fine = (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
    steps = (1,) if len(powers) > 6 else (1, 2, 5) if high / low > 3 else fine
    ticks = np.array([step * 10.0**power for power in powers for step in steps])
    return ticks, [f"{tick:.10g}" for tick in ticks]


def _points(
    sweep: SweepTable, rows: np.ndarray, x: Array, y: Array, opacity: float, show: bool, name: str, **colour: object
) -> go.Scatter:
    return go.Scatter(
        x=x[rows],
        y=y[rows],
        mode="markers",
        marker={"size": 7, "opacity": opacity, **colour},
        name=name,
        legendgroup=name,
        showlegend=show,
        text=[_hover(sweep, int(row)) for row in rows],
        hovertemplate="%{text}<extra></extra>",
    )


def _hover(sweep: SweepTable, row: int) -> str:
    variant = sweep.variants.iloc[row]
    values = [f"{name} {_short(variant[name])}" for name in sweep.varied if not not_read(variant[name])]
    return "<br>".join([f"variant {variant['variant']}", *values, f"final loss {sweep.final_loss[row]:.3g}"])


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def styled(figure: go.Figure) -> go.Figure:
    figure.update_layout(
        template="plotly_white",
        margin={"l": 60, "r": 20, "t": 60, "b": 50},
        height=420,
        font={"family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
    )
    return figure
