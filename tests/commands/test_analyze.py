"""analyze.py on whole, partial and damaged sweeps, and what it writes."""

import os
import shutil

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest

from aelle.runs.reader import read_run
from aelle.runs.writer import RunFolder
from aelle.sweep.plan import Plan
from aelle.sweep.table import load_sweep
from sweeps import QUICK, synthetic, write_arrays


def test_the_report_of_a_sweep_of_one_class_says_why_there_is_no_classification(small_sweep, main):
    os.chdir(small_sweep.parent.parent)
    (small_sweep / "early_prediction.csv").write_text("of an earlier report")
    code, out, err = main("analyze.py", "sweep=outputs/digits", *QUICK)
    assert code == 0, err
    assert "no classification: 0 of 12 variants are low-error" in out
    html = (small_sweep / "report.html").read_text()
    assert "No classification" in html and "Example outputs" in html
    variants = pd.read_csv(small_sweep / "variants.csv")
    assert len(variants) == 12 and {"variant", "p", "final_loss", "low_error"} <= set(variants)
    assert not (small_sweep / "early_prediction.csv").exists()


def test_the_report_of_a_sweep_of_both_classes(sweep, main):
    threshold = float(np.median(load_sweep(sweep).final_loss))
    code, out, err = main("analyze.py", f"sweep={sweep}", f"threshold={threshold}", *QUICK)
    assert code == 0, err
    table = pd.read_csv(sweep / "early_prediction.csv")
    names = [
        "AeLLE with loss and hyperparameters",
        "AeLLE, plane",
        "AeLLE, loss head",
        "running mean of spectra, linear",
        "running mean of spectra, linear, pooled",
        "spectrum, linear",
        "spectrum features, linear",
        "loss and p",
        "p only",
        "loss < final threshold",
        "loss, threshold tuned per epoch",
        "losses so far",
        "learning curve, extrapolated",
        "all variants",
    ]
    assert list(dict.fromkeys(table["predictor"])) == names and sorted(set(table["epoch"])) == [0, 1, 2, 3]
    every = table[table["predictor"] == "all variants"]
    assert (every["recall"] == 1).all() and (every["auc"] == 0.5).all()
    assert all(name in out for name in names)
    html = (sweep / "report.html").read_text().split("</script>", 1)[1]
    for heading in ("Early prediction", "ROC AUC by epoch", "plane during training", "of the trained networks"):
        assert heading in html
    assert "After 1 of 3 epochs, AeLLE with" in html and "without spectra, “" in html
    assert "http" not in html and "src=" not in html
    chances = pd.read_csv(sweep / "variants.csv").filter(like="chance_epoch")
    assert chances.shape == (12, 4) and ((chances >= 0) & (chances <= 1) | chances.isna()).all(axis=None)


def test_a_variant_that_is_still_training_gets_its_chance(sweep, main):
    run = read_run(sweep / "pack-0002")
    folder = RunFolder(run.path, run.config)
    folder.write_epochs(run.epochs.filter(pc.field("epoch") <= 1))
    folder.write_variants([Plan(run.config, sweep).variant(n) for n in run.numbers], ["running"] * 2)
    folder.write_status("running", epoch=1)
    threshold = float(np.median(load_sweep(sweep).complete().final_loss))
    code, out, err = main("analyze.py", f"sweep={sweep}", f"threshold={threshold}", *QUICK)
    assert code == 0 and "10 complete" in out, err
    running = pd.read_csv(sweep / "variants.csv").set_index("state").loc["running"]
    assert list(running["variant"]) == run.numbers and running["final_loss"].isna().all()
    assert running["chance_epoch_1"].between(0, 1).all() and running["chance_epoch_2"].isna().all()


