"""Members, where the answer is known."""

from dataclasses import replace

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from aelle.predictor.encoding import Encoding
from aelle.predictor.members import Extrapolation, Known, LossAndHyperparameters, QuadraticLossAndHyperparameters
from aelle.predictor.observed import observed
from aelle.sweep.arrays import table_of
from sweeps import synthetic


def known(sweep, epochs) -> Known:
    frame = sweep.variants[sweep.hyperparameters]
    target = np.log(np.nan_to_num(sweep.final_loss, nan=9.0) / sweep.threshold)
    worst = np.nanmax(sweep.losses, axis=0)
    return Known([observed(sweep, k) for k in epochs], target, Encoding.of(frame), worst, 0)


def test_an_extrapolated_power_law_is_its_end():
    sweep = synthetic(E=8)
    epochs = np.arange(1, 9)
    sweep.losses[:, 1:] = (np.arange(60)[:, None] + 1) * epochs ** -np.linspace(0.1, 0.5, 60)[:, None]
    member = Extrapolation("", ("losses",), squashed=False)
    member.fit(known(sweep, [4]))
    np.testing.assert_allclose(member.columns(observed(sweep, 4), 4)[:, 0], np.log(sweep.final_loss))


def test_a_member_says_nothing_of_known_variants_that_lack_its_inputs():
    """And a left-out prediction is not that of the fit to all."""
    sweep = synthetic()
    sweep.losses[7, 1] = np.nan
    member = QuadraticLossAndHyperparameters("", ("losses", "hyperparameters"), squashed=True)
    left_out = member.fit(known(sweep, [0, 1]))
    assert np.isnan(left_out[1, 7]) and np.isfinite(np.delete(left_out[1], 7)).all() and np.isfinite(left_out[0]).all()
    assert (np.abs(left_out[0] - member.log_odds(observed(sweep, 0))) > 1e-6).all()


def test_between_its_epochs_a_member_uses_the_last_one():
    sweep = synthetic(E=8)
    member = QuadraticLossAndHyperparameters("", ("losses", "hyperparameters"), squashed=True)
    member.fit(known(sweep, [2, 6]))
    given = observed(sweep, 4)
    ridge = member.ridges[2]
    expected = ridge.log_odds_below(0.0, ridge.predict(member.columns(given, 2)))
    np.testing.assert_array_equal(member.log_odds(given), expected)
    assert np.isnan(member.log_odds(observed(sweep, 0))).all()


def test_the_chances_of_a_ridge_regression_are_calibrated():
    """Where the final log loss is a line in the input plus Gaussian noise, its chance is Φ of the distance."""
    rng = np.random.default_rng(0)
    p = rng.uniform(-1, 1, 4000)
    losses = np.full((4000, 2), 1.0)
    losses[:, 1] = 0.5 * np.exp(p + 0.5 * rng.standard_normal(4000))
    sweep = replace(table_of(losses, hyperparameters={"p": p}), threshold=0.5)
    member = LossAndHyperparameters("", ("losses", "hyperparameters"), squashed=False)
    left_out = member.fit(known(sweep, [0]))
    expected = expit(norm.logcdf(-p / 0.5) - norm.logsf(-p / 0.5))
    for log_odds in (left_out[0], member.log_odds(observed(sweep, 0))):
        np.testing.assert_allclose(expit(log_odds), expected, atol=0.03)
