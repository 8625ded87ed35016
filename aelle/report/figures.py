"""The report's figures, by their names in the template.

plotly interprets a subset of HTML, links included, in every text: names that users give are escaped.
"""

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from aelle.analysis.early import Study
from aelle.analysis.examples import Example
from aelle.analysis.findings import Findings
from aelle.analysis.plane import TrainedPlane
from aelle.report import early_figures, trained_figures
from aelle.report.example_figures import example_figure
from aelle.sweep.table import SweepTable

FIGURES = (
    "distribution",
    "losses",
    "spectra",
    "features",
    "plane",
    "embeddings",
    "planes",
    "curves",
    "calibration",
    "examples",
)
"""All figures that a report can have, except `TURNING`."""

TURNING = "space"
"""Three components of the plane, in the page only: there is no still picture of it."""


def figures(found: Findings) -> dict[str, go.Figure]:
    """The figures of an analysis, with names that users give escaped."""
    found = escaped_findings(found)
    shown, complete = {}, found.complete
    measured = complete.measured_at_the_end()
    if np.isfinite(complete.final_loss).any():
        shown["distribution"] = trained_figures.loss_distribution(complete)
        if complete.hyperparameters:
            shown["losses"] = trained_figures.losses_over_hyperparameters(complete)
    if len(measured.losses):
        shown["spectra"] = trained_figures.spectra_by_loss(measured)
        shown["features"] = trained_figures.features_against_loss(measured, found.correlations)
    if found.plane is not None:
        shown["plane"] = trained_figures.trained_plane_figure(found.plane)
        if found.plane.points.shape[1] > 2:
            shown[TURNING] = trained_figures.plane_in_space(found.plane)
    if found.plane is not None and found.comparison is not None:
        shown["embeddings"] = trained_figures.embeddings(found.plane, found.comparison.embeddings)
    if found.early is not None:
        shown["planes"] = early_figures.plane_over_epochs(complete, found.early)
        shown["curves"] = early_figures.scores_over_epochs(found.early)
        shown["calibration"] = early_figures.calibration(found.early, found.early.first_epoch)
    examples = example_figure(found.examples)
    return shown if examples is None else {**shown, "examples": examples}


def side_by_side(found: Findings) -> dict[str, go.Figure]:
    """The still figure in place of the one with a slider: the plane at several epochs."""
    if found.early is None:
        return {}
    found = escaped_findings(found)
    assert found.early is not None
    return {"planes": early_figures.planes_over_training(found.complete, found.early)}


def escaped_findings(found: Findings) -> Findings:
    return replace(
        found,
        complete=escaped_sweep(found.complete),
        plane=found.plane and escaped_plane(found.plane),
        early=found.early and escaped_study(found.early),
        examples=escaped_examples(found.examples),
    )


def escaped_sweep(sweep: SweepTable) -> SweepTable:
    """With hyperparameters' names and string values escaped."""
    names = {name: _escaped(name) for name in sweep.hyperparameters}
    words = {name: sweep.variants[name].map(_escaped) for name in names}
    variants = sweep.variants.assign(**words).rename(columns=names)
    return replace(sweep, hyperparameters=list(names.values()), variants=variants)


def escaped_plane(plane: TrainedPlane) -> TrainedPlane:
    return replace(plane, sweep=escaped_sweep(plane.sweep))


def escaped_study(study: Study) -> Study:
    """Names of predictors contain those of hyperparameters."""
    return replace(
        study,
        scores=study.scores.assign(predictor=study.scores["predictor"].map(_escaped)),
        predictions=study.predictions.assign(predictor=study.predictions["predictor"].map(_escaped)),
        without_spectra=[_escaped(name) for name in study.without_spectra],
    )


def escaped_examples(examples: Sequence[Example]) -> list[Example]:
    """With the names of classes escaped; single characters form no markup."""
    return [
        one._replace(output={**one.output, "classes": [_escaped(label) for label in one.output["classes"]]})
        if "classes" in one.output
        else one
        for one in examples
    ]


def _escaped(value: Any) -> Any:
    return escape(value, quote=False) if isinstance(value, str) else value