@pytest.mark.parametrize("name", ["epochs.parquet", "config.yaml", "status.json"])
def test_a_damaged_pack_is_named_and_the_rest_analysed(sweep, main, name):
    (sweep / "pack-0001" / name).write_text("{")
    before = {p: p.read_bytes() for p in sweep.glob("pack-*/*")}
    code, out, _ = main("analyze.py", f"sweep={sweep}", *QUICK)
    assert code == 0 and f"warning: pack-0001 is left out: {name}" in out
    assert "7 complete" in out
    assert "pack-0001 is left out" in (sweep / "report.html").read_text()
    assert {p: p.read_bytes() for p in sweep.glob("pack-*/*")} == before


def test_missing_variants_are_listed(sweep, main):
    shutil.rmtree(sweep / "pack-0002")
    main("analyze.py", f"sweep={sweep}", *QUICK)
    html = (sweep / "report.html").read_text()
    assert "missing" in html and "10, 11" in html


@pytest.mark.parametrize(
    ("sweep", "says"),
    [
        ("nowhere", "does not exist"),
        (".", "contains no runs"),
        (None, "no sweep given"),
    ],
)
def test_nothing_to_analyse_is_one_line(main, sweep, says):
    code, _, err = main("analyze.py", *([f"sweep={sweep}"] if sweep else []))
    assert code == 2 and err.count("\n") == 1 and says in err


def test_a_folder_near_the_sweeps_own_is_answered_with_that(main, small_sweep):
    os.chdir(small_sweep.parent.parent)
    for given, meant in (
        ("digits", "did you mean outputs/digits?"),
        ("outputs/digits/pack-0000", "its sweep, outputs/digits"),
    ):
        code, _, err = main("analyze.py", f"sweep={given}")
        assert code == 2 and err.count("\n") == 1 and meant in err


def test_no_readable_run_is_one_line(sweep, main):
    for file in sweep.glob("*/variants.parquet"):
        file.write_bytes(b"")
    code, _, err = main("analyze.py", f"sweep={sweep}")
    assert code == 2 and err.count("\n") == 1 and "pack-0000" in err


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("aelle.embedding=lda", "embedding='lda'"),
        ("aelle.alphas=[]", "alphas=[]"),
        ("aelle.n_components=40", "n_components=40"),
        ("aelle.epochs=0", "epochs=0"),
        ("splits=0", "splits=0"),
        ("shares=[0.5,0.5]", "shares=[0.5, 0.5]: give three numbers"),
        ("shares=[0.5,0.6,-0.1]", "give three numbers above 0"),
        ("shares=[a,b,c]", "give three numbers above 0"),
        ("threshold=high", "threshold=high"),
        ("aelle=nosuch", "aelle=nosuch does not exist: choose one of default"),
    ],
)
def test_a_wrong_option_is_one_line_and_writes_nothing(small_sweep, tmp_path, main, override, says):
    sweep = tmp_path / "digits"
    shutil.copytree(small_sweep, sweep, ignore=shutil.ignore_patterns("report.html"))
    code, _, err = main("analyze.py", f"sweep={sweep}", override)
    assert code == 2 and err.count("\n") == 1 and says in err and not (sweep / "report.html").exists()


def test_an_array_file_is_analysed_like_a_sweep(tmp_path, main):
    os.chdir(tmp_path)
    write_arrays(tmp_path / "mine.npz", cell=np.array(["lstm", "gru"] * 30), variant=np.arange(100, 160))
    code, out, err = main("analyze.py", "sweep=mine.npz", "threshold=0.5", *QUICK)
    assert code == 0, err
    assert "mine: 60 variants, 60 complete" in out and "p, cell only" in out
    variants = pd.read_csv(tmp_path / "outputs" / "mine" / "variants.csv")
    assert (
        list(variants["variant"]) == list(range(100, 160)) and (tmp_path / "outputs" / "mine" / "report.html").exists()
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"val_loss": None}, "val_loss is missing: give numbers [V, E]"),
        ({"spectrum": np.zeros((60, 4))}, "spectrum is [60, 4], float64: give numbers [V, E, K]"),
        ({"spectrum": np.zeros((60, 3, 8))}, "same variants and epochs"),
        ({"val_loss": np.full((60, 4), "low")}, "val_loss is [60, 4]"),
        ({"val_loss": np.full((60, 4), None, dtype=object)}, "is not an array file"),
        ({"variant": np.zeros(60)}, "60 different whole numbers"),
        ({"val_loss": np.zeros((60, 4))}, "losses must be above 0"),
    ],
)
def test_a_wrong_array_file_is_one_line(tmp_path, main, changes, says):
    os.chdir(tmp_path)
    write_arrays(tmp_path / "mine.npz", **changes)
    code, _, err = main("analyze.py", "sweep=mine.npz", "threshold=0.5")
    assert code == 2 and err.count("\n") == 1 and says in err and not (tmp_path / "outputs").exists()


