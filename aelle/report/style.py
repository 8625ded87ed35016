"""What the report's figures share: colours, style, and variants as points."""

from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Shaped
from plotly.colors import sample_colorscale

from aelle.analysis.shares import MAX_GROUPS, spans_magnitudes
from aelle.hyperparameters import not_read
from aelle.model.regions import Points, Region
from aelle.sweep.table import SweepTable

LOW, HIGH, GREY = "#2a9d5c", "#d1495b", "#8a8f98"
CLASSES = ((True, "low-error", LOW), (False, "high-error", HIGH))
SCALE = "Viridis"
CLEAR, SHADE = "rgba(255, 255, 255, 0)", "rgba(42, 157, 92, 0.12)"
GRID = 81
FINE = (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
OUTLIERS = 0.98
"""Quantile of the losses beyond which an axis may end."""

MAX_STRETCH = 0.25
"""By what share of its length the largest losses may stretch an axis."""

MAX_POINTS = 2000
"""Variants in a figure of points; of more, a sample is drawn."""

MANY_POINTS = 500
"""Variants in a figure from which on their points are small."""

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
        points(sweep, np.flatnonzero((sweep.low_error == low) & shown), x, y, opacity, show, name, color=colour)
        for low, name, colour in CLASSES
    ]


def by_value(
    sweep: SweepTable, name: str, x: Array, y: Array, opacity: float, show: bool, among: Mask, axis: str
) -> list[go.Scatter]:
    """Coloured by a hyperparameter: a trace per value where there are few, otherwise one trace on the colour axis. Grey
    are variants that do not read it, or have no limit. Values over orders of magnitude enter by their logarithm."""
    values = sweep.variants[name]
    has = (values.notna() & ~values.isin([np.inf])).to_numpy()

    def shown(rows: Mask, show: bool, said: str, **colour: object) -> go.Scatter:
        return points(sweep, np.flatnonzero(rows & among), x, y, opacity, show, said, **colour)

    unique = sorted(values[has].unique())
    if len(unique) > MAX_GROUPS:
        rows = np.flatnonzero(has & among)
        numbers = values.iloc[rows].to_numpy(float)
        scale = np.log10 if spans_magnitudes(values[has].to_numpy()) else np.asarray
        traces = [shown(has, False, name, color=scale(numbers), coloraxis=axis)]
    else:
        colours = sample_colorscale(SCALE, np.linspace(0, 0.9, len(unique)).tolist())
        traces = [
            shown((values == value).to_numpy(), show, f"{name} {short(value)}", color=colour)
            for value, colour in zip(unique, colours, strict=True)
        ]
    return traces if has.all() else [*traces, shown(~has, show, f"{name} none", color=GREY)]


def log_ticks(values: Array, most: int = 8) -> tuple[np.ndarray, list[str]]:
    """Round numbers for a logarithmic axis, and their labels: at most so many within the range of the values."""
    values = values[np.isfinite(values) & (values > 0)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.1, 1.0)
    powers = np.arange(int(np.floor(np.log10(low))) - 1, int(np.ceil(np.log10(high))) + 2)
    choices = [np.outer(10.0**powers, steps).ravel() for steps in (FINE, (1, 1.5, 2, 3, 4, 5, 7), (1, 2, 5), (1, 3))]
    choices += [10.0 ** powers[powers % stride == 0] for stride in range(1, len(powers))]
    few = [ticks for ticks in choices if ((ticks >= low) & (ticks <= high)).sum() <= most]
    ticks = few[0] if few else choices[-1]
    return ticks, [f"{tick:.10g}" for tick in ticks]


class LossAxis(NamedTuple):
    """A logarithmic axis of losses, as plotly takes it. `above`: how many of the losses lie beyond its upper end, which
    a few outliers do not move."""

    axis: dict[str, Any]
    above: int

    @property
    def note(self) -> str:
        end = f"{10 ** self.axis['range'][1]:.2g}"
        return f"The axis of losses ends at {end}; {self.above} larger ones are not shown." if self.above else ""


def loss_axis(losses: np.ndarray, *lines: float | int) -> LossAxis:
    """Of these losses; `lines` are drawn at further ones."""
    known = losses[np.isfinite(losses) & (losses > 0)]
    if not len(known):
        known = np.array([0.1, 1.0])
    logs = np.log10(known)
    least, most = min(logs.min(), *np.log10(lines), np.inf), max(logs.max(), *np.log10(lines), -np.inf)
    usual = max(float(np.quantile(logs, OUTLIERS)), *np.log10(lines), -np.inf)
    if most - usual > MAX_STRETCH * (usual - least) > 0:
        most = usual
    margin = 0.04 * (most - least) or 0.05
    low, high = float(least - margin), float(most + margin)
    at, text = log_ticks(10 ** np.array([low, high]))
    return LossAxis({"type": "log", "range": [low, high], "tickvals": at, "ticktext": text}, int((logs > high).sum()))


def with_note(figure: go.Figure, *sentences: str) -> go.Figure:
    """Add to what the page says below a figure."""
    return figure.update_layout(meta={"note": " ".join(filter(None, (note(figure), *sentences)))})


def note(figure: go.Figure) -> str:
    layout: Any = figure.layout
    return layout.meta["note"] if layout.meta else ""


def of_a_sample(shown: int, n: int) -> str:
    return f"A sample of {shown:,} of {n:,} variants." if shown < n else ""


def points(
    sweep: SweepTable, rows: np.ndarray, x: Array, y: Array, opacity: float, show: bool, name: str, **colour: object
) -> go.Scatter:
    return go.Scatter(
        x=x[rows],
        y=y[rows],
        mode="markers",
        marker={"size": 7 if len(x) <= MANY_POINTS else 4, "opacity": opacity, **colour},
        name=name,
        legendgroup=name,
        showlegend=show,
        text=_hovers(sweep, rows),
        hovertemplate="%{text}<extra></extra>",
    )


def _hovers(sweep: SweepTable, rows: np.ndarray) -> list[str]:
    """Per row: the variant, its hyperparameters and its final loss."""
    variants = sweep.variants.iloc[rows]
    columns = [[f"variant {number}" for number in variants["variant"]]]
    for name in sweep.varied:
        columns.append(["" if not_read(value) else f"{name} {short(value)}" for value in variants[name].tolist()])
    columns.append([f"final loss {loss:.3g}" for loss in sweep.final_loss[rows]])
    return ["<br>".join(filter(None, parts)) for parts in zip(*columns, strict=True)]


def short(value: object) -> str:
    """A hyperparameter's value as text."""
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
