"""Features of spectra, and what they say of the loss."""

import numpy as np
import pytest

from aelle.analysis.features import correlations, features
from sweeps import of_spectra


def test_the_features_of_a_line_and_of_a_parabola():
    at = np.linspace(0, 1, 21)
    table = features(of_spectra(np.stack([0.5 - 2 * at, 0.2 - at**2]), [1.0, 2.0], p=[3.0, 4.0]))
    np.testing.assert_allclose(table["largest exponent"], [0.5, 0.2])
    np.testing.assert_allclose(table["share above zero"], [5 / 21, 9 / 21])  # 0.5 − 2 · 0.25 = 0 is not above it.
    np.testing.assert_allclose(table["initial slope"], [-2, -0.1])
    np.testing.assert_allclose(table["final slope"], [-2, -1.9])
    np.testing.assert_allclose(table["mean"], [-0.5, 0.2 - (at**2).mean()])
    np.testing.assert_allclose(table["variance"], [4 * at.var(), (at**2).var()])
    assert list(table["p"]) == [3, 4]


def test_a_hyperparameter_with_the_name_of_a_feature_is_told_apart():
    table = features(of_spectra(np.array([[2.0, -1.0], [4.0, -5.0]]), [1.0, 2.0], mean=[3.0, 4.0]))
    assert list(table["mean"]) == [0.5, -0.5] and list(table["mean (hyperparameter)"]) == [3, 4]


def test_correlations_with_the_loss_and_with_low_error():
    largest = np.array([0.1, 0.4, 0.2, 0.3, 0.9])
    sweep = of_spectra(largest[:, None] - np.linspace(0, 1, 4), [0.1, 0.7, 0.4, 0.6, np.inf], p=[5, 1, 4, 2, 3])
    found = {one.feature: one for one in correlations(sweep)}
    assert found["largest exponent"].rho == pytest.approx(1) and found["largest exponent"].auc == 1
    # Ranks of p 5 1 4 2 3 against those of the loss 1 4 2 3 5: 1 − 6 Σd² / (n (n² − 1)) with Σd² = 34.
    assert found["p"].rho == pytest.approx(1 - 6 * 34 / 120)
    assert found["p"].auc == 1  # Low-error ones have 5 and 4, the others less: it ranks perfectly, the other way round.
    assert np.isnan(found["variance"].rho) and found["variance"].n == 5  # All spectra have one shape.
    sweep.spectra[2, -1] = np.nan
    assert {one.n for one in correlations(sweep)} == {4}


def test_features_of_one_variant_or_one_point_are_nothing_to_correlate():
    assert correlations(of_spectra(np.zeros((4, 0)), [0.1] * 4)) == []
    alone = correlations(of_spectra(np.zeros((1, 3)), [0.1]))
    assert all(np.isnan(one.rho) and np.isnan(one.auc) for one in alone)
    point = features(of_spectra(np.ones((2, 1)), [0.1, 0.2]))
    assert (point["initial slope"] == 0).all() and (point["largest exponent"] == 1).all()
