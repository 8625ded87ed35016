"""The report's figures, by the names that its template knows them by."""

from dataclasses import replace

import numpy as np
import plotly.graph_objects as go

from aelle.analysis.findings import Findings
from aelle.report import early_figures, trained_figures
from aelle.report.example_figures import example_figure
from aelle.report.markup import escaped_examples, escaped_plane, escaped_study, escaped_sweep
from aelle.report.space_figure import plane_in_space

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
"""All that a report can have, but for one."""

TURNING = "space"
"""The plane's three components; on paper its flat picture stands for them."""


def figures(found: Findings) -> dict[str, go.Figure]:
    """Of an analysis, with every word from outside escaped."""
    found = _escaped(found)
    shown, ended = {}, found.ended
    measured = ended.measured_at_the_end()
    if np.isfinite(ended.final_loss).any():
        shown["distribution"] = trained_figures.loss_distribution(ended)
        if ended.hyperparameters:
            shown["losses"] = trained_figures.losses_over_hyperparameters(ended)
    if len(measured.losses):
        shown["spectra"] = trained_figures.spectra_by_loss(measured)
        shown["features"] = trained_figures.features_against_loss(measured, found.correlations)
    if found.plane is not None:
        shown["plane"] = trained_figures.trained_plane_figure(found.plane)
        if found.plane.points.shape[1] > 2:
            shown[TURNING] = plane_in_space(found.plane)
    if found.plane is not None and found.comparison is not None:
        shown["embeddings"] = trained_figures.embeddings(found.plane, found.comparison.embeddings)
    if found.early is not None:
        shown["planes"] = early_figures.plane_over_epochs(ended, found.early)
        shown["curves"] = early_figures.scores_over_epochs(found.early)
        shown["calibration"] = early_figures.calibration(found.early, found.early.first_epoch)
    examples = example_figure(found.examples)
    return shown if examples is None else {**shown, "examples": examples}


def side_by_side(found: Findings) -> dict[str, go.Figure]:
    """For a page without a slider: the plane at several epochs, in place of the one that moves."""
    if found.early is None:
        return {}
    found = _escaped(found)
    assert found.early is not None
    return {"planes": early_figures.planes_over_training(found.ended, found.early)}


def _escaped(found: Findings) -> Findings:
    return replace(
        found,
        ended=escaped_sweep(found.ended),
        plane=found.plane and escaped_plane(found.plane),
        early=found.early and escaped_study(found.early),
        examples=escaped_examples(found.examples),
    )
