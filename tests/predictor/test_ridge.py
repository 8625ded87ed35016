"""Ridge regression against scikit-learn's, and its leave-one-out predictions against fits without the row."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import Ridge as SklearnRidge

from aelle.predictor.ridge import PENALTIES, fit_ridge


def rows(n: int = 40, F: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    columns = rng.standard_normal((n, F)) * [1, 10, 0.1, 1, 1] + 3
    return columns, columns[:, 0] - 0.2 * columns[:, 1] + rng.standard_normal(n)


def alone(columns: np.ndarray, target: np.ndarray, penalty: float) -> SklearnRidge:
    """On columns that are standardised already."""
    return SklearnRidge(penalty).fit(columns, target)


def test_left_out_predictions_are_those_of_fits_without_the_row():
    columns, target = rows()
    scaled = (columns - columns.mean(0)) / columns.std(0)
    ridge, left_out = fit_ridge(columns, target)
    errors = {}
    for penalty in PENALTIES:
        found = np.array(
            [
                alone(np.delete(scaled, i, 0), np.delete(target, i), penalty).predict(scaled[i : i + 1])[0]
                for i in range(40)
            ]
        )
        errors[penalty] = ((found - target) ** 2).mean(), found
    best = min(errors, key=lambda penalty: errors[penalty][0])
    np.testing.assert_allclose(left_out, errors[best][1], rtol=1e-6)
    assert ridge.error == pytest.approx(errors[best][0] ** 0.5)
    np.testing.assert_allclose(ridge.predict(columns), alone(scaled, target, best).predict(scaled), rtol=1e-9)


def test_left_out_predictions_of_groups_are_those_of_fits_without_the_group():
    """Groups of different sizes, in any order."""
    columns, target = rows()
    groups = np.random.default_rng(2).permutation(np.repeat([7, 3, 9, 4, 1], [1, 4, 10, 10, 15]))
    scaled = (columns - columns.mean(0)) / columns.std(0)
    _, left_out = fit_ridge(columns, target, groups)
    errors = {}
    for penalty in PENALTIES:
        found = np.empty(40)
        for group in np.unique(groups):
            mine = groups == group
            found[mine] = alone(scaled[~mine], target[~mine], penalty).predict(scaled[mine])
        errors[((found - target) ** 2).mean()] = found
    np.testing.assert_allclose(left_out, errors[min(errors)], rtol=1e-4, atol=1e-4)
    each = fit_ridge(columns, target, np.arange(40))[1]
    np.testing.assert_allclose(each, fit_ridge(columns, target)[1], rtol=1e-4, atol=1e-4)


def test_chances_are_those_of_normal_errors():
    ridge, _ = fit_ridge(*rows())
    z = np.array([-3.0, 0.0, 40.0])
    found = ridge.log_odds_below(1.0, 1.0 - z * ridge.error)
    np.testing.assert_allclose(found[:2], norm.logcdf(z[:2]) - norm.logsf(z[:2]))
    assert found[1] == 0 and found[2] > 700


@pytest.mark.parametrize("F", [0, 1, 60])
def test_any_number_of_columns(F):
    """More columns than rows, constant ones, and none at all."""
    columns = np.random.default_rng(0).standard_normal((12, F))
    columns[:, : F // 2] = 7.0
    target = np.arange(12.0)
    ridge, left_out = fit_ridge(columns, target)
    assert np.isfinite(left_out).all() and np.isfinite(ridge.predict(columns * 1e6)).all()
    assert np.isfinite(fit_ridge(columns, target, np.arange(12) // 4)[1]).all()
    if F == 0:
        np.testing.assert_allclose(left_out, (target.sum() - target) / 11)
