"""Regressions of the final loss, where the answer is known."""

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import norm

from aelle.analysis.baselines import Extrapolation, LossAndHyperparameters
from aelle.sweep.table import SweepTable
from sweeps import synthetic


def test_an_extrapolated_power_law_is_its_end():
    sweep = synthetic(E=8)
    epochs = np.arange(1, 9)
    sweep.losses[:, 1:] = (np.arange(60)[:, None] + 1) * epochs ** -np.linspace(0.1, 0.5, 60)[:, None]
    end = Extrapolation(sweep).inputs(sweep, 4)[:, 0]
    np.testing.assert_allclose(end, np.log(sweep.final_loss))


def test_the_chances_of_a_ridge_regression_are_calibrated():
    """Where the final log loss is a line in the input plus Gaussian noise, its chance is Φ of the distance."""
    rng = np.random.default_rng(0)
    p = rng.uniform(-1, 1, 4000)
    columns = {"variant": np.arange(4000), "run": "r", "state": "complete", "error": None, "complete": True, "p": p}
    losses = np.full((4000, 2), 1.0)
    losses[:, 1] = 0.5 * np.exp(p + 0.5 * rng.standard_normal(4000))
    sweep = SweepTable("s", "t", 0.5, 4000, ["p"], pd.DataFrame(columns), losses, np.zeros((4000, 2, 3)), [])
    log_odds = LossAndHyperparameters(sweep, ["p"]).score(sweep, 0)
    expected = norm.logcdf(-p / 0.5) - norm.logsf(-p / 0.5)
    np.testing.assert_allclose(expit(log_odds), expit(expected), atol=0.03)
