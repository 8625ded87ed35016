"""How matplotlib draws the kinds of trace that the report's figures have: points and lines, bands, bars, regions,
heatmaps."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize, to_rgba
from matplotlib.patches import Patch

PIXEL = 72 / 120
"""In points: a plotly figure is drawn at 120 of its pixels to the inch."""

DASHES = {None: "-", "solid": "-", "dash": "--", "dot": ":"}
SYMBOLS = {None: "o", "circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "x": "X"}
MAX_MARKERS = 20
"""Lines with fewer points have markers if no mode is given: plotly's default."""


class Scale(NamedTuple):
    """Maps numbers to colours."""

    norm: Normalize
    colours: Colormap

    def __call__(self, numbers: Any) -> Any:
        return self.colours(self.norm(numbers))


def draw(axes: Axes, trace: Any, colour: str, scale: Scale | None) -> Artist | None:
    """Draw one trace, in `colour` if it has none of its own; `scale` maps its numbers to colours. Returns its legend
    handle. Raises NotImplementedError for a type of trace that no figure of the report uses."""
    if trace.type not in DRAWN:
        raise NotImplementedError(f"no still picture for traces of type {trace.type}: add it to still_traces.py")
    return DRAWN[trace.type](axes, trace, colour, scale)


def rgba(colour: str, opacity: float | None = None) -> tuple[float, float, float, float]:
    """Plotly's colours, which may be `rgb(…)` and `rgba(…)`, for matplotlib."""
    if colour.startswith("rgb"):
        red, green, blue, *alpha = map(float, re.findall(r"[\d.]+", colour))
        red, green, blue, alpha = red / 255, green / 255, blue / 255, alpha[0] if alpha else 1.0
    else:
        red, green, blue, alpha = to_rgba(colour)
    return red, green, blue, alpha if opacity is None else alpha * opacity


def colour_owner(trace: Any) -> Any:
    """The part of a trace that has its colour scale, if any."""
    return trace if trace.type == "heatmap" else trace.marker if trace.type in ("scatter", "scattergl") else None


def colour_scale(figure: go.Figure, trace: Any) -> Scale | None:
    """The scale that maps a trace's numbers to colours; None for a trace of one colour."""
    owner, numbers = colour_owner(trace), _numbers(trace)
    if owner is None or numbers is None:
        return None
    spec: Any = owner
    known = [numbers]
    if owner.coloraxis:
        spec = figure.layout[owner.coloraxis]
        owners = [(colour_owner(other), other) for other in figure.data]
        known = [_numbers(other) for one, other in owners if one is not None and one.coloraxis == owner.coloraxis]
    values = np.concatenate([part for part in known if part is not None])
    low, high = spec.cmin, spec.cmax
    norm = Normalize(np.nanmin(values) if low is None else low, np.nanmax(values) if high is None else high)
    return Scale(norm, _colour_map(spec.colorscale))


def _colour_map(pairs: Any) -> LinearSegmentedColormap:
    return LinearSegmentedColormap.from_list("", [(at, rgba(colour)) for at, colour in pairs])


def _numbers(trace: Any) -> np.ndarray | None:
    """The numbers that a colour scale maps to colours, flattened."""
    values = trace.z if trace.type == "heatmap" else trace.marker.color if colour_owner(trace) is not None else None
    return None if values is None or isinstance(values, str) else np.asarray(values, dtype=float).ravel()


def _places(values: Any) -> Any:
    """Numbers; or strings, where one of them is a string or a bool: plotly's categories."""
    array = np.asarray(values)
    words = array.dtype.kind in "bSU" or (array.dtype.kind == "O" and any(isinstance(v, str) for v in array))
    return [str(value) for value in array] if words else array.astype(float)


