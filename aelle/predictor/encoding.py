"""Hyperparameters as columns of numbers.

Axes: V variant, F column.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from aelle.errors import UserError
from aelle.sweep.draws import SEED

MAGNITUDES = 20
"""Ratio of the largest and the least value from which a hyperparameter enters by its logarithm."""

MAX_PRODUCTS = 6
"""Columns of numbers of which all products enter; of more, only the squares do."""

BEYOND = 0.1
"""How far beyond the known range a number may lie, as a share of it."""


@dataclass(frozen=True)
class Numbers:
    """A hyperparameter that is a number: the range of its finite known values (of their logarithms), their mean, and
    whether some of the known variants have a finite value, and some have none, because they do not read it or it has
    no limit."""

    logarithmic: bool
    low: float
    high: float
    mean: float
    some_with: bool
    some_without: bool

    @property
    def varies(self) -> bool:
        return self.high > self.low or (self.some_with and self.some_without)

    def scaled(self, values: Float[np.ndarray, "V"]) -> Float[np.ndarray, "V"]:
        """NaN where there is no finite value."""
        if self.logarithmic:
            values = np.log(np.where(values > 0, values, np.nan))
        return np.where(np.isfinite(values), values, np.nan)


@dataclass(frozen=True)
class Encoding:
    """Learned from the known variants. `numbers`, `words`: the hyperparameters of either kind; of words, those that
    the known variants have, sorted. A hyperparameter that is the same for all known variants gives no column, nor does
    the seed."""

    numbers: dict[str, Numbers]
    words: dict[str, list[str]]

    @classmethod
    def of(cls, known: pd.DataFrame) -> "Encoding":
        numbers, words = {}, {}
        for name in known.columns.drop(SEED, errors="ignore"):
            if not are_numbers(known[name]):
                words[name] = sorted(set(as_words(known[name])))
                continue
            values = as_numbers(known[name])
            finite = values[np.isfinite(values)]
            logarithmic = bool(len(finite) and finite.min() > 0 and finite.max() / finite.min() > MAGNITUDES)
            scaled = np.log(finite) if logarithmic else finite
            low, high, mean = (float(f(scaled)) for f in (np.min, np.max, np.mean)) if len(finite) else (0.0,) * 3
            numbers[name] = Numbers(logarithmic, low, high, mean, len(finite) > 0, len(finite) < len(values))
        return cls(numbers, words)

    @property
    def varied(self) -> list[str]:
        """The hyperparameters that give columns."""
        numbers = [name for name, one in self.numbers.items() if one.varies]
        return numbers + [name for name, words in self.words.items() if len(words) > 1]

    def check_names(self, given: Collection[str]) -> None:
        """Raises UserError for names of which some are unknown while a known one is missing: it may be misspelt, and
        without it nothing could be predicted from the others. Names that are only more, or only fewer, may be given."""
        known = [*self.numbers, *self.words]
        unknown, missing = sorted(set(given) - set(known)), [name for name in self.varied if name not in given]
        if unknown and missing:
            raise UserError(
                f"hyperparameters contain {', '.join(unknown)} and no {', '.join(missing)}: the predictor knows "
                f"{', '.join(known)}; rename or leave out what it does not know"
            )

    def columns(self, given: pd.DataFrame, quadratic: bool = False) -> Float[np.ndarray, "V F"]:
        """Numbers, those that enter by their logarithm also as they are, and words one-hot. Missing numbers are at the
        mean, and a column says which are there. `quadratic`: with squares and products of the numbers, centred and
        scaled to their range."""
        numbers, others = [], []
        for name, one in self.numbers.items():
            if one.varies:
                scaled = one.scaled(as_numbers(given[name]))
                there = np.isfinite(scaled)
                numbers += [np.nan_to_num((scaled - one.mean) / (one.high - one.low))] if one.high > one.low else []
                others += [np.exp(np.where(there, scaled, one.mean) - one.high)] if one.logarithmic else []
                others += [there.astype(float)] if one.some_without else []
        parts = [*numbers, *others]
        for name, words in self.words.items():
            if len(words) > 1:
                values = as_words(given[name])
                parts += [(values == word).astype(float) for word in words]
        if quadratic:
            parts += [one**2 for one in numbers]
            parts += [a * b for a, b in combinations(numbers, 2)] if len(numbers) <= MAX_PRODUCTS else []
        return np.stack(parts, 1) if parts else np.zeros((len(given), 0))

    def outside(self, given: pd.DataFrame) -> list[str]:
        """For each variant, what lies outside of what is known, in words; "" for nothing."""
        said = np.full(len(given), "", dtype=object)
        for name, one in self.numbers.items():
            if name not in given:
                continue
            values = as_numbers(given[name])
            scaled = one.scaled(values)
            margin = BEYOND * (one.high - one.low) or 1e-9 * abs(one.high)
            wrong = (scaled < one.low - margin) | (scaled > one.high + margin)
            if not one.some_with:
                wrong = np.isfinite(scaled)
            if not one.some_without:
                wrong |= ~np.isfinite(scaled)
            low, high = (np.exp(edge) if one.logarithmic else edge for edge in (one.low, one.high))
            known = f"{low:.3g}" if one.low == one.high else f"{low:.3g} to {high:.3g}"
            known = known if one.some_with else "none"
            for v in np.flatnonzero(wrong & (said == "")):
                value = as_words(given[name])[v] if np.isnan(values[v]) else f"{values[v]:.4g}"
                said[v] = f"{name}={value}: known is {known}"
        for name, words in self.words.items():
            if name not in given:
                continue
            values = as_words(given[name])
            for v in np.flatnonzero(~np.isin(values, words) & (said == "")):
                said[v] = f"{name}={values[v]}: known is {', '.join(words[:5])}{', …' if len(words) > 5 else ''}"
        return said.tolist()

    def state(self) -> dict[str, Any]:
        return {"numbers": {name: vars(one) for name, one in self.numbers.items()}, "words": self.words}

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> "Encoding":
        return cls({name: Numbers(**one) for name, one in state["numbers"].items()}, state["words"])


def are_numbers(values: pd.Series) -> bool:
    """Whether all that are there are numbers, in a column of any type."""
    if pd.api.types.is_numeric_dtype(values):
        return True
    there = values.dropna()
    return len(there) > 0 and bool(pd.to_numeric(there, errors="coerce").notna().all())


def as_numbers(values: pd.Series) -> Float[np.ndarray, "V"]:
    """NaN for what is no number."""
    numeric = isinstance(values.dtype, np.dtype) and values.dtype.kind in "fiub"
    return (values if numeric else pd.to_numeric(values, errors="coerce")).to_numpy(float)


def as_words(values: pd.Series) -> np.ndarray:
    return values.astype(object).where(values.notna(), "none").astype(str).to_numpy()
