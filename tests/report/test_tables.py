"""The tables of a report as CSV, read back."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from aelle.analysis.features import correlations, features
from aelle.sweep.table import load_sweep
from sweeps import QUICK, results_of, synthetic


def test_the_tables_of_a_report_are_files(sweep, main):
    shutil.rmtree(sweep / "pack-0002")
    (sweep / "pack-0001" / "status.json").write_text("{")
    table = load_sweep(sweep)
    threshold = float(np.median(table.final_loss))
    code, out, err = main("analyze.py", f"sweep={sweep}", f"threshold={threshold}", *QUICK)
    assert code == 0, err
    written = results_of(out)
    table = replace(table, threshold=threshold)
    groups = pd.read_csv(written / "shares.csv")
    assert set(groups["hyperparameter"]) == {"p"} and groups["variants"].sum() == 5
    assert groups["low_error"].sum() == table.low_error.sum()
    np.testing.assert_allclose(groups["share_low_error"], groups["low_error"] / groups["variants"], rtol=1e-5)
    found = pd.read_csv(written / "features.csv").set_index("feature")
    rho = spearmanr(features(table)["mean"], table.final_loss).statistic
    assert found.loc["mean", "rho"] == pytest.approx(rho, rel=1e-5) and (found["n"] == 5).all()
    problems = pd.read_csv(written / "problems.csv")
    assert list(problems["variant"].dropna()) == list(range(5, 12)) and set(problems["state"]) == {"missing", "damaged"}
    assert "pack-0001 is left out: status.json" in problems["error"].iloc[-1]


def test_tables_of_nothing_have_their_header(small_sweep, main):
    code, out, err = main("analyze.py", f"sweep={small_sweep}", *QUICK)
    assert code == 0, err
    assert (results_of(out) / "problems.csv").read_text() == "state,variant,error\n"
    assert correlations(synthetic().take(np.arange(0))) == []
