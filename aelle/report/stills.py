"""Still pictures of the report's figures: plotly figures drawn by matplotlib, as PNG and SVG.

Each figure is defined once, in plotly. Features of plotly that no figure of the report uses raise NotImplementedError.
"""

import warnings
from html import unescape
from pathlib import Path
from typing import Any, cast

import numpy as np
import plotly.graph_objects as go
from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, MultipleLocator, NullLocator

from aelle.analysis.processes import on_all_cores
from aelle.files import make_folder, replace_atomically
from aelle.report.still_traces import DASHES, PIXEL, Scale, colour_owner, colour_scale, draw, rgba

FORMATS = ("png", "svg")
WIDTH = 1080
"""In plotly's pixels; a PNG has twice as many."""

LEGEND_LETTERS = 145
"""Letters of a legend that fit in the width of a page."""

STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.edgecolor": "#8a8f98",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e6eb",
    "grid.linewidth": 0.6,
    "xtick.color": "#8a8f98",
    "ytick.color": "#8a8f98",
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "aelle",
    "text.parse_math": False,
}
"""On top of matplotlib's defaults, not the user's settings. Text stays text; the same figure gives the same file."""

Bar = tuple[Scale, Any, list[Axes]]
"""A colour scale, plotly's description of its bar, and the panels that it is drawn beside."""

Panels = dict[tuple[str, str], Axes]
"""By plotly's names of their axes, e.g. x2 and y2."""


def write_stills(folder: Path, figures: dict[str, go.Figure | None]) -> None:
    """Write `NAME.png` and `NAME.svg` of each figure into the folder; remove those of names whose figure is None."""
    make_folder(folder)
    for name in [name for name, figure in figures.items() if figure is None]:
        for kind in FORMATS:
            (folder / f"{name}.{kind}").unlink(missing_ok=True)
    drawn = [(folder / name, figure) for name, figure in figures.items() if figure is not None]
    on_all_cores(lambda n: _write(*drawn[n]), len(drawn))


def _write(path: Path, figure: go.Figure) -> None:
    with style.context(["default", STYLE]), warnings.catch_warnings():
        # A letter that the font lacks is a box in the PNG and correct in the SVG.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")
        page = still(figure)
        for kind in FORMATS:
            metadata = {"Date": None} if kind == "svg" else None
            replace_atomically(
                path.with_name(f"{path.name}.{kind}"),
                lambda file: page.savefig(file, format=kind, dpi=144 / PIXEL, metadata=metadata),  # noqa: B023
            )
            page.set_layout_engine("none")  # The layout is done, and costly.


