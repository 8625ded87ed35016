"""analyze.py on whole, partial and damaged sweeps, and what it writes."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest

from aelle.commands.analysis_name import analysis_name
from aelle.runs.reader import read_run
from aelle.runs.writer import RunFolder
from aelle.sweep.plan import Plan
from aelle.sweep.table import load_sweep
from sweeps import QUICK, report_of, results_of, synthetic, write_arrays


def test_the_report_of_a_sweep_of_one_class_says_why_there_is_no_classification(small_sweep, main):
    os.chdir(small_sweep.parent.parent)
    (small_sweep / "early_prediction.csv").write_text("of an earlier report")
    code, out, err = main("analyze.py", "sweep=outputs/digits", "splits=2", "pictures=[]")
    assert code == 0, err
    first = "Only 12 variants: these numbers mean little. No classification: 0 of 12 variants are low-error"
    assert out.startswith(first) and report_of(out) == Path("outputs/digits/report.html")
    html = body(report_of(out))
    assert f"<h1>{first}" in html and "Example outputs" in html
    variants = pd.read_csv(small_sweep / "variants.csv")
    assert len(variants) == 12 and {"variant", "p", "final_loss", "low_error"} <= set(variants)
    assert not (small_sweep / "early_prediction.csv").exists()


def test_a_sweep_of_which_nothing_is_known_before_the_end_has_a_report_and_no_model(tmp_path, main):
    os.chdir(tmp_path)
    sweep = synthetic()
    losses, spectra = np.full_like(sweep.losses, np.nan), np.full_like(sweep.spectra, np.nan)
    losses[:, -1], spectra[:, -1] = sweep.losses[:, -1], sweep.spectra[:, -1]
    write_arrays(tmp_path / "late.npz", val_loss=losses, spectrum=spectra, p=None)
    code, out, err = main("analyze.py", "sweep=late.npz", "threshold=0.5", *QUICK)
    assert code == 0 and "warning: no model is saved: too little is known before the last epoch" in out, err
    assert report_of(out).exists() and not (results_of(out) / "model").exists()


def test_equal_spectra_have_a_report_of_the_other_predictors(tmp_path, main):
    os.chdir(tmp_path)
    write_arrays(tmp_path / "equal.npz", spectrum=np.full((60, 4, 8), -1.0))
    code, out, err = main("analyze.py", "sweep=equal.npz", "threshold=0.5", *QUICK)
    assert code == 0 and "warning: AeLLE is left out, and all that follows from it: all spectra are equal" in out, err
    table = pd.read_csv(results_of(out) / "early_prediction.csv")
    assert "recommended" in set(table["predictor"]) and not table["predictor"].str.startswith("AeLLE").any()
    assert not (results_of(out) / "figures" / "planes.svg").exists()
    code, out, err = main("analyze.py", "sweep=equal.npz", f"model={results_of(out) / 'model'}")
    assert code == 0 and "warning: the model was fitted without spectra: they are not used" in out, err


def test_the_report_of_a_sweep_of_both_classes(sweep, main):
    threshold = float(np.median(load_sweep(sweep).final_loss))
    line = ["analyze.py", f"sweep={sweep}", f"threshold={threshold}", *QUICK]
    code, out, err = main(*line)
    assert code == 0, err
    table = pd.read_csv(results_of(out) / "early_prediction.csv")
    names = [
        "recommended",
        "recommended, without spectra",
        "AeLLE, plane",
        "AeLLE, loss head",
        "spectrum features, linear",
        "running mean of spectra, linear",
        "running mean of spectra, linear, pooled",
        "spectrum, linear",
        "loss and hyperparameters, linear",
        "loss and hyperparameters, quadratic",
        "losses and hyperparameters, linear",
        "loss and hyperparameters, trees",
        "hyperparameters only",
        "learning curve, extrapolated",
        "loss < final threshold",
        "loss, threshold tuned per epoch",
        "losses so far",
        "all variants",
    ]
    assert list(dict.fromkeys(table["predictor"])) == names and sorted(set(table["epoch"])) == [0, 1, 2, 3]
    every = table[table["predictor"] == "all variants"]
    assert (every["recall"] == 1).all() and (every["auc"] == 0.5).all()
    html = body(report_of(out))
    for heading in ("Early prediction", "ROC AUC by epoch", "plane during training", "of the trained networks"):
        assert heading in html
    assert "After 1 of 3 epochs, “recommended”" in html and "without spectra, “" in html
    assert "http" not in html and "src=" not in html
    chances = pd.read_csv(results_of(out) / "variants.csv").filter(like="chance_epoch")
    assert chances.shape == (12, 4) and ((chances >= 0) & (chances <= 1) | chances.isna()).all(axis=None)

    # Five rows are printed, or all of them.
    few = "Only 12 variants: these numbers mean little. 2 splits are too few"
    assert out.startswith(few) and f"<h1>{few}" in html
    assert rows_of(out)[0] == names[0] and len(rows_of(out)) == 5 and set(rows_of(out)) < set(names)
    assert {"loss < final threshold", "hyperparameters only"} <= set(rows_of(out))
    assert "5 of 18 predictors; details=true prints all of them" in out
    code, out, err = main(*line, "details=true")
    assert code == 0 and rows_of(out) == names and "details=true" not in out, err


def rows_of(out: str) -> list[str]:
    """The names of the predictors in the printed table."""
    table = out.partition("share of training")[2].partition("\n\n")[0].splitlines()[1:]
    return [re.split(r" {2,}", line)[0] for line in table if "/" in line]


def body(report: Path) -> str:
    """The page, without plotly's script."""
    return report.read_text().split("</script>", 1)[1]