def _scatter(axes: Axes, trace: Any, colour: str, scale: Scale | None) -> Artist | None:
    y = _places(trace.y)
    x = np.arange(len(y)) if trace.x is None else _places(trace.x)
    mode = trace.mode or ("lines+markers" if len(y) < MAX_MARKERS else "lines")
    if not set(mode.split("+")) <= {"lines", "markers"}:
        raise NotImplementedError(f"no still picture for traces of mode {mode}: add it to still_traces.py")
    if trace.fill == "toself":
        return axes.fill(x, y, color=rgba(trace.fillcolor or colour, trace.opacity), linewidth=0)[0]
    size, opacity = (trace.marker.size or 6) * PIXEL, trace.marker.opacity
    if scale is not None:
        return axes.scatter(x, y, size**2, scale(_numbers(trace)), alpha=opacity, linewidths=0)
    named = trace.marker.color or trace.line.color or colour
    lines, markers = "lines" in mode, "markers" in mode
    (line,) = axes.plot(
        x,
        y,
        color=rgba(trace.line.color or named, trace.opacity),
        linestyle=DASHES[trace.line.dash] if lines else "none",
        linewidth=(2 if trace.line.width is None else trace.line.width) * PIXEL,
        marker=SYMBOLS[trace.marker.symbol] if markers else "none",
        markersize=size,
        markerfacecolor=rgba(named, opacity),
        markeredgewidth=0,
        # Many lines as paths would make a large SVG.
        rasterized=trace.type == "scattergl",
    )
    return line


def _bar(axes: Axes, trace: Any, colour: str, scale: Scale | None) -> Artist | None:
    """Stacked on the bars that the axes already have."""
    below = [np.array([bar.get_height() for bar in container]) for container in axes.containers]  # pyright: ignore
    heights, fill = np.asarray(trace.y, dtype=float), rgba(trace.marker.color or colour)
    bottom = np.sum(below, axis=0) if below else np.zeros(len(heights))
    axes.bar(_places(trace.x), heights, trace.width, bottom, color=fill, edgecolor="white", linewidth=0.3)
    return Patch(color=fill)


def _contour(axes: Axes, trace: Any, colour: str, scale: Scale | None) -> Artist | None:
    """Filled bands between the levels, each in the colour of its middle value, and contour lines."""
    z, at = np.asarray(trace.z, dtype=float), trace.contours
    levels = np.arange(at.start, at.end + at.size / 2, at.size)
    edges = np.array([trace.zmin, *levels, trace.zmax])
    middles = ((edges[:-1] + edges[1:]) / 2 - trace.zmin) / (trace.zmax - trace.zmin)
    axes.contourf(trace.x, trace.y, z, edges, colors=[_colour_map(trace.colorscale)(middle) for middle in middles])
    inside = levels[(levels > z.min()) & (levels < z.max())]
    if len(inside):
        style = {"linestyles": DASHES[trace.line.dash], "linewidths": trace.line.width * PIXEL}
        axes.contour(trace.x, trace.y, z, inside, colors=[rgba(trace.line.color)], **style)
    axes.margins(0)
    return None


def _heatmap(axes: Axes, trace: Any, colour: str, scale: Scale | None) -> Artist | None:
    z = np.ma.masked_invalid(np.asarray(trace.z, dtype=float))
    assert scale is not None
    axes.pcolormesh(np.arange(z.shape[1]), np.arange(z.shape[0]), z, norm=scale.norm, cmap=scale.colours)
    axes.grid(False)
    axes.tick_params(length=0)
    for side, names in ((axes.xaxis, trace.x), (axes.yaxis, trace.y)):
        if names is not None:
            side.set_ticks(np.arange(len(names)), [str(name) for name in names])
    if trace.text is not None:
        for (row, column), chance in np.ndenumerate(z.filled(np.nan)):
            dark = np.isfinite(chance) and np.dot(scale(chance)[:3], (0.3, 0.6, 0.1)) < 0.5
            axes.text(
                column, row, str(trace.text[row][column]), ha="center", va="center", color="white" if dark else "black"
            )
    return None


DRAWN: dict[str, Callable[[Axes, Any, str, Scale | None], Artist | None]] = {
    "scatter": _scatter,
    "scattergl": _scatter,
    "bar": _bar,
    "contour": _contour,
    "heatmap": _heatmap,
}
