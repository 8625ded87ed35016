"""AeLLE beside linear models of spectra, on real sweeps: not behind them where it was not, by some splits."""

from dataclasses import replace

import numpy as np
import pytest

from aelle.analysis.baselines import LinearOnRunningMean, LinearOnSpectrum
from aelle.analysis.early import study
from aelle.analysis.predictors import Plane
from aelle.model.estimator import AeLLE
from aelle.sweep.arrays import load_arrays

THRESHOLDS = {
    "target_rank1": 0.2,
    "smnist_lstm64": 0.5,
    "adding_rnn48": 0.05,
    "recall_gru32": 0.7,
    "architectures_adding": 0.05,
}


@pytest.mark.long
@pytest.mark.parametrize("name", THRESHOLDS)
def test_it_is_not_behind_a_straight_line(name, data_folder):
    """On average over the measured epochs; `bench/autoencoders.py` has each of them."""
    sweep = replace(load_arrays(data_folder / f"{name}.npz"), threshold=THRESHOLDS[name]).complete()
    found = study(sweep, AeLLE(sweep.threshold), splits=3)
    auc = found.summary.pivot(index="epoch", columns="predictor", values="auc")
    linear = auc[[LinearOnSpectrum.name, LinearOnRunningMean.name]].max(axis=1)
    assert (auc["AeLLE, loss head"] - linear).mean() > -0.005
    np.testing.assert_allclose(auc[Plane.name], auc["AeLLE, loss head"], atol=0.01)
