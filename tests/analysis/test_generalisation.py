"""AeLLE on what is unlike the variants that it has learned from."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from aelle.analysis.early import study
from aelle.analysis.generalisation import across_hyperparameters, as_table, to_test_inputs, transfers
from aelle.commands.analyze import Request, load
from aelle.model.chances import chances, fit_to_all
from aelle.model.estimator import AeLLE
from aelle.sweep.arrays import load_arrays
from aelle.sweep.table import SweepTable, load_sweep
from sweeps import QUICK, report_of, results_of, synthetic, write_arrays

MODEL = AeLLE(0.5, epochs=30)


def two_sizes(reverse: bool) -> SweepTable:
    """Of the second size, a deep spectrum means low error instead of high, if `reverse`."""
    one, two = synthetic(seed=0), synthetic(seed=1)
    if reverse:
        two = replace(two, spectra=two.spectra[:, :, :] * 0 - (5 + two.spectra))
    variants = pd.concat([one.variants.assign(size=16), two.variants.assign(size=32)], ignore_index=True)
    variants["variant"] = np.arange(len(variants))
    losses, spectra = np.concatenate([one.losses, two.losses]), np.concatenate([one.spectra, two.spectra])
    return replace(one, size=120, hyperparameters=["size"], variants=variants, losses=losses, spectra=spectra)


def test_the_same_spectra_by_test_inputs_give_the_same_areas_and_noise_none():
    sweep = synthetic()
    assert to_test_inputs(sweep, study(sweep, MODEL, 2)) == []
    same = replace(sweep, test_spectra=sweep.spectra.copy())
    found = as_table(to_test_inputs(same, study(same, MODEL, 3)))
    own, other = (found[found["scored_on"] == name] for name in ("validation inputs", "test inputs"))
    np.testing.assert_array_equal(own["auc"], other["auc"])
    assert own["auc"].min() > 0.9
    noise = replace(sweep, test_spectra=np.random.default_rng(0).standard_normal(sweep.spectra.shape))
    found = as_table(to_test_inputs(noise, study(noise, MODEL, 3)))
    assert abs(found[found["scored_on"] == "test inputs"]["auc"].mean() - 0.5) < 0.2


@pytest.mark.parametrize("reverse", [False, True])
def test_from_one_size_to_the_other_and_back(reverse):
    found = as_table(across_hyperparameters(two_sizes(reverse), MODEL))
    assert set(zip(found["trained_on"], found["scored_on"], strict=True)) == {
        ("size 16", "size 32"),
        ("size 32", "size 16"),
    }
    assert (found["auc"] < 0.2).all() if reverse else (found["auc"] > 0.9).all()
    assert (found["auc_low"] <= found["auc"]).all() and (found["auc"] <= found["auc_high"]).all()


def test_a_value_with_one_class_is_neither_learned_from_nor_scored():
    sweep = two_sizes(False)
    large = sweep.variants["size"].to_numpy() == 32
    losses = sweep.losses.copy()
    losses[large, -1] = 2.0
    assert across_hyperparameters(replace(sweep, losses=losses), MODEL) == []


def test_a_value_without_spectra_is_neither_learned_from_nor_scored():
    sweep = two_sizes(False)
    sweep.spectra[sweep.variants["size"] == 32] = np.nan
    assert across_hyperparameters(sweep, MODEL) == []


def test_the_area_is_that_of_the_models_chances():
    one, other = synthetic(seed=0), synthetic(seed=1, M=12)
    model = fit_to_all(one, MODEL)
    found = as_table(transfers(model, "one", "other", other)).set_index("epoch")
    for k in found.index:
        given = np.nan_to_num(chances(model, other)[:, k], nan=-1)
        assert found["auc"][k] == pytest.approx(roc_auc_score(other.low_error, given))


def test_other_sweeps_and_test_inputs_are_in_the_report(tmp_path, main):
    os.chdir(tmp_path)
    sweep = synthetic()
    write_arrays(tmp_path / "one.npz", test_input_spectrum=sweep.spectra + 0.01)
    write_arrays(tmp_path / "two.npz")
    code, out, err = main("analyze.py", "sweep=one.npz", "elsewhere=[two.npz]", "threshold=0.5", *QUICK)
    assert code == 0, err
    table = pd.read_csv(results_of(out) / "generalisation.csv")
    assert set(table["scored_on"]) == {"validation inputs", "test inputs", "two (task array file, low-error below 0.5)"}
    assert "Generalisation" in report_of(out).read_text()
    assert "AeLLE trained on one, scored on two (task array file, low-error below 0.5): ROC AUC" in out


def test_sweeps_of_the_task_are_judged_alike_and_one_of_a_single_class_is_named(tmp_path, main, small_sweep):
    """By the task's own threshold, no variant of the small sweep is low-error."""
    os.chdir(tmp_path)
    write_arrays(tmp_path / "one.npz")
    for name in ("a", "b"):
        shutil.copytree(small_sweep, tmp_path / name)
    middle = float(np.median(load_sweep(small_sweep).final_loss))
    options = ["sweep=one.npz", f"elsewhere=[{tmp_path / 'a'}]", "threshold=0.5", *QUICK]
    code, out, err = main("analyze.py", *options)
    left_out = "elsewhere: a is left out: 0 of its 12 complete variants are low-error"
    assert code == 0 and f"warning: {left_out}" in out and "scored on a (task" not in out, err
    assert left_out in report_of(out).read_text()
    code, out, err = main(
        "analyze.py", f"sweep={tmp_path / 'a'}", f"elsewhere=[{tmp_path / 'b'}]", f"threshold={middle}", *QUICK
    )
    assert code == 0 and "is left out" not in out, err
    assert f"scored on b (task digits, low-error below {middle:.4g}): ROC AUC" in out


