"""The running mean of spectra while a network trains."""

import numpy as np
import pytest

from aelle.lyapunov.spectra_so_far import RunningMean, SpectraSoFar
from sweeps import synthetic


def test_the_mean_is_taken_of_logarithms_and_leaves_out_what_is_not_finite():
    sweep = synthetic(V=6, E=4)
    sweep.spectra[1, 2], sweep.spectra[4, 0] = np.nan, np.inf
    known = np.isfinite(sweep.spectra)
    logs = np.where(known, np.sign(sweep.spectra) * np.log1p(np.abs(sweep.spectra)), np.nan)
    expected = np.nancumsum(logs, axis=1) / np.maximum(np.cumsum(known, axis=1), 1)
    expected = np.where(known, np.sign(expected) * np.expm1(np.abs(expected)), np.nan)
    mean = RunningMean()
    found = np.stack([mean.add(sweep.spectra[:, e]) for e in range(3)], 1)
    np.testing.assert_allclose(found, expected[:, :3], rtol=1e-12)
    np.testing.assert_array_equal(found, sweep.running_means[:, :3])
    mean.take([4, 1])
    np.testing.assert_allclose(mean.add(sweep.spectra[[4, 1], 3]), expected[[4, 1], 3], rtol=1e-12)


def test_rows_of_trainings_are_those_of_the_table():
    sweep = synthetic(V=4, E=3)
    seen = SpectraSoFar.of(sweep.spectra.tolist(), np.arange(4) / 3, exponents=[8, 8, 16, 16])
    for epoch in range(4):
        rows, expected = seen.take(np.arange(4) * 4 + epoch), sweep.seen(epoch)
        for name in ("last", "mean", "share"):
            np.testing.assert_allclose(getattr(rows, name), getattr(expected, name))
        assert list(rows.exponents) == [8, 8, 16, 16] and rows.known.all()
    for spectra, share in (([[1.0]], [0.0]), (sweep.spectra, [0.0, 1.0])):
        with pytest.raises(ValueError, match=r"give \[V, E, M\] and \[E\]"):
            SpectraSoFar.of(spectra, share)
