"""Importance of hyperparameters, against sweeps whose loss depends on known ones."""

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from aelle.analysis.importance import MAX_VARIANTS, importance, ordinal
from aelle.sweep.table import SweepTable
from sweeps import synthetic


def sweep_of(V: int = 200, noise: float = 0.1) -> SweepTable:
    """The loss depends on the learning rate, by orders of magnitude, and a little on the cell; not on the decay."""
    rng = np.random.default_rng(0)
    rate, decay, cell = 10 ** rng.uniform(-4, -1, V), rng.uniform(0, 1, V), rng.choice(["lstm", "gru"], V)
    sweep = synthetic(V)
    log_loss = np.abs(np.log10(rate) + 2.5) + 0.3 * (cell == "gru") + noise * rng.standard_normal(V)
    sweep.losses[:, -1] = 10 ** (log_loss - 1)
    # The spectra of `synthetic` are of its own losses.
    sweep.spectra[:] = rng.standard_normal(sweep.spectra.shape)
    columns = {"learning_rate": rate, "weight_decay": decay, "cell": cell}
    return replace(sweep, hyperparameters=list(columns), variants=sweep.variants.assign(**columns))


def test_what_decides_the_loss_is_first_and_what_does_not_loses_nothing():
    found = importance(sweep_of())
    assert found is not None
    assert [column.name for column in found.columns][:2] == ["learning_rate", "cell"] == found.hyperparameters[:2]
    by_name = {column.name: column for column in found.columns}
    assert set(by_name) == {"learning_rate", "cell", "weight_decay", "spectrum before training"}
    assert found.spectrum == "spectrum before training" and found.variants == 200
    assert by_name["learning_rate"].importance > 0.5 > by_name["cell"].importance > 0.03
    for name in ("weight_decay", found.spectrum):
        assert abs(by_name[name].importance) < 0.03
    assert all(column.low <= column.importance <= column.high for column in found.columns)
    assert 0.7 < found.r2 < 1 and abs(found.r2 - found.r2_without) < 0.1


def test_a_spectrum_that_tells_the_loss_is_as_important_as_it_is():
    sweep = sweep_of()
    sweep.spectra[:, 0] = -np.log10(sweep.final_loss)[:, None] * np.linspace(1, 2, sweep.spectra.shape[2])
    found = importance(sweep)
    assert found is not None and found.columns[0].name == found.spectrum and found.r2 > found.r2_without + 0.05


def test_r2_is_that_of_variants_that_the_forest_was_not_fitted_to():
    """A forest reaches almost 1 on those that it was fitted to, also where there is nothing to learn."""
    sweep = sweep_of()
    np.random.default_rng(1).shuffle(sweep.losses)
    found = importance(sweep)
    assert found is not None and found.r2 < 0.1


def test_a_few_huge_losses_and_diverged_variants_do_not_decide():
    sweep = sweep_of()
    sweep.losses[::50, -1] = 1e9
    sweep.losses[1::60, -1] = np.nan
    found = importance(sweep)
    assert found is not None and found.columns[0].name == "learning_rate" and found.r2 > 0.4


def test_there_is_none_of_few_variants_or_of_nothing_that_varies():
    assert importance(sweep_of().take(np.arange(20))) is None
    assert importance(replace(sweep_of(), hyperparameters=[])) is None
    sweep = sweep_of()
    sweep.spectra[:] = np.nan
    found = importance(sweep)
    assert found is not None and found.spectrum is None and found.r2 == found.r2_without


def test_large_sweeps_are_sampled_and_take_seconds():
    start = time.perf_counter()
    found = importance(sweep_of(5000))
    assert found is not None and found.variants == MAX_VARIANTS
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1e-4, 1e-2, 1.0], [-4, -2, 0]),
        ([0.0, 1.0, 2.0], [0, 1, 2]),
        ([0.5, np.nan, 1.5], [0.5, -0.5, 1.5]),
        ([1.0, np.inf, 4.0], [1, -2, 4]),
        (["b", "a", "b"], [1, 0, 1]),
        (["b", None, "a"], [1, -1, 0]),
        ([True, False, True], [1, 0, 1]),
    ],
)
def test_hyperparameters_as_numbers(values, expected):
    np.testing.assert_allclose(ordinal(pd.Series(values)), expected)
