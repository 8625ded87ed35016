"""Figures of early prediction: the AeLLE plane while networks train, and scores over the epochs."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import qualitative
from plotly.subplots import make_subplots

from aelle.early import Study
from aelle.evaluation import chance
from aelle.figures import COLOURS, GREY, by_class, first_two, low_error_region, styled
from aelle.predictors import COMBINED
from aelle.table import SweepTable

BINS = 8
"""Of the predicted chance."""


def planes_over_training(sweep: SweepTable, study: Study) -> go.Figure:
    """The first split's test variants in its plane at several stages of training, with the region of low error."""
    stages, model, test = study.stages(sweep.epochs), study.models[0], sweep.take(study.tests[0])
    titles = [f"{100 * k / sweep.epochs:.0f} % (epoch {k})" for k in stages]
    figure = make_subplots(1, len(stages), shared_yaxes=True, subplot_titles=titles)
    known = [test.take(np.flatnonzero(np.isfinite(test.spectra[:, k]).all(axis=1))) for k in stages]
    points = [model.transform(part.seen(model.history)[:, k]) for part, k in zip(known, stages, strict=True)]
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


def scores_over_epochs(study: Study) -> go.Figure:
    """Area under the ROC curve of every predictor; of the shown ones, a band holds 95 % of the splits."""
    summary, figure = study.summary, go.Figure()
    shown = _highlighted(study)
    others = iter(qualitative.Dark24)
    for name, rows in summary.groupby("predictor", sort=False):
        at, colour = rows["epoch"], shown.get(str(name)) or next(others)
        visible = True if name in shown else "legendonly"
        group = {"legendgroup": name, "visible": visible}
        if name in shown:
            band = [*rows["auc_to"], *rows["auc_from"][::-1]]
            style = {"fill": "toself", "fillcolor": colour, "opacity": 0.12, "line": {"width": 0}, "hoverinfo": "skip"}
            figure.add_scatter(x=[*at, *at[::-1]], y=band, showlegend=False, **style, **group)
        figure.add_scatter(x=at, y=rows["auc"], name=name, mode="lines+markers", line={"color": colour}, **group)
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(title="area under the ROC curve")
    legend = {"x": 0, "xanchor": "left", "y": -0.18, "yanchor": "top"}
    return styled(figure).update_layout(legend=legend, height=540, margin_t=20)


def calibration(study: Study, epoch: int) -> go.Figure:
    """Of variants with about so high a chance, how many have ended low-error, over all splits."""
    figure = go.Figure()
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line={"dash": "dash", "color": GREY}, showlegend=False)
    at = study.predictions[study.predictions["epoch"] == epoch]
    for name, colour in _highlighted(study).items():
        rows = at[at["predictor"] == name]
        found = pd.DataFrame({"chance": chance(rows["log_odds"].to_numpy()), "low": rows["low_error"].to_numpy(float)})
        bins = found.groupby(np.minimum((found["chance"] * BINS).astype(int), BINS - 1))
        means, counts = bins.mean(), bins.size()
        text = [f"{count} predictions" for count in counts]
        figure.add_scatter(
            x=means["chance"], y=means["low"], name=name, mode="lines+markers", line={"color": colour}, text=text
        )
    figure.update_xaxes(title="predicted chance of low error", range=[-0.02, 1.02])
    figure.update_yaxes(title="share that ended low-error", range=[-0.02, 1.02])
    return styled(figure)


def _highlighted(study: Study) -> dict[str, str]:
    """The colours of the recommendation, of AeLLE, and of what one has without spectra."""
    return dict(zip((COMBINED, "AeLLE", study.without_spectra[0]), (COLOURS[0], COLOURS[2], COLOURS[3]), strict=True))
