"""The running mean of spectra while a network trains."""

import numpy as np
import pytest
import torch

import aelle
from aelle.lyapunov import running_mean
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
    np.testing.assert_array_equal(found, running_mean(sweep.spectra)[:, :3])
    mean.take([4, 1])
    np.testing.assert_allclose(mean.add(sweep.spectra[[4, 1], 3]), expected[[4, 1], 3], rtol=1e-12)


def test_the_mean_is_checked_as_its_siblings_are():
    spectra = synthetic(V=4, E=3).spectra[:, :, :8]
    expected = running_mean(spectra)
    for kind in (torch.as_tensor, np.ndarray.tolist):
        np.testing.assert_array_equal(running_mean(kind(spectra)), expected)
    padded = np.pad(spectra, ((0, 0), (0, 0), (0, 4)), constant_values=np.nan)
    padded[0] = np.linspace(1, -1, 12)
    seen = SpectraSoFar.of(padded, np.arange(4) / 3)
    found = running_mean(padded)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found.reshape(16, 12), seen.mean)
    padded[1, 2, 7], padded[2, 1, 7] = np.nan, -np.inf
    assert [tuple(place) for place in np.argwhere(np.isnan(running_mean(padded)).all(2)).tolist()] == [(1, 2), (2, 1)]
    for wrong in (spectra[0], spectra[:, :0], np.zeros(3)):
        with pytest.raises(ValueError, match=r"spectra of shape .*: give \[V, E, M\], V networks at E epochs"):
            running_mean(wrong)
    with pytest.raises(ValueError, match="spectra contains 'a': give an array of numbers"):
        running_mean([[["a"]]])


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


def same(one: SpectraSoFar, other: SpectraSoFar) -> None:
    for name in ("last", "mean", "share", "exponents"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_spectra_so_far_are_what_a_sweep_says_after_the_last_given_epoch():
    sweep = synthetic(V=4, E=3)
    for epoch in range(4):
        for kind in (np.asarray, torch.as_tensor, np.ndarray.tolist):
            same(aelle.spectra_so_far(kind(sweep.spectra[:, : epoch + 1]), 3), sweep.seen(epoch))
    later = aelle.spectra_so_far(sweep.spectra[:, :3], 10, exponents=[2, 8, 16, 32])
    assert (later.share == 0.2).all() and list(later.exponents) == [2, 8, 16, 32]


def test_epochs_without_a_spectrum_are_left_out_of_the_mean():
    spectra = synthetic(V=3, E=3).spectra.copy()
    spectra[0, 1], spectra[1, 3] = np.nan, np.nan
    seen = aelle.spectra_so_far(spectra, 3)
    assert list(seen.known) == [True, False, True]
    np.testing.assert_allclose(seen.mean[0], aelle.spectra_so_far(spectra[:1, [0, 2, 3]], 3).mean[0])


def test_spectra_of_smaller_networks_are_resampled():
    spectra = np.full((2, 2, 8), np.nan)
    spectra[0], spectra[1, :, :4] = -np.linspace(0, 1, 8), -np.linspace(0, 1, 4)
    seen = aelle.spectra_so_far(spectra, 1)
    assert list(seen.exponents) == [8, 4]
    np.testing.assert_allclose(seen.last[1], seen.last[0])


@pytest.mark.parametrize(
    ("spectra", "options", "says"),
    [
        (np.zeros((2, 3)), {"epochs": 3}, r"spectra of shape \[2, 3\]: give \[V, e \+ 1, M\]"),
        (np.zeros((2, 0, 3)), {"epochs": 3}, "of epochs 0 to e"),
        (np.zeros((2, 3, 0)), {"epochs": 3}, "of epochs 0 to e"),
        ([["a"]], {"epochs": 3}, "give an array of numbers"),
        (None, {"epochs": 3}, "contains None"),
        (
            np.zeros((2, 4, 3)),
            {"epochs": 2},
            "epochs=2: give how many the trainings have, a whole number of at least 3",
        ),
        (np.zeros((2, 1, 3)), {"epochs": 3, "exponents": [3]}, r"exponents of shape \[1\]: give \[2\]"),
    ],
)
def test_what_is_no_training_so_far_is_refused(spectra, options, says):
    with pytest.raises(ValueError, match=says):
        aelle.spectra_so_far(spectra, **options)


def test_one_network_of_one_exponent_before_training_is_enough():
    seen = aelle.spectra_so_far(np.full((1, 1, 1), -2.0), 5)
    assert len(seen) == 1 and seen.share[0] == 0
    np.testing.assert_allclose([seen.last, seen.mean], -2)
    assert len(aelle.spectra_so_far(np.zeros((0, 1, 1)), 5)) == 0