def test_an_array_file_needs_a_threshold_and_to_be_one(tmp_path, main):
    os.chdir(tmp_path)
    write_arrays(tmp_path / "mine.npz")
    code, _, err = main("analyze.py", "sweep=mine.npz")
    assert code == 2 and "threshold=null" in err and err.count("\n") == 1
    (tmp_path / "mine.npz").write_bytes(b"PK")
    code, _, err = main("analyze.py", "sweep=mine.npz", "threshold=0.5")
    assert code == 2 and "is not an array file" in err and err.count("\n") == 1


def nan_where(condition) -> np.ndarray:
    sweep = synthetic()
    return np.where(condition, np.nan, sweep.spectra)


EPOCH, POINT = np.arange(4)[None, :, None], np.arange(8)[None, None, :]


ROW = np.arange(60)[:, None, None]


HIGH = (~synthetic().low_error)[:, None, None]


@pytest.mark.parametrize(
    ("changes", "says", "shows"),
    [
        ({"spectrum": nan_where(EPOCH == 3)}, "AeLLE with loss", "None: 0 of 0 variants"),
        ({"spectrum": nan_where((EPOCH == 3) & HIGH)}, "AeLLE with loss", "None: 0 of"),
        ({"spectrum": nan_where(EPOCH < 3)}, "AeLLE with loss", "measured after the last epoch only"),
        ({"spectrum": nan_where((EPOCH == 2) & (ROW > 0))}, "AeLLE with loss", "After 1 of 3 epochs"),
        ({"spectrum": nan_where(EPOCH >= 0)}, "no complete variant has a measured spectrum", "Final losses"),
        ({"spectrum": nan_where((POINT > 4) & (ROW % 2 == 0))}, "AeLLE with loss", "After 1 of 3 epochs"),
        ({"p": None}, "AeLLE with loss", "Final losses"),
        ({"p": np.where(np.arange(60) == 3, np.nan, 1.0)}, "p is left out", "p is left out"),
        ({"tag": np.array([f"<b>run {i}</b>" for i in range(60)])}, "p, tag only", "Final losses"),
        ({"flag": np.arange(60) % 2 == 0}, "p, flag only", "Final losses"),
        ({"complete": np.zeros(60)}, "60 complete", "complete is left out"),
        ({"variant": np.arange(100, 160)}, "60 complete", "119, 139, 159"),
    ],
)
def test_array_files_with_holes_and_oddities_have_their_report(tmp_path, main, changes, says, shows):
    os.chdir(tmp_path)
    write_arrays(tmp_path / "mine.npz", **{"note": None, **changes})
    code, out, err = main("analyze.py", "sweep=mine.npz", "threshold=0.5", *QUICK)
    assert code == 0 and says in out, err
    html = (tmp_path / "outputs" / "mine" / "report.html").read_text().split("</script>", 1)[1]
    assert shows in html and "<b>run" not in html and "nan %" not in html
    assert "missing</td>" not in html


@pytest.mark.parametrize("threshold", ["0", "-1", "nan", "inf", "true"])
def test_a_threshold_that_is_none_is_one_line(tmp_path, main, threshold):
    os.chdir(tmp_path)
    write_arrays(tmp_path / "mine.npz")
    code, _, err = main("analyze.py", "sweep=mine.npz", f"threshold={threshold}")
    assert code == 2 and err.count("\n") == 1 and "give a final validation loss above 0" in err
