"""What an early cut saves and costs, on curves whose end is known."""

import numpy as np
import pandas as pd
import pytest

from aelle.analysis.early import study
from aelle.analysis.predictors import RECOMMENDED
from aelle.analysis.savings import HALVING, NO_CUT, savings, single_cut, successive_halving
from aelle.model.estimator import AeLLE
from aelle.sweep.table import SweepTable
from sweeps import synthetic


def curves(losses: np.ndarray) -> SweepTable:
    V = len(losses)
    columns = {"variant": np.arange(V), "run": "r", "state": "complete", "error": None, "complete": True}
    return SweepTable("s", "t", 0.5, V, [], pd.DataFrame(columns), losses, np.zeros((*losses.shape, 2)), [])


def test_a_single_cut_saves_what_the_others_would_have_trained():
    losses = np.tile(np.arange(1.0, 9.0)[:, None], (1, 11))
    sweep = curves(losses)
    # Two of eight are kept after 4 of 10 epochs: six times six epochs of eighty are saved.
    assert single_cut(sweep, np.arange(8), 4) == (36 / 80, 1.0)
    assert single_cut(sweep, np.arange(8)[::-1], 4) == (36 / 80, 7.0)
    losses[:, -1] = [np.nan] * 7 + [3.0]
    assert single_cut(sweep, np.arange(8), 4).loss_ratio == np.inf


def test_successive_halving_step_by_step():
    losses = np.tile(np.arange(1.0, 9.0)[:, None], (1, 11))
    losses[7, 1:] = [0.5, 9, 9, 9, 9, 9, 9, 9, 9, 9]
    losses[4, -1] = 0.1
    # After 1 epoch variants 7, 0, 1, 2 are left, after 2 epochs 0 and 1, after 4 epochs 0, after 8 it alone.
    saved, excess = successive_halving(curves(losses), np.arange(8))
    assert saved == pytest.approx((4 * 9 + 2 * 8 + 1 * 6) / 80) and excess == pytest.approx(1 / 0.1)


def test_the_savings_of_a_study():
    sweep = synthetic(E=4)
    found = savings(study(sweep, AeLLE(0.5, epochs=40), splits=3), sweep).set_index(["rule", "epoch"])
    for k in (1, 2, 3):
        assert found.loc[(RECOMMENDED, k), "saved"] == pytest.approx(0.75 * (4 - k) / 4)
        assert 1 <= found.loc[(RECOMMENDED, k), "loss_ratio"] <= found.loc[(RECOMMENDED, k), "loss_ratio_high"]
    assert (RECOMMENDED, 0) not in found.index and (RECOMMENDED, 4) not in found.index
    assert found.loc[(NO_CUT, 4), "saved"] == 0 and found.loc[(HALVING, 1), "saved"] == pytest.approx(0.5, abs=0.02)
    assert found.loc[(RECOMMENDED, 1), "loss_ratio"] < 1.5
