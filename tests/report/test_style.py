"""Axes."""

import numpy as np
import pytest

from aelle.report.style import log_ticks


@pytest.mark.parametrize(
    ("low", "high", "within"),
    [(0.1, 2, ["0.1", "0.2", "0.5", "1", "2"]), (1.8, 2.2, ["1.8", "2"]), (1e-6, 10, ["0.001", "0.01", "1", "10"])],
)
def test_round_numbers_on_a_logarithmic_axis(low, high, within):
    at, text = log_ticks(np.array([low, np.nan, high, np.inf]))
    inside = [name for place, name in zip(at, text, strict=True) if low <= place <= high]
    assert set(within) <= set(inside) and 2 <= len(inside) <= 9 and np.allclose([float(t) for t in text], at)
