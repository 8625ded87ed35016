"""Names and words for figures: plotly reads a subset of HTML, links included, in every text that it draws."""

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import Any

from aelle.analysis.early import Study
from aelle.analysis.examples import Example
from aelle.analysis.plane import TrainedPlane
from aelle.sweep.table import SweepTable


def escaped_sweep(sweep: SweepTable) -> SweepTable:
    """With hyperparameters' names, and values that are words, as they are to be read."""
    names = {name: _escaped(name) for name in sweep.hyperparameters}
    words = {name: sweep.variants[name].map(_escaped) for name in names}
    variants = sweep.variants.assign(**words).rename(columns=names)
    return replace(sweep, hyperparameters=list(names.values()), variants=variants)


def escaped_plane(plane: TrainedPlane) -> TrainedPlane:
    return replace(plane, sweep=escaped_sweep(plane.sweep))


def escaped_study(study: Study) -> Study:
    """Predictors are named after the hyperparameters that they look at."""
    return replace(
        study,
        scores=study.scores.assign(predictor=study.scores["predictor"].map(_escaped)),
        predictions=study.predictions.assign(predictor=study.predictions["predictor"].map(_escaped)),
        without_spectra=[_escaped(name) for name in study.without_spectra],
    )


def escaped_examples(examples: Sequence[Example]) -> list[Example]:
    """With the names of classes; single characters form no markup."""
    return [
        one._replace(output={**one.output, "classes": [_escaped(label) for label in one.output["classes"]]})
        if "classes" in one.output
        else one
        for one in examples
    ]


def _escaped(value: Any) -> Any:
    return escape(value, quote=False) if isinstance(value, str) else value
