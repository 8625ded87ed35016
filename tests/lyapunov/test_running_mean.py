"""The running mean of spectra while a network trains."""

import numpy as np

from aelle.lyapunov.running_mean import RunningMean
from sweeps import synthetic


def test_the_running_mean_is_the_history_of_a_sweep():
    sweep = synthetic(V=6, E=4)
    sweep.spectra[1, 2], sweep.spectra[4, 0] = np.nan, np.inf
    mean = RunningMean()
    found = np.stack([mean.add(sweep.spectra[:, e]) for e in range(3)], 1)
    np.testing.assert_array_equal(found, sweep.running_means[:, :3])
    mean.take([4, 1])
    np.testing.assert_array_equal(mean.add(sweep.spectra[[4, 1], 3]), sweep.running_means[[4, 1], 3])
