"""The report's figures, as plotly figures."""

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from aelle.early import Study
from aelle.plane import TrainedPlane
from aelle.table import SweepTable

LOW, HIGH, GREY = "#2a9d5c", "#d1495b", "#8a8f98"
COLOURS = ["#1f5fbf", "#8a8f98", "#e08e0b", "#7b4fa3", "#b9bec6"]


def losses_over_hyperparameters(sweep: SweepTable) -> go.Figure:
    """Final validation loss against each hyperparameter that varies."""
    names = sweep.varied or sweep.hyperparameters[:1]
    figure = make_subplots(1, len(names), shared_yaxes=True, x_title=None, y_title="final validation loss")
    for column, name in enumerate(names, 1):
        for trace in _by_class(sweep, sweep.variants[name].to_numpy(), sweep.final_loss, show=column == 1):
            figure.add_trace(trace, row=1, col=column)
        figure.update_xaxes(title=name, row=1, col=column)
    figure.add_hline(sweep.threshold, line={"dash": "dash", "color": GREY})
    figure.update_yaxes(type="log", row=1, col=1)
    return _styled(figure)


def spectra_by_loss(sweep: SweepTable) -> go.Figure:
    """The spectra after the last epoch, a line per variant, coloured by final loss."""
    order = np.argsort(-np.nan_to_num(sweep.final_loss, nan=np.inf))
    log_loss = np.log10(np.nan_to_num(sweep.final_loss, nan=np.nanmax(sweep.final_loss, initial=1.0)))
    low, high = log_loss.min(), log_loss.max()
    share = (log_loss - low) / ((high - low) or 1.0)
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
    figure.update_xaxes(title="index fraction")
    figure.update_yaxes(title="Lyapunov exponent, nats per step")
    return _styled(figure)


def trained_plane_figure(plane: TrainedPlane) -> go.Figure:
    """All variants faintly, the test variants in full, and the threshold."""
    rest = np.flatnonzero(~plane.test)
    test = np.flatnonzero(plane.test)
    figure = go.Figure()
    for rows, opacity in ((rest, 0.18), (test, 1.0)):
        part = plane.sweep.take(rows)
        figure.add_traces(_by_class(part, *_first_two(plane.points[rows]), opacity, opacity == 1.0))
    figure.add_vline(plane.threshold, line={"dash": "dash", "color": GREY})
    figure.update_xaxes(title="PC1 (rises towards low error)")
    figure.update_yaxes(title="PC2")
    return _styled(figure)


def planes_over_training(sweep: SweepTable, study: Study) -> go.Figure:
    """The test variants in the plane at several stages of training, with the threshold."""
    stages = study.stages(sweep.epochs)
    test = sweep.take(study.tests[0])
    titles = [f"{100 * k / sweep.epochs:.0f} % (epoch {k})" for k in stages]
    figure = make_subplots(1, len(stages), shared_yaxes=True, subplot_titles=titles)
    for column, k in enumerate(stages, 1):
        known = test.take(np.flatnonzero(np.isfinite(test.spectra[:, k]).all(axis=1)))
        points = study.models[0].transform(known.spectra[:, k])
        for trace in _by_class(known, *_first_two(points), show=column == 1):
            figure.add_trace(trace, row=1, col=column)
        figure.update_xaxes(title="PC1", matches="x", row=1, col=column)
    figure.update_yaxes(title="PC2", row=1, col=1)
    figure.update_annotations(font_size=13, yshift=-2)
    figure.add_vline(study.models[0].cut_, line={"dash": "dash", "color": GREY})
    return _styled(figure).update_layout(margin_t=90, legend_y=1.12)


def scores_over_epochs(study: Study) -> go.Figure:
    """Area under the ROC curve of every predictor, with the 2.5 to 97.5 % range over the splits as a band."""
    figure = go.Figure()
    for colour, (name, rows) in zip(COLOURS, study.scores.groupby("predictor", sort=False), strict=False):
        auc = rows.groupby("epoch")["auc"]
        mean = auc.mean()
        low, high = auc.quantile(0.025), auc.quantile(0.975)
        if name == "AeLLE":
            figure.add_scatter(
                x=[*low.index, *low.index[::-1]],
                y=[*high, *low[::-1]],
                fill="toself",
                fillcolor=colour,
                opacity=0.15,
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
            )
        figure.add_scatter(x=mean.index, y=mean, name=name, mode="lines+markers", line={"color": colour})
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(title="area under the ROC curve")
    return _styled(figure)


def _first_two(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A single component is drawn on a line."""
    return points[:, 0], points[:, 1] if points.shape[1] > 1 else np.zeros(len(points))


def _by_class(sweep: SweepTable, x: np.ndarray, y: np.ndarray, opacity: float = 0.8, show: bool = True) -> list:
    """Low-error variants green, high-error red; hovering names the variant."""
    traces = []
    for low, name, colour in ((True, "low-error", LOW), (False, "high-error", HIGH)):
        rows = np.flatnonzero(sweep.low_error == low)
        text = [_hover(sweep, int(row)) for row in rows]
        marker = {"color": colour, "size": 7, "opacity": opacity}
        traces.append(
            go.Scatter(
                x=x[rows],
                y=y[rows],
                mode="markers",
                marker=marker,
                name=name,
                legendgroup=name,
                showlegend=show,
                text=text,
                hovertemplate="%{text}<extra></extra>",
            )
        )
    return traces


def _hover(sweep: SweepTable, row: int) -> str:
    variant = sweep.variants.iloc[row]
    values = [f"{name} {_short(variant[name])}" for name in sweep.varied]
    return "<br>".join([f"variant {variant['variant']}", *values, f"final loss {sweep.final_loss[row]:.3g}"])


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _styled(figure: go.Figure) -> go.Figure:
    figure.update_layout(
        template="plotly_white",
        margin={"l": 60, "r": 20, "t": 60, "b": 50},
        height=420,
        font={"family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
    )
    return figure
