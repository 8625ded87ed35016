"""Weights of members: non-negative, shrunk to each other by how few variants there are, calibrated."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from aelle.predictor.stacking import MAX_LOG_ODDS, SHRINKAGE, TOTAL_SHRINKAGE, limited, stack


def classes(truth: np.ndarray, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=truth.shape) < expit(truth)


def test_a_member_that_knows_outweighs_those_that_do_not():
    rng = np.random.default_rng(0)
    truth = 2 * rng.standard_normal(4000)
    members = np.stack([truth, rng.standard_normal(4000), -truth], 1)[None]
    found = stack(members, classes(truth), np.array([0.5]))
    assert found.weights[0] == pytest.approx([1, 0, 0], abs=0.1) and found.intercept[0] == pytest.approx(0, abs=0.15)


def test_an_overconfident_member_is_calibrated():
    """Where log odds are three times what they should be, and shifted, the weight is a third."""
    truth = 2 * np.random.default_rng(0).standard_normal(4000)
    low = classes(truth - 1)
    found = stack(2 * truth[None, :, None].clip(-3, 3), low, np.array([0.0]))
    chance = expit(found.log_odds(0, 2 * truth[:, None].clip(-3, 3)))
    for part in np.array_split(np.argsort(chance), 5):
        assert chance[part].mean() == pytest.approx(low[part].mean(), abs=0.06)


def test_few_variants_leave_the_weights_nearly_equal():
    rng = np.random.default_rng(0)
    truth = 2 * rng.standard_normal(12)
    found = stack(np.stack([truth, rng.standard_normal(12)], 1)[None], classes(truth), np.array([0.0]))
    assert np.abs(found.weights[0] - found.weights[0].mean()).max() < 0.25


def test_equal_members_get_equal_weights():
    truth = np.random.default_rng(0).standard_normal(100)
    found = stack(np.stack([truth] * 3, 1)[None], classes(truth), np.array([0.0]))
    assert np.ptp(found.weights) < 1e-3


def test_rows_without_a_members_log_odds_are_left_out():
    truth = np.random.default_rng(0).standard_normal(100)
    members = np.stack([truth, truth], 1)[None].copy()
    half = stack(members[:, :50], classes(truth)[:50], np.array([0.0]))
    members[0, 50:, 1] = np.nan
    again = stack(members, classes(truth), np.array([0.0]))
    np.testing.assert_allclose(half.weights, again.weights)


def test_neighbouring_epochs_share_their_variants_and_distant_ones_do_not():
    rng = np.random.default_rng(0)
    truth = 2 * rng.standard_normal((2, 300))
    low = classes(truth[0])
    members = np.stack([truth, rng.standard_normal((2, 300))], 2)
    near, far = (stack(members, low, np.array([0.0, share])).weights for share in (0.001, 1.0))
    assert np.abs(near[0] - near[1]).max() < np.abs(far[0] - far[1]).max()
    alone = stack(members[:1], low, np.array([0.0])).weights
    np.testing.assert_allclose(far[0], alone[0], atol=1e-4)


def test_infinite_log_odds_are_cut_off():
    members = np.array([[[np.inf], [-np.inf], [1.0], [-1.0]]])
    found = stack(np.clip(members, -1e9, 1e9), np.array([True, False, True, False]), np.array([0.0]))
    assert np.isfinite(found.weights).all()
    assert found.log_odds(0, members[0])[0] == pytest.approx(MAX_LOG_ODDS * found.weights[0, 0] + found.intercept[0])


@pytest.mark.parametrize("seed", range(8))
def test_weights_are_those_of_a_general_optimiser(seed):
    """The penalised likelihood, written out and minimised by L-BFGS-B."""
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(4, 400)), int(rng.integers(1, 9))
    truth = 2 * rng.standard_normal(n)
    members = truth[:, None] * rng.uniform(-1, 1.5, m) + rng.uniform(0, 3, m) * rng.standard_normal((n, m))
    low = classes(truth, seed) if seed else np.ones(n, bool)

    def objective(at: np.ndarray) -> float:
        weights, intercept = at[:m], at[m]
        log_odds = limited(members) @ weights + intercept
        unequal = ((weights - weights.mean()) ** 2).sum()
        penalty = SHRINKAGE * unequal + TOTAL_SHRINKAGE * ((weights.sum() - 1) ** 2 + intercept**2)
        return np.where(low, np.logaddexp(0, -log_odds), np.logaddexp(0, log_odds)).sum() + penalty

    found = stack(members[None], low, np.array([0.5]))
    ours = np.append(found.weights[0], found.intercept[0])
    bounds = [(0, None)] * m + [(None, None)]
    theirs = minimize(objective, np.zeros(m + 1), method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-13}).fun
    assert (ours[:m] >= 0).all() and objective(ours) < theirs + 1e-5
