"""Figures of early prediction: the AeLLE plane while networks train, and scores over the epochs."""

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from aelle.early import Study
from aelle.figures import COLOURS, GREY, by_class, first_two, styled
from aelle.table import SweepTable


def planes_over_training(sweep: SweepTable, study: Study) -> go.Figure:
    """The test variants in the plane at several stages of training, with the threshold."""
    stages = study.stages(sweep.epochs)
    test = sweep.take(study.tests[0])
    titles = [f"{100 * k / sweep.epochs:.0f} % (epoch {k})" for k in stages]
    figure = make_subplots(1, len(stages), shared_yaxes=True, subplot_titles=titles)
    cut, shown = study.models[0].cut_, []
    for column, k in enumerate(stages, 1):
        known = test.take(np.flatnonzero(np.isfinite(test.spectra[:, k]).all(axis=1)))
        points = study.models[0].transform(known.spectra[:, k])
        shown.append(points[:, 0])
        figure.add_traces(by_class(known, *first_two(points), show=column == 1), rows=1, cols=column)
    figure.update_yaxes(title="PC2", row=1, col=1)
    figure.update_annotations(font_size=13, yshift=-2)
    pc1 = np.concatenate(shown)
    margin = 0.05 * np.ptp(pc1)
    figure.update_xaxes(title="PC1", matches="x", range=[pc1.min() - margin, pc1.max() + margin])
    figure.add_vline(cut, line={"dash": "dash", "color": GREY})
    return styled(figure).update_layout(margin_t=90, legend_y=1.12)


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
    return styled(figure)
