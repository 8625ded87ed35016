"""The share of low-error variants per value of each hyperparameter, and what the paper reports."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int, Shaped

from aelle.sweep.table import SweepTable

BINS = 4
"""Intervals of a hyperparameter that was drawn from a distribution; one more where round edges need it."""

ROUND_WIDTHS = (1, 1.25, 2, 2.5, 5, 10)
"""Widths that such an interval can have, times a power of ten."""

MAX_GROUPS = 8
"""Values of a hyperparameter that have a group each; more are binned."""


MAGNITUDES = 20
"""Ratio of the largest and the least value of a hyperparameter from which it is seen on a logarithmic scale."""


class Paper(NamedTuple):
    """What Vogt et al. (2022) report of a task's 1200 variants: the share of low error, and per hyperparameter."""

    of_all: str
    of_hyperparameter: dict[str, str]


PAPER = {
    "target": Paper(
        "22 %", {"g": "most values below 1.6 have low-error variants, and every value has high-error ones"}
    ),
    "charrnn": Paper("28 %", {"hidden_size": "64 and 128 have no low-error variants, and 512 not more than 256"}),
    "smnist": Paper(
        "28 % (56 % of its 200 of 64 units with p below 2.5)",
        {"hidden_size": "128 and 256 have no low-error variants, and 32 has the fewest high-error ones"},
    ),
}
"""By task."""

PAPER_ON_FEATURES = "uncorrelated with accuracy: largest exponent, zero crossing, initial and final slope"


class Group(NamedTuple):
    """Variants with one value of a hyperparameter, or in one interval of it."""

    label: str
    variants: int
    low: int
    median_loss: float


def groupable(sweep: SweepTable) -> list[str]:
    """The hyperparameters that vary and are numbers, or have few values: not, for example, names of runs."""
    values = sweep.variants
    return [n for n in sweep.varied if pd.api.types.is_numeric_dtype(values[n]) or values[n].nunique() <= MAX_GROUPS]


def spans_magnitudes(values: Shaped[np.ndarray, "V"]) -> bool:
    """Whether a logarithmic scale shows them better."""
    if values.dtype.kind not in "fiu":
        return False
    finite = values[np.isfinite(values)]
    return bool(len(finite) and finite.min() > 0 and finite.max() / finite.min() > MAGNITUDES)


def shares(sweep: SweepTable) -> dict[str, list[Group]]:
    """Per hyperparameter that varies, its groups in ascending order."""
    loss = np.nan_to_num(sweep.final_loss, nan=np.inf)
    result = {}
    for name in groupable(sweep):
        labels, group = grouped(sweep.variants[name])
        members = [np.flatnonzero(group == i) for i in range(len(labels))]
        result[name] = [
            Group(label, len(rows), int(sweep.low_error[rows].sum()), float(np.median(loss[rows])))
            for label, rows in zip(labels, members, strict=True)
            if len(rows)
        ]
    return result


def grouped(values: pd.Series) -> tuple[list[str], Int[np.ndarray, "V"]]:
    """A hyperparameter's values or, of more than `MAX_GROUPS` numbers, intervals: their labels, and that of each
    variant. The last one, if needed, are variants that do not read the hyperparameter or have no limit."""
    has = values.notna() & ~values.isin([np.inf, -np.inf])
    labels, groups = _of_values(values[has])
    found = np.full(len(values), len(labels))
    found[has.to_numpy()] = groups
    return (labels if has.all() else [*labels, "none"]), found


def _of_values(values: pd.Series) -> tuple[list[str], Int[np.ndarray, "V"]]:
    if not pd.api.types.is_numeric_dtype(values):
        values = values.map(str)
    unique = sorted(values.unique())
    if len(unique) <= MAX_GROUPS or not pd.api.types.is_numeric_dtype(values):
        labels = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in unique]
        return labels, np.searchsorted(unique, values.to_numpy())
    edges = _edges(float(unique[0]), float(unique[-1]))
    labels = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
    return labels, np.clip(np.searchsorted(edges, values.to_numpy(float), side="right") - 1, 0, len(labels) - 1)


def _edges(low: float, high: float) -> np.ndarray:
    """Of equal intervals between round numbers, or of equal ratios where values span orders of magnitude."""
    if low > 0 and high / low > MAGNITUDES:
        return np.geomspace(low, high, BINS + 1)
    width = (high - low) / BINS
    unit = 10.0 ** np.floor(np.log10(width))
    step = next(unit * size for size in ROUND_WIDTHS if unit * size >= width)
    return step * np.arange(np.floor(low / step), np.ceil(high / step) + 1)