@pytest.mark.parametrize(
    "task, given, expected",
    [("lorenz", None, 0.00016), ("lorenz", 0.01, 0.01), ("copy", 0.01, 0.00016), ("copy", None, 0.00016)],
)
def test_another_sweep_is_judged_by_its_own_threshold_unless_one_is_asked_for(
    monkeypatch, tmp_path, task, given, expected
):
    """That of a task may follow its options: the Lorenz system's at dt=0.05 is 0.0053, and at dt=0.02 0.00016."""
    write_arrays(tmp_path / "arrays.npz")
    sweeps = {
        "one": replace(synthetic(), task="lorenz", threshold=0.0053),
        "two": replace(synthetic(), task=task, threshold=0.00016),
        "arrays": load_arrays(tmp_path / "arrays.npz"),
    }
    monkeypatch.setattr("aelle.commands.analyze._load", lambda path: sweeps[path.stem])
    request = Request(
        source=Path("one"),
        threshold=given,
        splits=2,
        split_shares=[],
        parameters={},
        pictures=[],
        elsewhere=[Path("two"), tmp_path / "arrays.npz"],
        generalise=None,
        model=None,
        details=False,
        settings=[],
        tracker=None,
    )
    sweep, (other, arrays), _ = load(request)
    assert other.threshold == expected and arrays.threshold == sweep.threshold == (given or 0.0053)


def test_a_sweep_without_spectra_is_named(tmp_path, main):
    os.chdir(tmp_path)
    write_arrays(tmp_path / "one.npz")
    write_arrays(tmp_path / "two.npz", spectrum=np.full((60, 4, 8), np.nan))
    code, out, err = main("analyze.py", "sweep=one.npz", "elsewhere=[two.npz]", "threshold=0.5", *QUICK)
    assert code == 0 and "elsewhere: two is left out: none of its complete variants has a measured spectrum" in out, err


@pytest.mark.parametrize("wrong", ["[nowhere]", "nowhere", "[3]"])
def test_a_sweep_that_is_not_there_is_one_line(tmp_path, main, wrong):
    os.chdir(tmp_path)
    write_arrays(tmp_path / "one.npz")
    code, _, err = main("analyze.py", "sweep=one.npz", f"elsewhere={wrong}", "threshold=0.5", *QUICK)
    assert code == 2 and err.count("\n") == 1 and "elsewhere" in err


def test_test_inputs_of_another_shape_are_left_out_by_name(tmp_path, main):
    os.chdir(tmp_path)
    write_arrays(tmp_path / "one.npz", test_input_spectrum=np.zeros((3, 2)))
    code, out, err = main("analyze.py", "sweep=one.npz", "threshold=0.5", *QUICK)
    assert code == 0 and "test_input_spectrum is left out" in out, err