def test_an_analysis_of_another_threshold_or_model_leaves_the_usual_one_alone(tmp_path, sweep, main):
    for path in (sweep / name for name in ("report.html", "variants.csv")):
        path.write_text("the usual")
    (sweep / "model").mkdir()
    usual = {path: path.stat().st_mtime_ns for path in sweep.iterdir()}
    middle = float(np.median(load_sweep(sweep).final_loss))
    code, out, err = main("analyze.py", f"sweep={sweep}", f"threshold={middle}", "aelle=paper", *QUICK)
    assert code == 0, err
    name = f"paper-epochs-4-threshold-{middle:.6g}"
    assert report_of(out) == sweep / f"report-{name}.html" and results_of(out) == sweep / f"analysis-{name}"
    assert f"model: {results_of(out) / 'model'}; " in out and (results_of(out) / "model").is_dir()
    assert {path: path.stat().st_mtime_ns for path in usual} == usual
    assert {path.name for path in results_of(out).glob("*.csv")} > {"variants.csv", "early_prediction.csv"}
    html = body(report_of(out))
    assert f"<code>analysis-{name}/figures/</code>" in html and f"analysis-{name}/variants.csv" in html
    # A sweep with other analyses in its folder is still one.
    assert load_sweep(sweep).problems == []


@pytest.mark.parametrize(
    ("settings", "threshold", "usual", "name"),
    [
        ([], None, 0.5, ""),
        ([], 0.5, 0.5, ""),
        ([], 0.3, 0.5, "threshold-0.3"),
        ([], 0.3, np.nan, "threshold-0.3"),  # Arrays have no threshold of their own.
        (["aelle=default"], None, 0.5, ""),
        (["aelle=paper"], None, 0.5, "paper"),
        (["aelle.classifier=ellipse", "aelle=paper"], 0.3, 0.5, "paper-classifier-ellipse-threshold-0.3"),
        (["aelle.alphas=[1,2]"], None, 0.5, "alphas-1-2"),
    ],
)
def test_the_name_of_an_analysis(settings, threshold, usual, name):
    assert analysis_name(settings, threshold, usual) == name


def test_a_variant_that_is_still_training_gets_its_chance(sweep, main):
    run = read_run(sweep / "pack-0002")
    folder = RunFolder(run.path, run.config)
    folder.write_epochs(run.epochs.filter(pc.field("epoch") <= 1))
    folder.write_variants([Plan(run.config, sweep).variant(n) for n in run.numbers], ["running"] * 2)
    folder.write_status("running", epoch=1)
    threshold = float(np.median(load_sweep(sweep).complete().final_loss))
    code, out, err = main("analyze.py", f"sweep={sweep}", f"threshold={threshold}", *QUICK)
    assert code == 0 and "10 complete" in out, err
    running = pd.read_csv(results_of(out) / "variants.csv").set_index("state").loc["running"]
    assert list(running["variant"]) == run.numbers and running["final_loss"].isna().all()
    assert running["chance_epoch_1"].between(0, 1).all() and running["chance_epoch_2"].isna().all()
    assert out.startswith("Only 10 of 12 variants are complete: these numbers mean little. ")
    assert '<a href="#problems">2 running, of 12 variants: see the end' in body(report_of(out))