def still(figure: go.Figure) -> Figure:
    """Draw a plotly figure by matplotlib. Raises NotImplementedError for what no figure of the report uses."""
    layout: Any = figure.layout
    page = Figure(figsize=(WIDTH * PIXEL / 72, layout.height * PIXEL / 72), layout="constrained")
    panels = _panels(page, figure)
    legend, bars = _draw_traces(figure, panels)
    for (x, y), axes in panels.items():
        _set_axis(axes, "x", layout[_long(x)])
        _set_axis(axes, "y", layout[_long(y)])
    for scale, spec, beside in bars:
        title = _text(spec.title.text).replace("\n", " ")
        bar = page.colorbar(ScalarMappable(*scale), ax=beside, label=title, pad=0.02)
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        if spec.tickvals is not None:
            low, high = bar.ax.get_ylim()
            near = 1e-6 * (high - low)
            labelled = zip(spec.tickvals, spec.ticktext, strict=True)
            shown = [(at, text) for at, text in labelled if low - near <= at <= high + near]
            bar.set_ticks([at for at, _ in shown], labels=[text for _, text in shown])
    for shape in layout.shapes:
        _line(panels, shape)
    for note in layout.annotations:
        _title(page, panels, layout, note)
    if legend:
        names = [_text(name) for name in legend]
        columns = max(1, min(len(names), LEGEND_LETTERS // (max(map(len, names)) + 7)))
        place = "outside lower center" if (layout.legend.y or 0) < 0 else "outside upper right"
        page.legend(legend.values(), names, loc=place, ncols=columns)
    return page


def _draw_traces(figure: go.Figure, panels: Panels) -> tuple[dict[str, Artist], list[Bar]]:
    """Draw all traces that are visible at first; return the legend's handles by name, and the colour bars."""
    traces, layout = cast(Any, figure.data), cast(Any, figure.layout)
    legend, bars, colours = {}, {}, layout.template.layout.colorway
    for number, trace in enumerate(traces):
        if trace.visible == "legendonly":
            continue
        axes, scale = panels[_axes_of(trace)], colour_scale(figure, trace)
        artist = draw(axes, trace, colours[number % len(colours)], scale)
        if artist is not None and trace.name and trace.showlegend is not False:
            legend.setdefault(trace.name, artist)
        if scale is not None:
            owner = colour_owner(trace)
            spec = layout[owner.coloraxis] if owner.coloraxis else owner
            _, _, beside = bars.setdefault(owner.coloraxis or number, (scale, spec.colorbar, []))
            if axes not in beside:
                beside.append(axes)
    return legend, list(bars.values())


def _panels(page: Figure, figure: go.Figure) -> Panels:
    """The figure's pairs of axes, in plotly's rows and columns."""
    layout: Any = figure.layout
    panels, of_axis = {}, {}
    names = list(dict.fromkeys(map(_axes_of, figure.data)))
    corners = {(x, y): (_span(layout[_long(x)])[0], -_span(layout[_long(y)])[0]) for x, y in names}
    columns, rows = (sorted({corner[i] for corner in corners.values()}) for i in (0, 1))
    grid = page.add_gridspec(len(rows), len(columns))
    for (x, y), (left, bottom) in corners.items():
        shared = {f"share{one[0]}": of_axis.get(layout[_long(one)].matches) for one in (x, y)}
        panels[x, y] = page.add_subplot(grid[rows.index(bottom), columns.index(left)], **shared)
        of_axis |= {x: panels[x, y], y: panels[x, y]}
    return panels


def _set_axis(axes: Axes, which: str, axis: Any) -> None:
    side = axes.xaxis if which == "x" else axes.yaxis
    if axis.type == "log":
        axes.set(**{f"{which}scale": "log"})
        side.set_minor_locator(NullLocator())
    if axis.tickvals is not None:
        side.set_major_locator(FixedLocator(axis.tickvals))
        side.set_major_formatter(FixedFormatter(axis.ticktext))
    elif axis.dtick is not None:
        side.set_major_locator(MultipleLocator(axis.dtick))
    elif isinstance(side.get_major_locator(), MaxNLocator):
        side.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10]))
    if axis.range is not None:
        limits = np.power(10.0, axis.range) if axis.type == "log" else axis.range
        axes.set(**{f"{which}lim": limits})
    if axis.autorange == "reversed":
        side.set_inverted(True)
    if axis.showticklabels is False:
        side.set_tick_params(label1On=False)
    if axis.visible is False:
        side.set_visible(False)
        axes.spines[:].set_visible(False)
    side.set_label_text(_text(axis.title.text))


def _line(panels: Panels, shape: Any) -> None:
    """A horizontal or vertical line across a whole panel."""
    level, upright = shape.xref.endswith(" domain"), shape.yref.endswith(" domain")
    if shape.type != "line" or level == upright:
        raise NotImplementedError(f"no still picture for this shape: add it to stills.py\n{shape}")
    axes = panels[shape.xref.split()[0], shape.yref.split()[0]]
    look = {"linestyle": DASHES[shape.line.dash], "color": rgba(shape.line.color), "linewidth": 1}
    if level:
        axes.axhline(shape.y0, **look)
    else:
        axes.axvline(shape.x0, **look)


def _title(page: Figure, panels: Panels, layout: Any, note: Any) -> None:
    """The title of the panel that the annotation is centred above, or the shared title of the vertical axes."""
    if note.textangle == -90:
        page.supylabel(_text(note.text), fontsize=STYLE["font.size"])
        return
    for (x, y), axes in panels.items():
        middle, top = sum(_span(layout[_long(x)])) / 2, _span(layout[_long(y)])[1]
        if np.allclose((note.x, note.y), (middle, top)):
            axes.set_title(_text(note.text))
            return
    raise NotImplementedError(f"no still picture for this annotation: add it to stills.py\n{note}")


def _axes_of(trace: Any) -> tuple[str, str]:
    return trace.xaxis or "x", trace.yaxis or "y"


def _long(name: str) -> str:
    """`x2` is `xaxis2` in a layout."""
    return f"{name[0]}axis{name[1:]}"


def _span(axis: Any) -> tuple[float, float]:
    low, high = axis.domain or (0, 1)
    return float(low), float(high)


def _text(text: str | None) -> str:
    """As plotly shows it: line breaks and escaped characters are the only markup in the figures."""
    return unescape((text or "").replace("<br>", "\n"))
