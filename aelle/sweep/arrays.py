"""A sweep that was trained elsewhere, read from an array file.

Axes: V variant, E epoch (0 = before training), K exponent.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from numbers import Real
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from aelle.errors import UserError, in_one_line
from aelle.files import check_regular
from aelle.hyperparameters import why_reserved
from aelle.lyapunov.arrays import as_array, as_floats
from aelle.lyapunov.spectra_so_far import usable
from aelle.lyapunov.spectrum import common_length
from aelle.npz import check_npz
from aelle.sweep.anomalies import Anomaly, in_hyperparameters, in_losses, in_measurements, in_spectra, missing_spectra
from aelle.sweep.draws import repeated_draws
from aelle.sweep.table import SweepTable

REQUIRED_ARRAYS = {"val_loss": 2, "spectrum": 3}
"""Names of the arrays and how many axes they have: [V, E] and [V, E, K]."""

TEST_SPECTRA = "test_input_spectrum"

ARRAYS = "array file"
"""Stands for the task, which an array file does not name."""

MAX_UNPACKED, UNPACKED_PER_BYTE = 200_000_000, 20
"""Bytes that the arrays of a file may take in any case, and for each byte of the file."""

WORDS_OF_A_NAME = 10
"""Variants from which words that are all different are taken for names of runs."""


def load_arrays(path: Path) -> SweepTable:
    """Read a sweep from an .npz file.

    It contains `val_loss` [V, E] and `spectrum` [V, E, K] in nats per step, NaN where not measured and after the last
    exponent of a smaller network; optionally `test_input_spectrum`, the same driven by inputs of the test part, and
    `variant` [V], the variants' numbers. Every other array [V] is a hyperparameter. What cannot be one is left out, and
    spectra that are incomplete are not used: `problems` and `anomalies` of the table name them. The threshold is NaN,
    as the file has none.

    Raises UserError for any other file. Nothing in the file can run code.
    """
    arrays = _read(path)
    for name, axes in REQUIRED_ARRAYS.items():
        if name not in arrays or arrays[name].ndim != axes or arrays[name].dtype.kind not in "fiu":
            found = _kind(arrays[name]) if name in arrays else "missing"
            wanted = "[V, E, K]" if axes == 3 else "[V, E]"
            raise UserError(
                f"{path}: {name} is {found}: give numbers {wanted}; the file needs val_loss [V, E] and spectrum "
                "[V, E, K], and may have hyperparameters [V]: V variants, E epochs (0 before training), K exponents"
            )
    losses, spectra = arrays.pop("val_loss").astype(float), arrays.pop("spectrum").astype(float)
    left_out, test_spectra = {}, arrays.pop(TEST_SPECTRA, None)
    if test_spectra is not None and (test_spectra.shape != spectra.shape or test_spectra.dtype.kind not in "fiu"):
        left_out[TEST_SPECTRA] = (
            f"it needs numbers of the shape of spectrum, {list(spectra.shape)}, and is {_kind(test_spectra)}"
        )
        test_spectra = None
    V = len(losses)
    numbers = _numbers(path, arrays.pop("variant", np.arange(V)), V)
    anomalies, hyperparameters = [], {}
    for name, array in arrays.items():
        if why := _no_hyperparameter(name, array, numbers):
            left_out[name] = why
        else:
            hyperparameters[name], changed = _without_blanks(name, array, numbers)
            anomalies += changed
    try:
        table = _table(path.name, losses, spectra, hyperparameters, numbers)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    anomalies += [*in_losses(numbers, losses), *in_spectra("spectrum", numbers, spectra)]
    anomalies += in_measurements(numbers, table.losses, table.spectra, given=np.any(~np.isnan(spectra), 2))
    anomalies += in_hyperparameters(numbers, table.final_loss, hyperparameters)
    if test_spectra is not None:
        test_spectra = test_spectra.astype(float)
        anomalies += in_spectra(TEST_SPECTRA, numbers, test_spectra)
        given, test_spectra = np.any(~np.isnan(test_spectra), 2), _curves(test_spectra)[0]
        anomalies += missing_spectra(TEST_SPECTRA, numbers, table.losses, test_spectra, given)
    return replace(
        table,
        name=path.stem,
        problems=[f"{path.name}: {name} is left out: {why}" for name, why in left_out.items()],
        test_spectra=test_spectra,
        anomalies=anomalies,
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    arrays = {}
    try:
        size = check_regular(path, sys.maxsize, follow=True)
        with path.open("rb") as file:
            names = check_npz(file, max(MAX_UNPACKED, UNPACKED_PER_BYTE * size))
            with np.load(file, allow_pickle=False) as opened:
                for name in names:
                    with _naming(path, name):
                        arrays[name] = opened[name]
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path} is not an array file as numpy.savez writes it: {in_one_line(error)}") from error
    return arrays


@contextmanager
def _naming(path: Path, name: str) -> Iterator[None]:
    """Which array of a file cannot be read."""
    try:
        yield
    except ValueError as error:
        if "Object arrays" not in str(error):
            raise
        raise UserError(
            f"{path}: {name} is an array of Python objects, and to read it could run code: save numbers, or "
            "words as numpy.array(…, dtype=str)"
        ) from error


def _numbers(path: Path, numbers: np.ndarray, V: int) -> Int[np.ndarray, "V"]:
    if numbers.shape != (V,) or numbers.dtype.kind not in "iu":
        raise UserError(f"{path}: variant is {_kind(numbers)}: give {V} different whole numbers, or leave it out")
    found, times = np.unique(numbers, return_counts=True)
    if (times > 1).any():
        raise UserError(
            f"{path}: variant contains {found[times > 1][0]} {times.max()} times: give {V} different whole numbers, or "
            "leave it out"
        )
    return numbers


def _no_hyperparameter(name: str, array: np.ndarray, numbers: Int[np.ndarray, "V"]) -> str:
    """Why an array cannot be a hyperparameter, or ""."""
    V = len(numbers)
    if clash := why_reserved(name):
        return clash
    if array.shape != (V,) or array.dtype.kind not in "biufU":
        return f"a hyperparameter is an array [{V}] of numbers or words, and it is {_kind(array)}"
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        of = Anomaly("a hyperparameter has finite values", tuple(numbers[~np.isfinite(array)].tolist()))
        return f"it contains NaN or infinity, and {of}"
    if array.dtype.kind == "U" and V >= WORDS_OF_A_NAME and len(np.unique(array)) == V:
        return "its words are all different, as names of runs are, and say nothing of other variants"
    return ""


def _without_blanks(
    name: str, array: np.ndarray, numbers: Int[np.ndarray, "V"]
) -> tuple[Shaped[np.ndarray, "V"], list[Anomaly]]:
    """Words without blanks around them, and which have changed or are empty."""
    if array.dtype.kind != "U":
        return array, []
    stripped = np.char.strip(array)
    changed, empty = stripped != array, stripped == ""
    found = []
    if changed.any():
        found.append(Anomaly(f"{name} has blanks around words, which are left out", tuple(numbers[changed].tolist())))
    if empty.any():
        found.append(Anomaly(f"{name} is an empty word, which counts as a value", tuple(numbers[empty].tolist())))
    return stripped, found


def _kind(array: np.ndarray) -> str:
    return f"{list(array.shape)}, {array.dtype}"


def table_of(losses: Any, spectra: Any = None, hyperparameters: Any = None) -> SweepTable:
    """A sweep from arrays: validation losses [V, E] of epochs 0 to the last, spectra [V, E, K] in nats per step, NaN
    where not measured and after the last exponent of a smaller network, and a mapping or frame of names to values [V].
    Raises ValueError for other shapes, for losses that are not above 0 and for `RESERVED` names of hyperparameters."""
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
        if clash := why_reserved(name):
            raise UserError(f"hyperparameters contain {name}: {clash}")
    return _table(ARRAYS, losses, spectra, values, np.arange(len(losses)))


def as_frame(hyperparameters: Any) -> pd.DataFrame:
    """A row per network, a column per hyperparameter. Raises UserError for columns that are not of the same length."""
    if isinstance(hyperparameters, Mapping):
        # An index of its own would put a column's values into other rows.
        hyperparameters = {
            name: values.reset_index(drop=True)
            if isinstance(values, pd.Series)
            else as_array(values, f"hyperparameter {name}")
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
    frame = frame.set_axis(frame.columns.astype(str), axis=1)
    for name in frame.columns:
        if wrong := _no_value(frame[name]):
            raise UserError(f"hyperparameter {name} has values of type {wrong}: give numbers or words")
    return frame


def _no_value(column: pd.Series) -> str:
    """The type of a value that is neither a number nor a word nor missing; "" if there is none."""
    kind = getattr(column.dtype, "kind", "O")
    if kind in "mMcV":
        return str(column.dtype)
    allowed = (str, Real, np.bool_, NoneType, type(pd.NA))
    return next((type(one).__name__ for one in (column if kind == "O" else ()) if not isinstance(one, allowed)), "")


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
    finite = np.where(np.isfinite(losses), losses, np.nan)
    diverged = np.isnan(finite[:, -1])
    error = pd.Series([f"val_loss is {loss:g} after the last epoch" for loss in losses[:, -1]], dtype=object)
    columns = {
        "variant": numbers,
        "number": numbers,
        "run": run,
        "state": np.where(diverged, "diverged", "complete"),
        "error": error.where(diverged, None),
        "complete": True,
    }
    variants = pd.DataFrame({**columns, **hyperparameters})
    curves, exponents = _curves(spectra)
    return SweepTable(
        name=ARRAYS,
        task=ARRAYS,
        threshold=np.nan,
        size=len(losses),
        hyperparameters=list(hyperparameters),
        variants=variants,
        losses=finite,
        spectra=curves,
        problems=[],
        exponents=exponents.max(1, initial=1),
        draws=repeated_draws(variants, list(hyperparameters), None),
    )


def _curves(spectra: Float[np.ndarray, "V E K"]) -> tuple[Float[np.ndarray, "V E K"], Int[np.ndarray, "V E"]]:
    """`common_length` of those that are usable."""
    return common_length(np.where(usable(spectra)[..., None], spectra, np.nan))
