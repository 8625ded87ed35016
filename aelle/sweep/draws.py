"""Which variants share one draw of the hyperparameters, so that only their seeds differ.

What is learned from one of them is known of the others: no part or fold may separate them.

Axes: V variant.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

SEED = "variant_seed"
"""A column that says nothing of other variants."""

FEW_VALUES = 8
"""Values of a hyperparameter that may be a list."""

ROUND_DIGITS = 4
"""Significant digits of a number that a person chooses, at most."""


def repeated_draws(
    variants: pd.DataFrame, hyperparameters: Sequence[str], repeats: int | None
) -> Int[np.ndarray, "V"] | None:
    """The draw that each variant is of; None where no two share one, or all do. `repeats`: of the sweep's
    configuration, by which variants in a row share a draw; None where that is not known.

    Then variants with equal hyperparameters share a draw if one of these is a number that chance does not draw twice:
    not one of a few values, nor round. The values of a grid recur in all combinations, and say nothing of seeds.
    """
    if repeats == 1 or not len(variants):
        return None
    columns = [name for name in hyperparameters if name != SEED]
    keys = variants[columns].astype({name: str for name in columns if variants[name].dtype == object})
    if repeats is not None:
        keys = keys.assign(**{"": variants["number"] // repeats})
    elif not columns or not keys.duplicated().any():
        return None
    draws = keys.groupby(list(keys.columns), dropna=False, sort=False).ngroup().to_numpy()
    if repeats is None:
        alone = ~np.logical_or.reduce([_drawn(variants[name]) for name in columns])
        draws = np.where(alone, len(draws) + np.arange(len(draws)), draws)
    number, draws = np.unique(draws, return_inverse=True)
    return draws if 1 < len(number) < len(draws) else None


def _drawn(values: pd.Series) -> Bool[np.ndarray, "V"]:
    """Which variants have a finite value, if the values look as if drawn from a continuous distribution."""
    numbers = pd.to_numeric(values, errors="coerce") if values.dtype == object else values
    if not pd.api.types.is_float_dtype(numbers):
        return np.zeros(len(values), bool)
    finite = np.isfinite(numbers.to_numpy(float, na_value=np.nan))
    different = numbers[finite].unique()
    round_ones = sum(_digits(value) <= ROUND_DIGITS for value in different)
    return finite & (len(different) > FEW_VALUES and 2 * round_ones < len(different))


def _digits(value: np.floating) -> int:
    """Significant digits that tell the value from all others of its type."""
    return len(np.format_float_scientific(value).lstrip("-").split("e")[0].replace(".", "").rstrip("0"))
