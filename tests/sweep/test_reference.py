"""Networks for reference: trained beside a sweep, left out of its analysis, and drawn as a line."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from aelle.report.trained_figures import loss_distribution, losses_over_hyperparameters
from aelle.sweep.plan import Plan
from aelle.sweep.table import Reference, load_sweep
from run_files import CONFIG
from sweeps import SMALL, synthetic

WITHOUT = [option for option in SMALL if option not in ("reference=null", "size=12", "epochs=3")]
LINE = ["train.py", "-m", "experiment=digits", *WITHOUT, "size=6", "epochs=2", "reference.size=2"]
LINE += ["reference.hidden_size=8"]


def test_they_are_numbered_after_the_variants_and_have_their_values(tmp_path):
    config = {**CONFIG, "pack_size": 10, "variants": None, "reference": {"size": 2, "p": 9.0}}
    plan = Plan(config, tmp_path)
    assert plan.total == 5 and plan.wanted() == set(range(5))
    numbers = [v.number for pack in plan.packs() for v in pack]
    assert numbers == [0, 1, 2, 3, 4]
    assert [plan.variant(n).hyperparameters["p"] for n in (3, 4)] == [9.0, 9.0]
    without = Plan({**config, "reference": None}, tmp_path)
    assert [plan.variant(n) for n in range(3)] == [without.variant(n) for n in range(3)]
    assert without.total == 3 and plan.variant(3).seeds != plan.variant(4).seeds


def test_a_sweep_with_them_is_trained_resumed_and_told_apart(main, aelle, tmp_path):
    code, out, err = main(*LINE)
    assert code == 0, err
    assert "digits: 6 variants and 2 for reference in 2 packs" in out and "8 of 8 variants complete" in out
    assert "8 of 8 variants complete already" in main(*LINE)[1]
    table = load_sweep(tmp_path / "outputs" / "digits")
    assert table.size == 6 and table.variants["variant"].tolist() == list(range(6)) and table.losses.shape == (6, 3)
    assert table.reference is not None and table.reference.values["init"] == "default"
    assert len(table.reference.losses) == 2 and not np.isin(table.reference.losses, table.final_loss).any()
    status = aelle("status", "outputs/digits")[1]
    assert status.startswith("digits: 6 variants and 2 for reference in 2 packs") and "8 complete" in status
    shown = status.partition("lowest validation losses")[2].splitlines()[2:7]
    assert all(int(line.split()[0]) < 6 for line in shown), status
    assert aelle("collect", "outputs/digits")[0] == 0
    rows = pd.read_parquet(tmp_path / "outputs" / "digits" / "collected.parquet")
    assert rows.groupby("variant")["reference"].first().tolist() == [False] * 6 + [True] * 2
    code, _, err = main(*LINE, "reference.weight_decay=0.1")
    assert code == 2 and "reference.weight_decay: 0 there, 0.1 now" in err
    code, out, err = main("analyze.py", "sweep=outputs/digits")
    assert code == 0 and "PyTorch's default initialisation (cell lstm, hidden_size 8" in out, err
    report = (tmp_path / "outputs" / "digits" / "report.html").read_text()
    assert "is PyTorch&#39;s default initialisation (cell lstm" in report.replace("\n", " ")


@pytest.mark.parametrize("figure", [loss_distribution, losses_over_hyperparameters])
def test_their_median_is_a_line(figure):
    plain = synthetic()
    compared = replace(plain, reference=Reference({"init": "default"}, np.array([0.2, 0.3, 0.9])))
    lines = [shape for shape in figure(compared).layout.shapes if shape not in figure(plain).layout.shapes]
    assert len(lines) == 1
    assert 0.3 in (lines[0].y0, pytest.approx(10 ** (lines[0].x0 or 0)))


def test_a_reference_without_a_finite_loss_is_none(main, tmp_path):
    assert main(*LINE, "reference.learning_rate=1e38")[0] == 0
    found = load_sweep(tmp_path / "outputs" / "digits")
    assert found.reference is None
    assert found.problems == ["reference: 2 of 2 networks are left out: they have no finite final loss"]
