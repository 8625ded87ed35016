"""Shares of low-error variants by hyperparameter."""

from itertools import pairwise

import numpy as np
import pytest

from aelle.analysis.shares import PAPER, shares
from sweeps import of_spectra


def test_shares_of_low_error_per_value_and_per_interval():
    g = np.linspace(1.0001, 1.7999, 80)
    losses = np.where((g > 1.2) & (g < 1.4), 0.1, 0.9)
    losses[-1] = np.inf
    found = shares(of_spectra(np.zeros((80, 2)), list(losses), g=list(g), cell=["gru", "lstm"] * 40))
    assert [group.label for group in found["g"]] == ["1 to 1.2", "1.2 to 1.4", "1.4 to 1.6", "1.6 to 1.8"]
    assert [group.low for group in found["g"]] == [0, 20, 0, 0] and sum(group.variants for group in found["g"]) == 80
    assert [group.label for group in found["cell"]] == ["gru", "lstm"] and found["g"][3].median_loss == 0.9
    rates = shares(of_spectra(np.zeros((9, 2)), [0.1] * 9, learning_rate=list(np.geomspace(1e-4, 1, 9))))
    assert [group.label for group in rates["learning_rate"]] == [
        "0.0001 to 0.001",
        "0.001 to 0.01",
        "0.01 to 0.1",
        "0.1 to 1",
    ]
    assert [group.variants for group in rates["learning_rate"]] == [2, 2, 2, 3]


@pytest.mark.parametrize(
    ("low", "high", "first", "step"),
    [(2.0013, 2.993, 2, 0.25), (0.512, 2.49, 0.5, 0.5), (1.003, 1.79, 1, 0.2), (-3, 5, -4, 2), (0.2, 3.9, 0, 1)],
)
def test_bins_begin_and_end_at_round_numbers_near_the_drawn_ones(low, high, first, step):
    values = np.linspace(low, high, 40)
    groups = shares(of_spectra(np.zeros((40, 2)), [0.1] * 40, p=list(values)))["p"]
    edges = [first + step * i for i in range(len(groups) + 1)]
    assert [group.label for group in groups] == [f"{a:.4g} to {b:.4g}" for a, b in pairwise(edges)]
    assert [g.variants for g in groups] == np.histogram(values, edges)[0].tolist() and edges[-2] < high <= edges[-1]


def test_the_paper_is_cited_for_the_tasks_that_it_has():
    assert set(PAPER) == {"target", "charrnn", "smnist"}
    assert [PAPER[task].of_all[:4] for task in ("target", "charrnn", "smnist")] == ["22 %", "28 %", "28 %"]
