"""A sweep that others have trained, from an array file.

Axes: V variant, E epoch (0 = before training), K exponent.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from aelle.errors import UserError
from aelle.table import SweepTable

NEEDED = {"val_loss": 2, "spectrum": 3}
"""Names of the arrays and how many axes they have: [V, E] and [V, E, K]."""


def load_arrays(path: Path) -> SweepTable:
    """From an .npz file: `val_loss` [V, E], `spectrum` [V, E, K] in nats per step, NaN where not measured; every other
    array [V] is a hyperparameter, but for `variant`, the variants' numbers. The threshold is NaN: the file has none.

    Raises UserError for a file that is not such a one. Nothing in it can run code.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:
        raise UserError(f"{path} is not an array file: {str(error).splitlines()[0]}") from error
    for name, axes in NEEDED.items():
        if name not in arrays or arrays[name].ndim != axes or not np.issubdtype(arrays[name].dtype, np.number):
            found = f"{list(arrays[name].shape)}, {arrays[name].dtype}" if name in arrays else "missing"
            wanted = "[V, E, K]" if axes == 3 else "[V, E]"
            raise UserError(
                f"{path}: {name} is {found}: give numbers {wanted}, beside val_loss [V, E], spectrum [V, E, K] and "
                "hyperparameters [V]; V variants, E epochs from before training on, K exponents"
            )
    losses, spectra = arrays.pop("val_loss").astype(float), arrays.pop("spectrum").astype(float)
    if spectra.shape[:2] != losses.shape or 0 in spectra.shape or losses.shape[1] < 2:
        raise UserError(
            f"{path}: spectrum of shape {list(spectra.shape)}, val_loss of shape {list(losses.shape)}: both need the "
            "same variants and epochs, from before training (0) to the last"
        )
    losses = np.where(np.isfinite(losses), losses, np.nan)
    V = len(losses)
    numbers = arrays.pop("variant", np.arange(V))
    if numbers.shape != (V,) or len(np.unique(numbers)) != V:
        raise UserError(f"{path}: variant of shape {list(numbers.shape)}: give {V} different numbers, or leave it out")
    hyperparameters = {
        name: array for name, array in arrays.items() if array.shape == (V,) and array.dtype.kind in "biufU"
    }
    state = np.where(np.isfinite(losses[:, -1]), "complete", "diverged")
    columns = {"variant": numbers, "number": numbers, "run": path.name, "state": state, "error": None, "ended": True}
    return SweepTable(
        name=path.stem,
        task="array file",
        threshold=np.nan,
        size=V,
        hyperparameters=list(hyperparameters),
        variants=pd.DataFrame({**columns, **hyperparameters}),
        losses=losses,
        spectra=spectra,
        problems=[],
    )
