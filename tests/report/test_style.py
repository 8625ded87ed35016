"""Axes."""

import numpy as np
import pytest

from aelle.report.style import log_ticks, loss_axis
from aelle.seeds import sample


@pytest.mark.parametrize(
    ("low", "high", "within"),
    [(0.1, 2, ["0.1", "0.2", "0.5", "1", "2"]), (1.8, 2.2, ["1.8", "2"]), (1e-6, 10, ["0.001", "0.01", "1", "10"])],
)
def test_round_numbers_on_a_logarithmic_axis(low, high, within):
    at, text = log_ticks(np.array([low, np.nan, high, np.inf]))
    inside = [name for place, name in zip(at, text, strict=True) if low <= place <= high]
    assert set(within) <= set(inside) and 2 <= len(inside) <= 9 and np.allclose([float(t) for t in text], at)


@pytest.mark.parametrize(("low", "high"), [(0.3, 0.9), (0.05, 3), (1e-3, 1e-1), (1e-6, 1), (1e-12, 1e12), (0.9, 1.1)])
@pytest.mark.parametrize("most", [4, 8])
def test_ticks_are_not_crowded(low, high, most):
    at, text = log_ticks(np.array([low, high]), most)
    inside = [name for place, name in zip(at, text, strict=True) if low <= place <= high]
    assert 2 <= len(inside) <= most and len(set(inside)) == len(inside)


def test_a_few_huge_losses_do_not_stretch_the_axis():
    usual = np.geomspace(0.1, 2, 200)
    losses = np.concatenate([usual, [1e5, 1e9, np.nan, np.inf]])
    axis, plain = loss_axis(losses), loss_axis(usual)
    assert plain.above == 0 and plain.note == "" and plain.axis["range"][1] >= np.log10(2)
    assert (
        axis.axis["range"][1] < np.log10(3)
        and axis.above == (losses[np.isfinite(losses)] > 10 ** axis.axis["range"][1]).sum()
    )
    assert (
        axis.above >= 2
        and axis.note
        == f"The axis of losses ends at {10 ** axis.axis['range'][1]:.2g}; {axis.above} larger ones are not shown."
    )
    low, high = loss_axis(usual, 50).axis["range"]
    assert low < np.log10(0.1) and high > np.log10(50)  # A line is always within.
    assert all(np.isfinite(loss_axis(np.array(few)).axis["range"]).all() for few in ([], [np.nan], [0.5], [0.5, 0.5]))


def test_a_sample_is_the_same_each_time_and_all_where_there_are_few():
    assert list(sample(5, 10)) == list(range(5))
    rows = sample(1000, 100)
    assert len(set(rows)) == 100 and (np.diff(rows) > 0).all() and (rows == sample(1000, 100)).all()
