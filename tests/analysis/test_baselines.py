"""Regressions of the final loss, where the answer is known."""

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import norm

from aelle.analysis.baselines import LossAndHyperparameters
from aelle.sweep.table import SweepTable


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
