"""A sweep that was trained elsewhere, read from an array file.

Axes: V variant, E epoch (0 = before training), K exponent.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor

from aelle.errors import UserError, in_one_line
from aelle.lyapunov.spectrum import common_length
from aelle.sweep.draws import repeated_draws
from aelle.sweep.table import SweepTable

REQUIRED_ARRAYS = {"val_loss": 2, "spectrum": 3}
"""Names of the arrays and how many axes they have: [V, E] and [V, E, K]."""

TEST_SPECTRA = "test_input_spectrum"

ARRAYS = "array file"
"""Stands for the task, which an array file does not name."""

RESERVED = ("variant", "number", "run", "state", "error", "complete")
"""Columns of a sweep's table, which no hyperparameter can have as its name."""


def load_arrays(path: Path) -> SweepTable:
    """Read a sweep from an .npz file.

    It contains `val_loss` [V, E] and `spectrum` [V, E, K] in nats per step, NaN where not measured and after the last
    exponent of a smaller network; optionally `test_input_spectrum`, the same driven by inputs of the test part, and
    `variant` [V], the variants' numbers. Every other array [V] is a hyperparameter, but those of a
    `RESERVED` name, which are left out. The threshold is NaN, as the file has none.

    Raises UserError for any other file. Nothing in the file can run code.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:
        raise UserError(f"{path} is not an array file as numpy.savez writes it: {in_one_line(error)}") from error
    for name, axes in REQUIRED_ARRAYS.items():
        if name not in arrays or arrays[name].ndim != axes or arrays[name].dtype.kind not in "fiu":
            found = f"{list(arrays[name].shape)}, {arrays[name].dtype}" if name in arrays else "missing"
            wanted = "[V, E, K]" if axes == 3 else "[V, E]"
            raise UserError(
                f"{path}: {name} is {found}: give numbers {wanted}; the file needs val_loss [V, E] and spectrum "
                "[V, E, K], and may have hyperparameters [V]: V variants, E epochs (0 before training), K exponents"
            )
    losses, spectra = arrays.pop("val_loss").astype(float), arrays.pop("spectrum").astype(float)
    problems, test_spectra = [], arrays.pop(TEST_SPECTRA, None)
    if test_spectra is not None and (test_spectra.shape != spectra.shape or test_spectra.dtype.kind not in "fiu"):
        problems.append(
            f"{path.name}: {TEST_SPECTRA} is left out: it needs the shape of spectrum, {list(spectra.shape)}"
        )
        test_spectra = None
    V = len(losses)
    numbers = arrays.pop("variant", np.arange(V))
    if numbers.shape != (V,) or numbers.dtype.kind not in "iu" or len(np.unique(numbers)) != V:
        raise UserError(
            f"{path}: variant of shape {list(numbers.shape)}: give {V} different whole numbers, or leave it out"
        )
    hyperparameters = {}
    for name, array in arrays.items():
        usable = array.shape == (V,) and array.dtype.kind in "biufU"
        if clash := _clash(name):
            problems.append(f"{path.name}: {name} is left out: {clash}")
        elif usable and (array.dtype.kind != "f" or np.isfinite(array).all()):
            hyperparameters[name] = array
        else:
            problems.append(f"{path.name}: {name} is left out: a hyperparameter is an array [{V}] of finite values")
    try:
        table = _table(path.name, losses, spectra, hyperparameters, numbers)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    test_spectra = None if test_spectra is None else common_length(test_spectra.astype(float))[0]
    return replace(table, name=path.stem, problems=problems, test_spectra=test_spectra)


def table_of(losses: Any, spectra: Any = None, hyperparameters: Any = None) -> SweepTable:
    """A sweep from arrays: validation losses [V, E] of epochs 0 to the last, spectra [V, E, K] in nats per step, NaN
    where not measured and after the last exponent of a smaller network, and a mapping or frame of names to values [V].
    Raises ValueError for other shapes, for losses that are not above 0 and for `RESERVED` names."""
    losses = as_floats("losses", losses)
    spectra = np.full((*losses.shape[:2], 1), np.nan) if spectra is None else as_floats("spectra", spectra)
    if losses.ndim != 2 or spectra.ndim != 3:
        raise UserError(
            f"losses of shape {list(losses.shape)}, spectra of shape {list(spectra.shape)}: give [V, E] and [V, E, M]"
        )
    frame = pd.DataFrame() if hyperparameters is None else as_frame(hyperparameters)
    if len(frame.columns) and len(frame) != len(losses):
        raise UserError(f"hyperparameters of {len(frame)} networks, losses of {len(losses)}: give the same networks")
    values = {name: frame[name].to_numpy() for name in frame.columns}
    for name in values:
        if clash := _clash(name):
            raise UserError(f"hyperparameters contain {name}: {clash}")
    return _table(ARRAYS, losses, spectra, values, np.arange(len(losses)))


def as_array(values: Any) -> Any:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def as_floats(name: str, values: Any) -> np.ndarray:
    """Raises UserError for what is no array of numbers."""
    try:
        return np.asarray(as_array(values), dtype=float)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: {in_one_line(error)}; give an array or a tensor of numbers") from error


def as_frame(hyperparameters: Any) -> pd.DataFrame:
    """A row per network, a column per hyperparameter. Raises UserError for columns that are not of the same length."""
    if isinstance(hyperparameters, Mapping):
        # An index of its own would put a column's values into other rows.
        hyperparameters = {
            name: values.reset_index(drop=True) if isinstance(values, pd.Series) else as_array(values)
            for name, values in hyperparameters.items()
        }
        for name, values in hyperparameters.items():
            if np.ndim(values) != 1:
                raise UserError(
                    f"hyperparameter {name} of shape {list(np.shape(values))}: give [V], a value for each network"
                )
    try:
        frame = pd.DataFrame(hyperparameters).reset_index(drop=True)
        names = frame.columns.astype(str)
        if not names.is_unique:
            raise ValueError(f"several are named {names[names.duplicated()][0]}")
    except (TypeError, ValueError) as error:
        raise UserError(
            f"hyperparameters: {in_one_line(error)}; give a mapping or frame of names to values [V], one per network"
        ) from error
    return frame.set_axis(frame.columns.astype(str), axis=1)


def _clash(name: str) -> str:
    """Why no hyperparameter can have that name, or ""."""
    return f"the sweep's table has a column of that name; rename it, e.g. to {name}_" if name in RESERVED else ""


def _table(
    run: str,
    losses: Float[np.ndarray, "V E"],
    spectra: Float[np.ndarray, "_ _ _"],
    hyperparameters: dict[str, np.ndarray],
    numbers: Int[np.ndarray, "V"],
) -> SweepTable:
    """Raises UserError where losses and spectra are not of the same variants and epochs."""
    if spectra.shape[:2] != losses.shape or 0 in spectra.shape or losses.shape[1] < 2:
        raise UserError(
            f"spectrum of shape {list(spectra.shape)}, val_loss of shape {list(losses.shape)}: both need the "
            "same variants and epochs, from epoch 0 (before training) to the last"
        )
    if (losses <= 0).any():
        v = int(np.flatnonzero((losses <= 0).any(1))[0])
        raise UserError(f"val_loss contains {losses[v].min():g} in row {v}: losses must be above 0")
    losses = np.where(np.isfinite(losses), losses, np.nan)
    state = np.where(np.isfinite(losses[:, -1]), "complete", "diverged")
    columns = {"variant": numbers, "number": numbers, "run": run, "state": state, "error": None, "complete": True}
    variants = pd.DataFrame({**columns, **hyperparameters})
    curves, exponents = common_length(spectra)
    return SweepTable(
        name=ARRAYS,
        task=ARRAYS,
        threshold=np.nan,
        size=len(losses),
        hyperparameters=list(hyperparameters),
        variants=variants,
        losses=losses,
        spectra=curves,
        problems=[],
        exponents=exponents.max(1, initial=1),
        draws=repeated_draws(variants, list(hyperparameters), None),
    )