@pytest.mark.parametrize("name", ["epochs.parquet", "config.yaml", "status.json"])
def test_a_damaged_pack_is_named_and_the_rest_analysed(sweep, main, name):
    (sweep / "pack-0001" / name).write_text("{")
    before = {p: p.read_bytes() for p in sweep.glob("pack-*/*")}
    code, out, _ = main("analyze.py", f"sweep={sweep}", *QUICK)
    assert code == 0 and f"warning: pack-0001 is left out: {name}" in out
    assert "7 complete" in out
    html = body(report_of(out))
    assert "pack-0001 is left out" in html and "1 part of the sweep could not be used" in html
    assert {p: p.read_bytes() for p in sweep.glob("pack-*/*")} == before


def test_missing_variants_are_listed(sweep, main):
    shutil.rmtree(sweep / "pack-0002")
    html = body(report_of(main("analyze.py", f"sweep={sweep}", *QUICK)[1]))
    assert "missing" in html and "10, 11" in html and "2 missing, of 12 variants" in html


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
        ("details=all", "details=all: give true for every row of the table, or false for five"),
        ("aelle=nosuch", "aelle=nosuch does not exist: choose one of default"),
        ("aelle=3", "aelle=3: aelle is chosen by its name; choose one of default, paper"),
        ("aelle=null", "aelle=null: aelle is chosen by its name; choose one of default, paper"),
        ("aelle=[1]", "aelle=[1]: aelle is chosen by its name; choose one of default, paper"),
        ("logger=3", "logger=3: logger is chosen by its name; choose one of csv, tensorboard, wandb"),
        ("shares=3", "shares=3: give three numbers above 0"),
        ("shares=null", "shares=None: give three numbers above 0"),
        ("model=3", "model=3: give the folder of a model that an analysis saved"),
        ("sweep=3", "sweep=3: give the path of a sweep's folder, or of an array file"),
        ("sweep=[1]", "sweep=[1]: give the path of a sweep's folder, or of an array file"),
    ],
)
def test_a_wrong_option_is_one_line_and_writes_nothing(small_sweep, tmp_path, main, override, says):
    sweep = tmp_path / "digits"
    shutil.copytree(small_sweep, sweep, ignore=shutil.ignore_patterns("report*", "analysis*"))
    code, _, err = main("analyze.py", f"sweep={sweep}", override)
    assert code == 2 and err.count("\n") == 1 and says in err and not list(sweep.glob("report*"))


def test_an_array_file_is_analysed_like_a_sweep(tmp_path, main):
    os.chdir(tmp_path)
    write_arrays(tmp_path / "mine.npz", cell=np.array(["lstm", "gru"] * 30), variant=np.arange(100, 160))
    code, out, err = main("analyze.py", "sweep=mine.npz", "threshold=0.5", *QUICK)
    assert code == 0, err
    assert "\nmine: 60 variants, 60 complete" in out and "\nrecommended " in out
    variants = pd.read_csv(results_of(out) / "variants.csv")
    assert list(variants["variant"]) == list(range(100, 160))
    html = body(report_of(out))
    assert report_of(out).parent == Path("outputs/mine") and "python train.py" not in html + out


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_files_of_one_analysis_belong_together(tmp_path, main):
    """Another threshold leaves them alone; the same analysis of other arrays replaces all of them."""
    write_arrays(tmp_path / "mine.npz", note=None)
    line = ("analyze.py", "sweep=mine.npz", "pictures=[]", *QUICK)
    code, first, err = main(*line, "threshold=0.5", stills=True)
    assert code == 0, err
    before = files_of(tmp_path / "outputs")
    code, second, err = main(*line, "threshold=0.05", stills=True)
    assert code == 0 and "No classification" in second and results_of(first) != results_of(second), err
    after = files_of(tmp_path / "outputs")
    assert after.items() >= before.items() and len(after) > len(before)
    assert not (results_of(second) / "model").exists()
    assert (results_of(first) / "early_prediction.csv").exists() and (
        results_of(first) / "figures" / "calibration.svg"
    ).exists()

    (results_of(first) / "model" / "notes.txt").write_text("the reader's own")
    write_arrays(tmp_path / "mine.npz", note=None, val_loss=synthetic().losses + 1)
    code, third, err = main(*line, "threshold=0.5", stills=True)
    assert code == 0 and results_of(third) == results_of(first), err
    assert f"{results_of(first) / 'model'} of an earlier analysis is removed: this one has no model" in third
    assert [path.name for path in (results_of(first) / "model").iterdir()] == ["notes.txt"]
    kept = {path.name for path in results_of(third).glob("*.csv")}
    assert {path.name for path in results_of(second).glob("*.csv")} == kept
    names = [{path.name for path in (results_of(out) / "figures").iterdir()} for out in (second, third)]
    assert names[0] == names[1]


