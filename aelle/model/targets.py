"""What AeLLE learns from and is scored by: final losses, or the classes that they give.

Axes: n row.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool, Float, Shaped
from pandas.api.extensions import ExtensionArray
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
        return Target(as_losses("losses", losses), CLASSES)
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
    given = as_losses("losses", losses)
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
        check_positive(values[np.isfinite(values)])
        return values < threshold
    found, _ = _encoded(values)
    if not np.isin(found, classes).all():
        raise UserError(
            f"y contains {found.tolist()}: give classes of the fit, {classes.tolist()}, or losses as floats"
        )
    return values == classes[1]


def as_losses(name: str, given: Any) -> Float[np.ndarray, "n"]:
    """Final losses, also where all are whole. Raises UserError for classes and words."""
    values = _column(given, name)
    if values.dtype.kind not in "iuf":
        raise UserError(f"{name} of {values.dtype}: give final losses as numbers")
    return values.astype(np.float64)


def check_positive(losses: Float[np.ndarray, "n"]) -> None:
    """Raises UserError for a loss that has no logarithm."""
    if (losses <= 0).any():
        raise UserError(
            f"a loss of {losses.min():g} is not positive: AeLLE predicts the logarithm; give losses above 0, or "
            "classes as booleans"
        )


def _column(y: Any, name: str = "y") -> Shaped[np.ndarray, "n"]:
    """In NumPy's types, whatever the type is called where `y` comes from: what is a class and what a loss depends on
    it. Raises UserError for missing classes, and for classes among losses."""
    values = np.asarray(column_or_1d(_array(y, name), warn=True))
    if values.dtype.kind != "O":
        return values
    missing = pd.isna(values)
    kinds = {type(one) for one in values[~missing]}
    floats = bool(kinds) and all(issubclass(kind, (float, np.floating)) for kind in kinds)
    for row in np.flatnonzero(missing):
        if values[row] is None or not floats:
            raise UserError(
                f"{name} has no value in row {row}: leave out rows without a class; a network whose loss is not finite "
                "has NaN among floats"
            )
    if kinds & {bool, np.bool_} and kinds - {bool, np.bool_}:
        raise UserError(f"{name} has booleans among other values: give final losses as floats, or classes alone")
    return np.array(np.where(missing, np.nan, values).tolist() if missing.any() else values.tolist())


def _array(y: Any, name: str) -> Any:
    """An array, of objects where NumPy would make numbers of missing values, or of booleans among numbers."""
    values = as_array(y, name)
    if np.ma.isMaskedArray(values) and np.ma.is_masked(values):
        raise UserError(f"{name} has masked values: leave out their rows")
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        values = pd.arrays.ArrowExtensionArray(values)
    if isinstance(values, (list, tuple)):
        return np.array(values, dtype=object)
    if isinstance(values, (ExtensionArray, pd.Index)):
        values = pd.Series(values)
    if isinstance(values, (pd.Series, pd.DataFrame)):
        types = [values.dtype] if isinstance(values, pd.Series) else list(values.dtypes)
        if all(pd.api.types.is_float_dtype(one) for one in types):
            return values.to_numpy(float, na_value=np.nan)
        return values.to_numpy() if all(isinstance(one, np.dtype) for one in types) else values.to_numpy(object)
    return values


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
