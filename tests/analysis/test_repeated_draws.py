"""Variants that share a draw of the hyperparameters are never on both sides of what is judged.

The final loss is a matter of the draw alone, and nothing says it of a new one: what is above chance is a leak.
"""

from dataclasses import replace

import numpy as np
import pytest

from aelle.analysis.architectures import architecture_accuracies
from aelle.analysis.early import study
from aelle.analysis.embeddings import agreement
from aelle.analysis.generalisation import resampled_auc
from aelle.analysis.importance import importance
from aelle.analysis.plane import trained_plane
from aelle.analysis.predictors import RECOMMENDED, WITHOUT_SPECTRA
from aelle.errors import TooFewError
from aelle.model.estimator import AeLLE
from aelle.predictor.members import HYPERPARAMETERS_ONLY
from aelle.sweep.arrays import table_of
from aelle.sweep.table import SweepTable

MODEL = AeLLE(1.0, max_steps=50)


def repeated(draws: int = 20, repeats: int = 10, seed: int = 1) -> SweepTable:
    """Spectra, too, are a matter of the draw."""
    rng, of = np.random.default_rng(seed), np.repeat(np.arange(draws), repeats)
    V, share = len(of), np.linspace(0, 1, 5)
    final = np.exp(rng.standard_normal(draws)[of] + 0.2 * rng.standard_normal(V))
    losses = 3 * (1 - share) + share * final[:, None] + 0.1 * rng.random((V, 5))
    losses[:, 0], losses[:, -1] = 3 + rng.random(V), final
    base = rng.standard_normal((draws, 1, 6))[of]
    spectra = -np.sort(base + 0.05 * rng.standard_normal((V, 5, 6)))
    rates = {"rate": 10 ** rng.uniform(-3, -1, draws)[of], "gain": rng.uniform(0.1, 3, draws)[of]}
    return replace(table_of(losses, spectra, rates), threshold=1.0)


def test_no_draw_is_known_and_tested_in_one_split():
    sweep = repeated()
    found = study(sweep, MODEL, 6)
    for known, tested in zip(found.known, found.tests, strict=True):
        assert set(sweep.draws[known]).isdisjoint(sweep.draws[tested])
    at = found.summary.set_index(["predictor", "epoch"])["auc"]
    assert all(at[name, 0] < 0.75 for name in (RECOMMENDED, WITHOUT_SPECTRA, HYPERPARAMETERS_ONLY))


def test_too_few_draws_are_a_reason():
    with pytest.raises(TooFewError, match=r"of 4 draws of hyperparameters end .*-error more often than the others"):
        study(replace(repeated(), draws=np.arange(200) // 50), MODEL, 1)


def test_the_test_variants_of_the_plane_are_of_draws_of_their_own():
    plane = trained_plane(repeated(), MODEL)
    assert set(plane.sweep.draws[plane.test]).isdisjoint(plane.sweep.draws[~plane.test])


def test_a_neighbour_of_the_same_draw_does_not_count():
    """In two places, four variants each: with its draw left out, the nearest is of the other draw."""
    points, low = np.repeat([[0.0], [1.0], [10.0], [11.0]], 2, axis=0), np.array([1, 1, 0, 0, 1, 1, 0, 0], bool)
    every, draws = np.ones(8, bool), np.arange(8) // 2
    assert agreement(points, low, every).accuracy == 1
    assert agreement(points, low, every, draws)[:2] == (0, pytest.approx(1 / 3))
    assert np.isnan(agreement(points[:2], low[:2], every[:2], draws[:2]).accuracy)


def test_a_forest_predicts_the_loss_of_no_variant_from_others_of_its_draw():
    found = importance(repeated())
    assert found is not None and found.r2 < 0.3
    few = importance(repeated(draws=2, repeats=20))
    assert few is not None and np.isfinite(few.r2)


def test_an_architecture_is_not_told_by_spectra_of_the_same_draw():
    sweep = repeated(draws=30)
    cells = np.random.default_rng(0).permutation(np.array(["gru", "lstm", "rnn"])[np.arange(30) % 3])[sweep.draws]
    told = replace(sweep, hyperparameters=[*sweep.hyperparameters, "cell"], variants=sweep.variants.assign(cell=cells))
    assert architecture_accuracies(replace(told, draws=None), 0)[0].accuracy > 0.9
    assert architecture_accuracies(told, 0)[0].accuracy < 0.6


def test_the_interval_of_an_area_is_wider_where_variants_are_repetitions():
    rng, draws = np.random.default_rng(0), np.repeat(np.arange(30), 10)
    given = rng.standard_normal(30)
    low = (given + rng.standard_normal(30) > 0)[draws]
    single, together = (resampled_auc(low, given[draws], 0, groups) for groups in (None, draws))
    assert together[0] == single[0] and together[2] - together[1] > 1.5 * (single[2] - single[1])