def test_an_array_file_with_the_name_of_a_sweep_is_refused(small_sweep, main):
    os.chdir(small_sweep.parent.parent)
    before = files_of(small_sweep)
    write_arrays(Path("digits.npz"))
    code, _, err = main("analyze.py", "sweep=digits.npz", "threshold=0.5", *QUICK)
    Path("digits.npz").unlink()
    assert code == 2 and err.count("\n") == 1 and "outputs/digits, which is the folder of a sweep; rename" in err
    assert files_of(small_sweep) == before


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"val_loss": None}, "val_loss is missing: give numbers [V, E]"),
        ({"spectrum": np.zeros((60, 4))}, "spectrum is [60, 4], float64: give numbers [V, E, K]"),
        ({"spectrum": np.zeros((60, 3, 8))}, "same variants and epochs"),
        ({"val_loss": np.full((60, 4), "low")}, "val_loss is [60, 4]"),
        ({"val_loss": np.full((60, 4), None, dtype=object)}, "val_loss is an array of Python objects"),
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
        ({"spectrum": nan_where(EPOCH == 3)}, "recommended, without spectra", "None: 0 of 0 variants"),
        ({"spectrum": nan_where((EPOCH == 3) & HIGH)}, "recommended, without spectra", "None: 0 of"),
        ({"spectrum": nan_where(EPOCH < 3)}, "recommended, without spectra", "measured after the last epoch only"),
        ({"spectrum": nan_where((EPOCH == 2) & (ROW > 0))}, "recommended, without spectra", "After 1 of 3 epochs"),
        ({"spectrum": nan_where(EPOCH >= 0)}, "no complete variant has a measured spectrum", "Final losses"),
        ({"spectrum": nan_where((POINT > 4) & (ROW % 2 == 0))}, "recommended, without spectra", "After 1 of 3 epochs"),
        ({"p": None}, "recommended, without spectra", "Final losses"),
        ({"p": np.where(np.arange(60) == 3, np.nan, 1.0)}, "p is left out", "p is left out"),
        ({"tag": np.array([f"<b>run {i}</b>" for i in range(60)])}, "recommended, without spectra", "Final losses"),
        ({"flag": np.arange(60) % 2 == 0}, "recommended, without spectra", "Final losses"),
        ({"complete": np.zeros(60)}, "60 complete", "complete is left out"),
        ({"variant": np.arange(100, 160)}, "60 complete", "119, 139, 159"),
    ],
)
def test_array_files_with_holes_and_oddities_have_their_report(tmp_path, main, changes, says, shows):
    os.chdir(tmp_path)
    write_arrays(tmp_path / "mine.npz", **{"note": None, **changes})
    code, out, err = main("analyze.py", "sweep=mine.npz", "threshold=0.5", "details=true", *QUICK)
    assert code == 0 and says in out, err
    html = body(report_of(out))
    assert shows in html and "<b>run" not in html and "nan %" not in html
    assert "missing</td>" not in html


@pytest.mark.parametrize("threshold", ["0", "-1", "nan", "inf", "true"])
def test_a_threshold_that_is_none_is_one_line(tmp_path, main, threshold):
    os.chdir(tmp_path)
    write_arrays(tmp_path / "mine.npz")
    code, _, err = main("analyze.py", "sweep=mine.npz", f"threshold={threshold}")
    assert code == 2 and err.count("\n") == 1 and "give a final validation loss above 0" in err
