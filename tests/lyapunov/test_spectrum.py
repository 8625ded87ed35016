"""A spectrum's own properties, its common length, and the logarithm that tames its floor."""

import numpy as np
import pytest
import torch

from aelle.lyapunov.spectrum import Spectrum, resample, signed_log


def test_signed_log_is_odd_monotone_and_tames_the_floor():
    x = np.linspace(-36, 36, 101)
    y = signed_log(x)
    np.testing.assert_allclose(y, -y[::-1])
    assert (np.diff(y) > 0).all() and y.max() == pytest.approx(np.log(37))


def test_the_standard_error_is_over_sequences_and_sorted_with_the_exponents():
    rates = torch.tensor([[0.0, 2.0], [1.0, 2.5], [2.0, 3.0]], dtype=torch.float64)
    spectrum = Spectrum.from_rates(rates, 10, 2)
    assert spectrum.exponents.tolist() == [2.5, 1.0]
    torch.testing.assert_close(spectrum.stderr, torch.tensor([0.5, 1.0], dtype=torch.float64) / 3**0.5)


def test_kaplan_yorke_dimension_and_entropy_rate():
    def of(*exponents: float) -> Spectrum:
        return Spectrum.from_rates(torch.tensor([exponents], dtype=torch.float64), 1, len(exponents))

    assert of(0.5, 0.0, -2.0).kaplan_yorke_dimension == 2.25
    assert of(-0.1, -0.2).kaplan_yorke_dimension == 0
    assert of(0.0, -1.0).kaplan_yorke_dimension == 1
    assert of(0.3, 0.2).kaplan_yorke_dimension == 2
    assert of(torch.nan, 0.1).kaplan_yorke_dimension.isnan()
    assert of(0.5, 0.25, -2.0).entropy_rate == 0.75
    assert of(0.5, -2.0).maximum == 0.5


def test_resampling_keeps_the_curve():
    """A straight line stays one at any length; ends stay where they are; a single exponent becomes a constant."""
    line = torch.linspace(1, -3, 9, dtype=torch.float64)
    for points in (2, 5, 9, 40):
        torch.testing.assert_close(resample(line, points), torch.linspace(1, -3, points, dtype=torch.float64))
    assert resample(torch.tensor([[2.0], [3.0]]), 3).tolist() == [[2.0] * 3, [3.0] * 3]
    with pytest.raises(ValueError, match="points=0"):
        resample(line, 0)
