"""What an AeLLE is fitted to, checked, and parted into rows that train it and rows that set its classifier."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from sklearn.utils.validation import check_X_y, column_or_1d
from torch import Tensor

from aelle.errors import UserError
from aelle.evaluation import stratified_parts


class Sample(NamedTuple):
    """What one AeLLE is fitted to; see `AeLLE.fit`."""

    spectra: Any
    losses: Any
    groups: Any = None
    validation: tuple[Any, Any] | None = None


class Rows(NamedTuple):
    spectra: Float[np.ndarray, "n M"]
    losses: Float[np.ndarray, "n"]


def train_and_validation(sample: Sample, threshold: float, seed: int) -> tuple[Rows, Rows]:
    """The rows that train the autoencoder and those that set the classifier: what the sample gives for that, or a fifth
    of its groups. Raises ValueError for spectra that are not finite or rows that do not fit each other.
    """
    spectra, losses = _checked(sample.spectra, sample.losses)
    if sample.validation is not None:
        return Rows(spectra, losses), _checked(*sample.validation)
    groups = np.arange(len(losses)) if sample.groups is None else np.asarray(as_array(sample.groups))
    if groups.shape != losses.shape:
        raise UserError(f"groups of shape {list(groups.shape)}: give one for each of the {len(losses)} rows")
    names, firsts = np.unique(groups, return_index=True)
    _, held_back = stratified_parts(losses[firsts] < threshold, (0.8, 0.2), seed)
    held = np.isin(groups, names[held_back])
    return Rows(spectra[~held], losses[~held]), Rows(spectra[held], losses[held])


def as_array(values: Any) -> Any:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def _checked(spectra: Any, losses: Any) -> Rows:
    losses = np.asarray(column_or_1d(as_array(losses), warn=True), dtype=np.float64)
    spectra, _ = check_X_y(as_array(spectra), np.nan_to_num(losses), dtype="float64", ensure_min_samples=2)
    return Rows(spectra, losses)
