"""Chances of the spectra of another sweep."""

import numpy as np

from aelle.model.chances import chances, fit_to_all
from aelle.model.estimator import AeLLE
from sweeps import synthetic


def test_a_model_of_one_sweep_ranks_another_of_another_length():
    model = fit_to_all(synthetic(seed=0), AeLLE(0.5, epochs=40))
    other = synthetic(seed=1, M=15)
    other.spectra[3, 2:] = np.nan
    found = chances(model, other)
    assert found.shape == other.losses.shape and np.isnan(found[3, 2:]).all() and np.isfinite(found[4]).all()
    low, high = found[other.low_error, 1], found[~other.low_error, 1]
    assert np.nanmean(low[:, None] > high[None]) > 0.9
