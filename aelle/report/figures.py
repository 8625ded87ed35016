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
from aelle.analysis.embeddings import Embedding
from aelle.analysis.examples import Example
from aelle.analysis.findings import Findings
from aelle.analysis.importance import Importance
from aelle.analysis.plane import TrainedPlane
from aelle.analysis.shares import groupable
from aelle.report import architecture_figures, early_figures, sweep_figures, trained_figures
from aelle.report.example_figures import example_figure
from aelle.report.style import MAX_POINTS, of_a_sample, with_note
from aelle.seeds import sample
from aelle.sweep.table import SweepTable

FIGURES = (
    "learning",
    "importance",
    "distribution",
    "losses",
    "spectra",
    "features",
    "plane",
    "embeddings",
    "architectures",
    "confusion",
    "planes",
    "curves",
    "calibration",
    "examples",
)
"""All figures that a report can have, except those `IN_THE_PAGE`."""

IN_THE_PAGE = ("parallel", "space")
"""Parallel coordinates, and three components of the plane: there are no still pictures of them."""

MAX_SPECTRA = 500
"""Lines in the figure of spectra; of more variants, a sample is drawn."""


def figures(found: Findings) -> dict[str, go.Figure]:
    """The figures of an analysis, with names that users give escaped."""
    found = escaped_findings(found)
    shown, complete, n = {}, found.complete, len(found.complete.losses)
    points = complete.take(sample(n, MAX_POINTS))
    order = found.importance.hyperparameters if found.importance else []
    measured = complete.measured_at_the_end()
    if np.isfinite(complete.losses).any():
        shown["learning"] = sweep_figures.learning_curves(complete)
    if np.isfinite(complete.final_loss).any():
        shown["distribution"] = trained_figures.loss_distribution(complete)
        if complete.hyperparameters:
            losses = trained_figures.losses_over_hyperparameters(points, order)
            shown["losses"] = with_note(losses, of_a_sample(len(points.losses), n))
        if groupable(complete):
            shown["parallel"] = sweep_figures.parallel_coordinates(complete)
    if found.importance is not None:
        shown["importance"] = sweep_figures.importance_figure(found.importance)
    if len(measured.losses):
        of = len(measured.losses)
        lines, dots = (measured.take(sample(of, most)) for most in (MAX_SPECTRA, MAX_POINTS))
        shown["spectra"] = with_note(trained_figures.spectra_by_loss(lines), of_a_sample(len(lines.losses), of))
        features = trained_figures.features_against_loss(dots, found.correlations)
        shown["features"] = with_note(features, of_a_sample(len(dots.losses), of))
    if found.plane is not None:
        plane = sampled_plane(found.plane)
        sampled = of_a_sample(len(plane.points), len(found.plane.points))
        shown["plane"] = with_note(trained_figures.trained_plane_figure(plane, order), sampled)
        if found.architectures:
            shown["architectures"] = with_note(architecture_figures.plane_by_architecture(plane), sampled)
        if plane.points.shape[1] > 2:
            shown["space"] = trained_figures.plane_in_space(plane)
    if found.architectures:
        shown["confusion"] = architecture_figures.confusion(found.architectures[-1])
    if found.plane is not None and found.comparison is not None:
        embeddings = [sampled_embedding(one) for one in found.comparison.embeddings]
        drawn, of = trained_figures.embeddings(found.plane, embeddings), len(found.plane.points)
        shown["embeddings"] = with_note(drawn, of_a_sample(min(of, MAX_POINTS), of))
    if found.early is not None:
        if found.early.models:
            shown["planes"] = early_figures.plane_over_epochs(complete, found.early)
        shown["curves"] = early_figures.scores_over_epochs(found.early)
        shown["calibration"] = early_figures.calibration(found.early, found.early.first_epoch)
    examples = example_figure(found.examples)
    return shown if examples is None else {**shown, "examples": examples}


def sampled_plane(plane: TrainedPlane) -> TrainedPlane:
    """Few enough points for a figure."""
    rows = sample(len(plane.points), MAX_POINTS)
    return replace(
        plane,
        sweep=plane.sweep.take(rows),
        latent=plane.latent[rows],
        points=plane.points[rows],
        test=plane.test[rows],
    )


def sampled_embedding(embedding: Embedding) -> Embedding:
    """Few enough points for a figure."""
    some = sample(len(embedding.points), MAX_POINTS)
    return embedding._replace(points=embedding.points[some], rows=embedding.rows[some])


def side_by_side(found: Findings) -> dict[str, go.Figure]:
    """The still figure in place of the one with a slider: the plane at several epochs."""
    early = escaped_findings(found).early
    if early is None or not early.models:
        return {}
    return {"planes": early_figures.planes_over_training(escaped_sweep(found.complete), early)}


def escaped_findings(found: Findings) -> Findings:
    return replace(
        found,
        complete=escaped_sweep(found.complete),
        plane=found.plane and escaped_plane(found.plane),
        early=found.early and escaped_study(found.early),
        examples=escaped_examples(found.examples),
        importance=found.importance and escaped_importance(found.importance),
        architectures=[one._replace(names=[_escaped(name) for name in one.names]) for one in found.architectures],
    )


def escaped_sweep(sweep: SweepTable) -> SweepTable:
    """With hyperparameters' names and string values escaped."""
    names = {name: _escaped(name) for name in sweep.hyperparameters}
    words = {name: sweep.variants[name].map(_escaped) for name in names}
    variants = sweep.variants.assign(**words).rename(columns=names)
    return replace(sweep, hyperparameters=list(names.values()), variants=variants)


def escaped_plane(plane: TrainedPlane) -> TrainedPlane:
    return replace(plane, sweep=escaped_sweep(plane.sweep))


def escaped_importance(found: Importance) -> Importance:
    """Its columns have the names of hyperparameters."""
    return found._replace(columns=[column._replace(name=_escaped(column.name)) for column in found.columns])


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
