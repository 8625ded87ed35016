"""What AeLLE learns from and is scored by: final losses, or the classes that they give.

Axes: n row.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped
from sklearn.utils.validation import column_or_1d

from aelle.errors import TooFewError, UserError
from aelle.lyapunov.arrays import as_array

CLASSES = np.array([0, 1])
"""High and low error, of a model that was fitted to losses."""

FACTOR_OF_A_CLASS = np.e
"""Where only classes are known, a loss is taken to be above or below the threshold by this factor."""


class Target(NamedTuple):
    """Final losses, and the names of the classes: that of high error, then that of low error."""

    losses: Float[np.ndarray, "n"]
    classes: Shaped[np.ndarray, "2"]


def target(y: Any, losses: Any, threshold: float) -> Target:
    """Floats in `y` are final losses. Booleans and whole numbers are classes, of which the larger is low error; their
    losses are those in `losses`, if these are given.

    Raises UserError for anything else, and where classes and losses contradict each other, TooFewError for one class.
    """
    if y is None:
        if losses is None:
            raise UserError("AeLLE requires y to be passed, but the target y is None: give final losses [n]")
        return target(losses, None, threshold)
    values = _column(y)
    if values.dtype.kind == "f":
        if losses is not None:
            raise UserError("y and losses both contain losses: give losses alone, or classes in y (losses < threshold)")
        return Target(values.astype(np.float64), CLASSES)
    classes, encoded = _encoded(values)
    if len(classes) == 1:
        raise TooFewError(f"y has 1 class only, {classes[0]}: AeLLE needs variants of both classes, low and high error")
    low = encoded == 1
    if losses is None:
        return Target(threshold * FACTOR_OF_A_CLASS ** np.where(low, -1.0, 1.0), classes)
    given = _column(losses).astype(np.float64)
    if given.shape != low.shape:
        raise UserError(f"losses of shape {list(given.shape)}: give {len(low)} numbers, one for each row of y")
    if (wrong := low != (given < threshold)).any():
        row = int(np.flatnonzero(wrong)[0])
        raise UserError(
            f"y is {values[row]} in row {row}, whose loss is {given[row]:g}: give y = losses < threshold, which is "
            f"{threshold:g}"
        )
    return Target(given, classes)


def with_losses(validation: tuple[Any, ...], threshold: float) -> tuple[Any, ...]:
    """(spectra, y, …), with losses where y is classes."""
    learned = [target(y, None, threshold).losses for y in validation[1:2]]
    return (*validation[:1], *learned, *validation[2:])


def low_error(y: Any, threshold: float, classes: Shaped[np.ndarray, "2"]) -> Bool[np.ndarray, "n"]:
    """Which rows are low-error by their losses, or by their classes. Raises UserError for another class."""
    values = _column(y)
    if values.dtype.kind == "f":
        return values < threshold
    found, _ = _encoded(values)
    if not np.isin(found, classes).all():
        raise UserError(
            f"y contains {found.tolist()}: give classes of the fit, {classes.tolist()}, or losses as floats"
        )
    return values == classes[1]


def _column(y: Any) -> Shaped[np.ndarray, "n"]:
    values = np.asarray(column_or_1d(as_array(y, "y"), warn=True))
    # Of pandas' own types: as NumPy has them.
    return np.array(values.tolist()) if values.dtype.kind == "O" else values


def _encoded(values: Shaped[np.ndarray, "n"]) -> tuple[Shaped[np.ndarray, "c"], Shaped[np.ndarray, "n"]]:
    """The classes, ascending, and the place of each row's among them."""
    if values.dtype.kind not in "biu":
        raise UserError(f"y of {values.dtype}: give final losses as floats, or classes as booleans, True for low error")
    classes, encoded = np.unique(values, return_inverse=True)
    if len(classes) > 2:
        raise UserError(
            f"Only binary classification is supported. y has {len(classes)} different whole numbers: give losses as "
            "floats; where scikit-learn encodes y, e.g. cross_val_predict with method='predict_proba', give the "
            "classes, y = losses < threshold, and the losses by params={'losses': losses}"
        )
    return classes, encoded
