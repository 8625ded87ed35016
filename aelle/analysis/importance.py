"""How much the final loss depends on each hyperparameter, and on the first spectrum: permutation importance.

A forest of extremely randomised trees predicts the logarithm of the final loss. A column's importance is by how much
its R², on variants that the forest was not fitted to, falls when the column's values are permuted among them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import KFold

from aelle.analysis.shares import groupable, spans_magnitudes
from aelle.lyapunov.features import FEATURES
from aelle.seeds import sample
from aelle.sweep.table import SweepTable

OF_THE_SPECTRUM = ("largest exponent", "mean", "variance")
"""The scalar features that stand for the spectrum. They are permuted together."""

MIN_VARIANTS = 30
MAX_VARIANTS = 1000
"""More variants are sampled: the forest takes seconds otherwise."""

WORST = 0.95

FOLDS, TREES, REPEATS = 3, 100, 5

Matrix = Float[np.ndarray, "n _"]


class Column(NamedTuple):
    """`importance`: the R² lost by permuting it, the mean over folds and repetitions; `low`, `high`: over these."""

    name: str
    importance: float
    low: float
    high: float


class Importance(NamedTuple):
    """`columns` in descending order of importance; `spectrum`: the name of the spectrum's among them, None if it was
    not measured. `r2`: of the forest, on variants that it was not fitted to; `r2_without`: of another one that sees no
    spectrum. `variants`: how many were used."""

    columns: list[Column]
    spectrum: str | None
    r2: float
    r2_without: float
    variants: int

    @property
    def hyperparameters(self) -> list[str]:
        return [column.name for column in self.columns if column.name != self.spectrum]


def importance(sweep: SweepTable, seed: int = 0) -> Importance | None:
    """Of the hyperparameters that vary and of the spectrum at the first epoch at which it was measured.

    A diverged variant, and the losses beyond the quantile `WORST`, count as that quantile: a few losses of many orders
    of magnitude would decide R² alone. None where fewer than `MIN_VARIANTS` variants have a finite loss, or
    nothing varies.
    """
    rng = np.random.default_rng(seed)
    sweep = sweep.take(sample(len(sweep.losses), MAX_VARIANTS, seed))
    variants = len(sweep.losses)
    finite = np.isfinite(sweep.final_loss)
    if finite.sum() < MIN_VARIANTS or not groupable(sweep):
        return None
    worst = np.quantile(sweep.final_loss[finite], WORST)
    loss = np.log10(np.where(finite, np.minimum(sweep.final_loss, worst), worst))
    columns = {name: ordinal(sweep.variants[name])[:, None] for name in groupable(sweep)}
    without = dict(columns)
    spectrum = None
    # Those of the last epoch would come too late to be of use.
    if sweep.measured_epochs and sweep.measured_epochs[0] < sweep.epochs:
        epoch = sweep.measured_epochs[0]
        spectrum = f"spectrum after epoch {epoch}" if epoch else "spectrum before training"
        columns[spectrum] = _filled(np.stack([FEATURES[name](sweep.spectra[:, epoch]) for name in OF_THE_SPECTRUM], 1))
    parts = _parts(variants, sweep.draws, seed)
    lost, r2 = _permuted(list(columns.values()), loss, parts, rng, seed)
    r2_without = r2 if spectrum is None else _permuted(list(without.values()), loss, parts, rng, seed, repeats=0)[1]
    low, high = np.quantile(lost, [0.025, 0.975], axis=0)
    found = [Column(*row) for row in zip(columns, lost.mean(0).tolist(), low.tolist(), high.tolist(), strict=True)]
    return Importance(sorted(found, key=lambda one: -one.importance), spectrum, r2, r2_without, variants)


def ordinal(values: pd.Series) -> Float[np.ndarray, "n"]:
    """A hyperparameter as a column: logarithms of what spans orders of magnitude, words by their order in the alphabet.
    What a variant does not read, or infinity, is a number apart from all others."""
    if not pd.api.types.is_numeric_dtype(values):
        codes = pd.Categorical(values, categories=sorted(values.dropna().unique())).codes
        return codes.astype(float)
    numbers = values.to_numpy(float)
    known = numbers[np.isfinite(numbers)]
    return _filled(np.log10(numbers) if spans_magnitudes(known) else numbers)


def _filled(values: np.ndarray) -> np.ndarray:
    """With what is not finite below the smallest number, column by column."""
    finite = np.isfinite(values)
    least = np.min(values, axis=0, where=finite, initial=np.inf)
    most = np.max(values, axis=0, where=finite, initial=-np.inf)
    apart = np.where(np.isfinite(least), least - np.maximum(most - least, 1.0), 0.0)
    return np.where(finite, values, apart)


def _parts(n: int, draws: Int[np.ndarray, "n"] | None, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The rows that a forest is fitted to and those that it is tested on, for each fold. Variants that share a draw of
    the hyperparameters are on one side."""
    group = np.arange(n) if draws is None else np.unique(draws, return_inverse=True)[1]
    groups = np.arange(group.max() + 1)
    folds = KFold(min(FOLDS, len(groups)), shuffle=True, random_state=seed).split(groups)
    return [(np.flatnonzero(np.isin(group, known)), np.flatnonzero(np.isin(group, test))) for known, test in folds]


def _permuted(
    columns: list[Matrix],
    loss: Float[np.ndarray, "n"],
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    rng: np.random.Generator,
    seed: int,
    repeats: int = REPEATS,
) -> tuple[Float[np.ndarray, "runs parts"], float]:
    """The R² lost per fold and repetition (a row each) by permuting each column, and the R² of all folds together."""
    matrix = np.concatenate(columns, axis=1)
    ends = np.cumsum([column.shape[1] for column in columns])
    predicted, lost = np.full(len(loss), np.nan), []
    for train, test in parts:
        forest = ExtraTreesRegressor(TREES, min_samples_leaf=2, random_state=seed).fit(matrix[train], loss[train])
        predicted[test] = forest.predict(matrix[test])
        if not repeats:
            continue
        # All permutations in one call: it is the number of calls that takes time.
        changed = np.tile(matrix[test], (repeats, len(columns), 1, 1))
        for repeat in range(repeats):
            for i, (column, end) in enumerate(zip(columns, ends, strict=True)):
                mine = slice(end - column.shape[1], end)
                changed[repeat, i, :, mine] = rng.permutation(matrix[test][:, mine])
        wrong = forest.predict(changed.reshape(-1, matrix.shape[1])).reshape(repeats, len(columns), len(test))
        spread = np.var(loss[test]) or 1.0
        worse = ((wrong - loss[test]) ** 2).mean(2) - ((predicted[test] - loss[test]) ** 2).mean()
        lost.extend(worse / spread)
    r2 = 1 - ((predicted - loss) ** 2).mean() / (np.var(loss) or 1.0)
    return np.array(lost).reshape(-1, len(columns)), float(r2)
