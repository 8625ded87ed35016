"""Figures of early prediction: the AeLLE plane during training, ROC AUC by epoch, and calibration."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float
from plotly.colors import qualitative
from plotly.subplots import make_subplots
from scipy.special import expit

from aelle.analysis.early import Study
from aelle.model.estimator import AeLLE
from aelle.report.page import chosen_predictors
from aelle.report.style import (
    CLASSES,
    COLOURS,
    GREY,
    MAX_POINTS,
    by_class,
    first_two,
    low_error_region,
    styled,
    with_note,
)
from aelle.seeds import sample
from aelle.sweep.table import SweepTable

BINS = 8
"""Bins of the predicted chance."""


def planes_over_training(sweep: SweepTable, study: Study) -> go.Figure:
    """The first split's test variants in its plane at several stages of training, with the region of low error."""
    stages, model, test = study.stages(sweep.epochs), study.models[0], _test(sweep, study)
    titles = [f"{100 * k / sweep.epochs:.0f} % (epoch {k})" for k in stages]
    figure = make_subplots(1, len(stages), shared_yaxes=True, subplot_titles=titles)
    known = [test.take(np.flatnonzero(np.isfinite(test.spectra[:, k]).all(axis=1))) for k in stages]
    points = [model.transform(part.seen(k)) for part, k in zip(known, stages, strict=True)]
    everywhere = np.concatenate(points)
    for column, (part, places) in enumerate(zip(known, points, strict=True), 1):
        figure.add_trace(low_error_region(model.region_, everywhere), row=1, col=column)
        figure.add_traces(by_class(part, *first_two(places), show=column == 1), rows=1, cols=column)
        if column > 1:
            figure.update_xaxes(matches="x", row=1, col=column)
    figure.update_xaxes(title="PC1")
    figure.update_yaxes(title="PC2", row=1, col=1)
    figure.update_annotations(font_size=13, yshift=-2)
    return styled(figure).update_layout(margin_t=90, legend_y=1.12)


def plane_over_epochs(sweep: SweepTable, study: Study) -> go.Figure:
    """The same plane, with a slider over the measured epochs. What does not change, such as hyperparameters, is in the
    figure once; a step of the slider contains positions and losses."""
    model, test, epochs = study.models[0], _test(sweep, study), study.epochs
    places = {k: _places(model, test, k) for k in epochs}
    everywhere = np.concatenate(list(places.values()))
    region: Any = low_error_region(model.region_, everywhere[np.isfinite(everywhere).all(axis=1)])
    figure = go.Figure([region, *by_class(test, *first_two(places[epochs[0]]))])
    moved = {k: _moved(test, places[k], k) for k in epochs}
    steps = [{"label": str(k), "method": "restyle", "args": [moved[k], [1, 2]]} for k in epochs]
    start = next((k for k in epochs if k > 0), epochs[0])
    slider = {"active": epochs.index(start), "currentvalue": {"prefix": "after epoch "}, "pad": {"t": 45}}
    hover = "%{text}<br>loss after this epoch %{customdata}<extra></extra>"
    for number in (0, 1):
        first = {name: parts[number] for name, parts in moved[start].items()}
        figure.update_traces({**first, "hovertemplate": hover}, selector=1 + number)
    figure.update_xaxes(title="PC1", range=[region.x[0], region.x[-1]])
    figure.update_yaxes(title="PC2", range=[region.y[0], region.y[-1]])
    figure = styled(figure).update_layout(sliders=[{**slider, "steps": steps}], height=620)
    n = len(study.tests[0])
    return with_note(figure, f"A sample of {len(test.losses):,} of {n:,} test variants." * (len(test.losses) < n))


def _test(sweep: SweepTable, study: Study) -> SweepTable:
    """The first split's test variants, or a sample of them."""
    return sweep.take(study.tests[0][sample(len(study.tests[0]), MAX_POINTS)])


def _places(model: AeLLE, test: SweepTable, epoch: int) -> Float[np.ndarray, "V components"]:
    """Each variant's position in the plane after an epoch, NaN where its spectrum is not finite."""
    seen = test.seen(epoch)
    known, places = seen.known, np.full((len(seen), model.n_components), np.nan)
    if known.any():
        places[known] = model.transform(seen.take(known))
    return places


def _moved(test: SweepTable, places: np.ndarray, epoch: int) -> dict[str, list[list]]:
    """The parts of `by_class` that change with the epoch, rounded to what is visible."""
    x, y = ([float(f"{value:.4g}") if np.isfinite(value) else None for value in axis] for axis in first_two(places))
    loss = [f"{loss:.3g}" if np.isfinite(loss) else "none" for loss in test.losses[:, epoch]]
    rows = [np.flatnonzero(test.low_error == low) for low, _, _ in CLASSES]
    columns = {"x": x, "y": y, "customdata": loss}
    return {name: [[column[row] for row in part] for part in rows] for name, column in columns.items()}


def scores_over_epochs(study: Study) -> go.Figure:
    """ROC AUC of every predictor by epoch; the highlighted ones have a band of the 95 % interval over the splits."""
    summary, figure = study.summary, go.Figure()
    shown = _highlighted(study)
    others = iter(qualitative.Dark24)
    for name, rows in summary.groupby("predictor", sort=False):
        at, colour = rows["epoch"], shown.get(str(name)) or next(others)
        visible = True if name in shown else "legendonly"
        group = {"legendgroup": name, "visible": visible}
        if name in shown:
            band = [*rows["auc_high"], *rows["auc_low"][::-1]]
            style = {"fill": "toself", "fillcolor": colour, "opacity": 0.12, "line": {"width": 0}, "hoverinfo": "skip"}
            figure.add_scatter(x=[*at, *at[::-1]], y=band, showlegend=False, **style, **group)
        figure.add_scatter(x=at, y=rows["auc"], name=name, mode="lines+markers", line={"color": colour}, **group)
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(title="ROC AUC")
    legend = {"x": 0, "xanchor": "left", "y": -0.18, "yanchor": "top"}
    return styled(figure).update_layout(legend=legend, height=540, margin_t=20)


def calibration(study: Study, epoch: int) -> go.Figure:
    """The predicted chance against the observed fraction of low-error variants, over all splits."""
    figure = go.Figure()
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line={"dash": "dash", "color": GREY}, showlegend=False)
    at = study.predictions[study.predictions["epoch"] == epoch]
    for name, colour in _highlighted(study).items():
        rows = at[at["predictor"] == name]
        found = pd.DataFrame({"chance": expit(rows["log_odds"].to_numpy()), "low": rows["low_error"].to_numpy(float)})
        bins = found.groupby(np.minimum((found["chance"] * BINS).astype(int), BINS - 1))
        means, counts = bins.mean(), bins.size()
        text = [f"{count} predictions" for count in counts]
        figure.add_scatter(
            x=means["chance"], y=means["low"], name=name, mode="lines+markers", line={"color": colour}, text=text
        )
    figure.update_xaxes(title="predicted chance of low error", range=[-0.02, 1.02])
    figure.update_yaxes(title="observed fraction of low error", range=[-0.02, 1.02])
    return styled(figure)


def _highlighted(study: Study) -> dict[str, str]:
    """Colours of the recommended predictor, and of the best others with and without spectra."""
    ours, without, *others = chosen_predictors(study)
    names = [ours, *(name for name in others[:1] if name not in study.without_spectra), without]
    return dict(zip(names, (COLOURS[0], COLOURS[2], COLOURS[3]), strict=False))
