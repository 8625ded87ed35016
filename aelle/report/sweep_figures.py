"""Figures of a sweep as a whole: learning curves, hyperparameters side by side, and their importance."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from aelle.analysis.importance import Importance
from aelle.analysis.shares import groupable, spans_magnitudes
from aelle.report.style import (
    CLASSES,
    COLOURS,
    GREY,
    SCALE,
    log_ticks,
    loss_axis,
    of_a_sample,
    short,
    styled,
    with_note,
)
from aelle.seeds import sample
from aelle.sweep.table import SweepTable

MAX_LINES = 300
"""Learning curves, or lines across parallel coordinates; of more variants, a sample is drawn."""


def learning_curves(sweep: SweepTable) -> go.Figure:
    """The validation loss of each variant by epoch, coloured by class."""
    rows = sample(len(sweep.losses), MAX_LINES)
    shown, epochs = sweep.take(rows), np.append(np.arange(sweep.epochs + 1.0), np.nan)
    figure = go.Figure()
    for low, name, colour in reversed(CLASSES):
        part = shown.take(np.flatnonzero(shown.low_error == low))
        lines = np.concatenate([part.losses, np.full((len(part.losses), 1), np.nan)], axis=1)
        figure.add_scatter(
            x=np.tile(epochs, len(lines)),
            y=lines.ravel().round(5),
            customdata=np.repeat(part.variants["variant"].to_numpy(), len(epochs)),
            mode="lines",
            line={"color": colour, "width": 1},
            opacity=0.55,
            name=name,
            hovertemplate="variant %{customdata}<br>epoch %{x}<br>loss %{y:.3g}<extra></extra>",
        )
    figure.add_hline(sweep.threshold, line={"dash": "dash", "color": GREY})
    axis = loss_axis(shown.losses, sweep.threshold)
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(axis.axis, title="validation loss")
    return with_note(styled(figure).update_layout(height=460), of_a_sample(len(rows), len(sweep.losses)), axis.note)


def parallel_coordinates(sweep: SweepTable) -> go.Figure:
    """A line per variant across its hyperparameters to its final loss, coloured by that."""
    n = len(sweep.losses)
    shown = sweep.take(sample(n, MAX_LINES))
    dimensions = [_dimension(name, shown.variants[name]) for name in groupable(shown)]
    axis = loss_axis(shown.final_loss, shown.threshold)
    low, high = axis.axis["range"]
    # Diverged variants, and losses beyond the axis, at its upper end.
    loss = np.clip(np.nan_to_num(np.log10(shown.final_loss), nan=high), low, high)
    ticks = {"tickvals": np.log10(axis.axis["tickvals"]), "ticktext": axis.axis["ticktext"]}
    inside = (ticks["tickvals"] >= low) & (ticks["tickvals"] <= high)
    ticks = {"tickvals": ticks["tickvals"][inside], "ticktext": np.array(ticks["ticktext"])[inside].tolist()}
    dimensions.append({"label": "final loss", "values": loss.round(4), "range": [low, high], **ticks})
    figure = go.Figure(
        go.Parcoords(
            dimensions=dimensions,
            line={"color": loss.round(4), "colorscale": f"{SCALE}_r", "cmin": low, "cmax": high},
            labelfont={"size": 12},
        )
    )
    beyond = axis.above + int((~np.isfinite(shown.final_loss)).sum())
    note = f"{beyond} diverged or larger losses are at the upper end of the loss axis." if beyond else ""
    figure = styled(figure).update_layout(height=460, margin={"l": 70, "r": 70, "t": 60, "b": 30})
    return with_note(figure, of_a_sample(len(shown.losses), n), note)


def _dimension(name: str, values: pd.Series) -> dict[str, Any]:
    """An axis of one hyperparameter: logarithmic where its values span orders of magnitude; a place per word. What a
    variant does not read, or has no limit, is below the least value."""
    has = (values.notna() & ~values.isin([np.inf])).to_numpy()
    if pd.api.types.is_numeric_dtype(values) and values.dtype != bool:
        numbers = values.to_numpy(float)
        logarithmic = spans_magnitudes(numbers[has])
        if logarithmic:
            at, text = log_ticks(numbers[has], most=6)
            at, numbers = np.log10(at), np.log10(np.where(has, numbers, 1.0))
        elif values[has].nunique() <= 6:
            at = np.sort(values[has].unique()).astype(float)
            text = [short(float(value)) for value in at]
        else:
            at = np.linspace(numbers[has].min(), numbers[has].max(), 5)
            text = [f"{value:.3g}" for value in at]
    else:
        words = sorted(values[has].unique(), key=str)
        at, text = np.arange(len(words), dtype=float), [short(word) for word in words]
        numbers = np.array(
            [words.index(value) if known else 0.0 for value, known in zip(values, has, strict=True)], float
        )
    low, high = float(numbers[has].min()), float(numbers[has].max())
    margin = 0.05 * (high - low) or 0.5
    ends = (low - margin, high + margin)
    if not has.all():
        apart = low - max(0.15 * (high - low), margin)
        numbers = np.where(has, numbers, apart)
        at, text, ends = np.append(at, apart), [*text, "none"], (apart - margin / 2, ends[1])
    inside = (at >= ends[0]) & (at <= ends[1])
    return {
        "label": name,
        "values": numbers.round(5),
        "range": list(ends),
        "tickvals": at[inside],
        "ticktext": [word for word, here in zip(text, inside, strict=True) if here],
    }


def importance_figure(found: Importance) -> go.Figure:
    """The R² lost by permuting each column, with the range of 95 % of the repetitions."""
    columns = found.columns[::-1]
    at = np.arange(len(columns), dtype=float)
    figure = go.Figure()
    ends = np.array([[column.low, column.high, np.nan] for column in columns]).ravel()
    figure.add_scatter(
        x=ends, y=np.repeat(at, 3), mode="lines", line={"color": GREY, "width": 2}, hoverinfo="skip", showlegend=False
    )
    for of_spectrum, name, colour in ((False, "hyperparameter", COLOURS[0]), (True, "spectrum", COLOURS[2])):
        mine = [i for i, column in enumerate(columns) if (column.name == found.spectrum) == of_spectrum]
        figure.add_scatter(
            x=[columns[i].importance for i in mine],
            y=at[mine],
            mode="markers",
            marker={"size": 11, "color": colour},
            name=name,
            text=[columns[i].name for i in mine],
            hovertemplate="%{text}: %{x:.2f}<extra></extra>",
        )
    figure.update_xaxes(title="R² lost")
    figure.update_yaxes(tickvals=at, ticktext=[column.name for column in columns], range=[-0.6, len(columns) - 0.4])
    figure.update_yaxes(automargin=True)
    return styled(figure).update_layout(height=max(300, 130 + 34 * len(columns)))
