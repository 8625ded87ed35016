"""The allowed values of AeLLE's parameters."""

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

from aelle.errors import UserError
from aelle.model.regions import CLASSIFIERS
from aelle.model.scaling import SCALINGS

CHOICES = {
    "embedding": ("pca",),
    "classifier": tuple(CLASSIFIERS),
    "prediction_norm": (1, 2),
    "scaling": SCALINGS,
    "committee": (True, False),
}
MINIMA = {"latent_size": 1, "epochs": 1, "batch_size": 1, "n_components": 1, "seed": 0}
RANGES = {"learning_rate": (1e-9, 10.0), "weight_decay": (0.0, 100.0), "dropout": (0.0, 0.99), "noise": (0.0, 100.0)}


def check_parameters(parameters: dict[str, Any]) -> None:
    """Raises ValueError for a parameter that no fit could use."""
    check_threshold(parameters["threshold"])
    for name, allowed in CHOICES.items():
        value = parameters[name]
        # True is 1 for Python.
        alike = isinstance(value, (str, int, np.integer)) and isinstance(value, bool) == isinstance(allowed[0], bool)
        if not alike or value not in allowed:
            # t-SNE cannot embed new points, so nothing could be classified on it.
            hint = "; for t-SNE and UMAP next to it, set pictures=[tsne,umap]" if name == "embedding" else ""
            raise UserError(f"{name}={value!r}: choose {' or '.join(map(repr, allowed))}{hint}")
    for name, least in MINIMA.items():
        if not is_whole(parameters[name]) or parameters[name] < least:
            raise UserError(f"{name}={parameters[name]}: give a whole number of at least {least}")
    for name, (least, most) in RANGES.items():
        if not is_number(parameters[name]) or not least <= parameters[name] <= most:
            raise UserError(f"{name}={parameters[name]}: give a number from {least:g} to {most:g}")
    if parameters["max_steps"] is not None and (not is_whole(parameters["max_steps"]) or parameters["max_steps"] < 1):
        raise UserError(f"max_steps={parameters['max_steps']}: give a whole number of at least 1, or null for no limit")
    points, components, alphas = parameters["points"], parameters["n_components"], parameters["alphas"]
    if points is not None and (not is_whole(points) or points < 2):
        raise UserError(f"points={points}: give a whole number of at least 2, or null for all points of the spectrum")
    if components > parameters["latent_size"]:
        raise UserError(f"n_components={components}: give at most latent_size={parameters['latent_size']}")
    if isinstance(alphas, str) or not isinstance(alphas, (Sequence, np.ndarray)):
        raise UserError(f"alphas={alphas!r}: give a list of numbers, none negative")
    if not len(alphas) or not all(is_number(alpha) and alpha >= 0 for alpha in alphas):
        raise UserError(f"alphas={list(alphas)}: give at least one number, none negative")


def check_threshold(threshold: object) -> None:
    if not is_number(threshold) or not 0 < threshold < np.inf:
        raise UserError(f"threshold={' '.join(repr(threshold).split())[:60]}: give a finite loss above 0")


def is_whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
