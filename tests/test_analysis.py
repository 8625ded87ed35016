"""analyze.py on whole, partial and damaged sweeps, and what it writes."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from scipy.stats import norm

from aelle.analysis.early import SHARES, Study, study
from aelle.analysis.predictor import Predictor
from aelle.analysis.predictors import COMBINED, Plane, predictors
from aelle.analysis.regressions import Extrapolation, Hyperparameters, LossAndHyperparameters
from aelle.analysis.scores import METRICS, chance
from aelle.lyapunov.spectrum import signed_log
from aelle.model.estimator import AeLLE
from aelle.model.samples import stratified_parts
from aelle.runs.reader import read_run
from aelle.runs.writer import RunFolder
from aelle.sweep.plan import Plan
from aelle.sweep.table import SweepTable, load_sweep

QUICK = ["aelle.epochs=4", "splits=2"]


def synthetic(V: int = 60, E: int = 3, M: int = 8, seed: int = 0) -> SweepTable:
    """Variants whose spectrum tells their final loss before training, and whose loss tells it later."""
    rng = np.random.default_rng(seed)
    quality = rng.uniform(0, 1, V)
    share = np.linspace(0, 1, E + 1)
    losses = (1 - share) * rng.uniform(1, 2, (V, 1)) + share * (0.1 + quality[:, None])
    spectra = -(1 + 3 * quality[:, None, None]) * np.linspace(0, 1, M) + 0.05 * rng.standard_normal((V, E + 1, M))
    state = np.where(np.arange(V) % 20 == 19, "diverged", "complete")
    losses[state == "diverged", -1] = np.nan
    columns = {"variant": np.arange(V), "run": "r", "state": state, "error": None, "ended": True, "p": quality}
    variants = pd.DataFrame(columns)
    return SweepTable("s", "t", 0.5, V, ["p"], variants, losses, spectra, [])


def test_a_sweep_is_read_as_it_was_written(small_sweep):
    table = load_sweep(small_sweep)
    assert table.losses.shape == (12, 4) and table.spectra.shape == (12, 4, 8) and table.problems == []
    for path in small_sweep.glob("*/epochs.parquet"):
        for row in pq.ParquetFile(path).read().to_pylist():
            assert table.losses[row["variant"], row["epoch"]] == row["val_loss"]
            np.testing.assert_array_equal(table.spectra[row["variant"], row["epoch"]], row["spectrum"])
    assert table.varied == ["p"] and list(table.variants["variant"]) == list(range(12))


def test_the_report_of_a_sweep_of_one_class_says_why_there_is_no_classification(small_sweep, main):
    os.chdir(small_sweep.parent.parent)
    (small_sweep / "early_prediction.csv").write_text("of an earlier report")
    code, out, err = main("analyze.py", "sweep=outputs/digits", *QUICK)
    assert code == 0, err
    assert "no classification: 0 of 12 variants are low-error" in out
    html = (small_sweep / "report.html").read_text()
    assert "No classification" in html and "What three of them put out" in html
    variants = pd.read_csv(small_sweep / "variants.csv")
    assert len(variants) == 12 and {"variant", "p", "final_loss", "low_error"} <= set(variants)
    assert not (small_sweep / "early_prediction.csv").exists()


def test_the_report_of_a_sweep_of_both_classes(small_sweep, tmp_path, main):
    sweep = tmp_path / "digits"
    shutil.copytree(small_sweep, sweep)
    threshold = float(np.median(load_sweep(sweep).final_loss))
    code, out, err = main("analyze.py", f"sweep={sweep}", f"threshold={threshold}", *QUICK)
    assert code == 0, err
    table = pd.read_csv(sweep / "early_prediction.csv")
    names = [
        "AeLLE with loss and hyperparameters",
        "AeLLE",
        "AeLLE's loss head",
        "spectra so far, linear",
        "spectra so far, linear, one for all epochs",
        "spectrum, linear",
        "features of the spectrum",
        "loss and p",
        "p alone",
        "loss below the final threshold",
        "loss, threshold tuned per epoch",
        "losses so far",
        "learning curve, extrapolated",
        "every variant",
    ]
    assert list(dict.fromkeys(table["predictor"])) == names and sorted(set(table["epoch"])) == [0, 1, 2, 3]
    every = table[table["predictor"] == "every variant"]
    assert (every["recall"] == 1).all() and (every["auc"] == 0.5).all()
    assert all(name in out for name in names)
    html = (sweep / "report.html").read_text().split("</script>", 1)[1]
    for heading in ("Early prediction", "Ranking over the epochs", "while networks train", "of the trained networks"):
        assert heading in html
    assert "After 1 of 3 epochs, the choice by AeLLE" in html and "the best without spectra" in html
    assert "http" not in html and "src=" not in html
    chances = pd.read_csv(sweep / "variants.csv").filter(like="chance_epoch")
    assert chances.shape == (12, 4) and ((chances >= 0) & (chances <= 1) | chances.isna()).all(axis=None)


def test_a_variant_that_is_still_training_gets_its_chance(small_sweep, tmp_path, main):
    sweep = tmp_path / "digits"
    shutil.copytree(small_sweep, sweep)
    run = read_run(sweep / "pack-0002")
    folder = RunFolder(run.path, run.config)
    folder.write_epochs(run.epochs.filter(pc.field("epoch") <= 1))
    folder.write_variants([Plan(run.config, sweep).variant(n) for n in run.numbers], ["running"] * 2)
    folder.write_status("running", epoch=1)
    threshold = float(np.median(load_sweep(sweep).ended().final_loss))
    code, out, err = main("analyze.py", f"sweep={sweep}", f"threshold={threshold}", *QUICK)
    assert code == 0 and "10 of them ended" in out, err
    running = pd.read_csv(sweep / "variants.csv").set_index("state").loc["running"]
    assert list(running["variant"]) == run.numbers and running["final_loss"].isna().all()
    assert running["chance_epoch_1"].between(0, 1).all() and running["chance_epoch_2"].isna().all()


@pytest.mark.parametrize("name", ["epochs.parquet", "config.yaml", "status.json"])
def test_a_damaged_pack_is_named_and_the_rest_analysed(small_sweep, tmp_path, main, name):
    sweep = tmp_path / "digits"
    shutil.copytree(small_sweep, sweep)
    (sweep / "pack-0001" / name).write_text("{")
    before = {p: p.read_bytes() for p in sweep.glob("pack-*/*")}
    code, out, _ = main("analyze.py", f"sweep={sweep}", *QUICK)
    assert code == 0 and f"warning: pack-0001 is left out: {name}" in out
    assert "7 of them ended" in out
    assert "pack-0001 is left out" in (sweep / "report.html").read_text()
    assert {p: p.read_bytes() for p in sweep.glob("pack-*/*")} == before


def test_a_foreign_run_is_named_and_left_out(small_sweep, tmp_path, main):
    sweep = tmp_path / "digits"
    shutil.copytree(small_sweep, sweep)
    run = read_run(sweep / "pack-0002")
    other = {**run.config, "seed": 1}
    foreign = RunFolder(sweep / "a-foreign", other)
    foreign.begin([Plan(other, sweep).variant(0)])
    assert load_sweep(sweep).problems == ["a-foreign is left out: its settings differ from those of pack-0000"]
    assert len(load_sweep(sweep).ended().losses) == 12


def test_missing_variants_are_listed(small_sweep, tmp_path, main):
    sweep = tmp_path / "digits"
    shutil.copytree(small_sweep, sweep)
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


def test_no_readable_run_is_one_line(small_sweep, tmp_path, main):
    sweep = tmp_path / "digits"
    shutil.copytree(small_sweep, sweep)
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


def candidates(sweep: SweepTable, epochs: int = 4) -> tuple[list[Predictor], SweepTable]:
    """The predictors of the first split, and its test variants."""
    train, validation, test = stratified_parts(sweep.low_error, SHARES, 0)
    known = sweep.take(np.union1d(train, validation))
    spectra, losses = (
        known.running_means.reshape(-1, known.spectra.shape[2]),
        np.nan_to_num(known.final_loss, nan=np.inf),
    )
    model = AeLLE(0.5, epochs=epochs).fit(spectra, np.repeat(losses, known.spectra.shape[1]))
    return predictors(known, sweep.take(validation), model, sweep.varied), sweep.take(test)


def test_the_study_sees_nothing_of_a_test_variant_beyond_the_epoch():
    """Scores up to epoch k stay the same when all that comes later is overwritten."""
    sweep = synthetic()
    found, scored = candidates(sweep)
    for predictor in found:
        for k in range(3):
            hidden = replace(scored, losses=scored.losses.copy(), spectra=scored.spectra.copy())
            hidden.losses[:, k + 1 :] = np.nan
            hidden.spectra[:, k + 1 :] = np.nan
            np.testing.assert_array_equal(predictor.score(hidden, k), predictor.score(scored, k))


def test_a_predictor_says_nothing_of_a_variant_by_others_that_are_scored_with_it():
    found, scored = candidates(synthetic())
    for predictor in found:
        alone = np.concatenate([predictor.score(scored.take(np.array([v])), 1) for v in range(5)])
        np.testing.assert_allclose(alone, predictor.score(scored, 1)[:5], rtol=1e-4)


def test_running_means_are_running_means_and_stop_where_spectra_do():
    sweep = synthetic()
    sweep.spectra[3, 2:] = np.nan
    sweep.spectra[4, 1] = np.nan
    logs = signed_log(sweep.spectra)
    np.testing.assert_allclose(signed_log(sweep.running_means[0, 2]), logs[0, :3].mean(0))
    np.testing.assert_allclose(sweep.running_means[:, 0], sweep.spectra[:, 0])
    assert np.isnan(sweep.running_means[3, 2:]).all() and np.isnan(sweep.running_means[4, 1]).all()
    np.testing.assert_allclose(signed_log(sweep.running_means[4, 2]), (logs[4, 0] + logs[4, 2]) / 2)


def test_an_extrapolated_power_law_is_its_end():
    sweep = synthetic(E=8)
    epochs = np.arange(1, 9)
    sweep.losses[:, 1:] = (np.arange(60)[:, None] + 1) * epochs ** -np.linspace(0.1, 0.5, 60)[:, None]
    end = Extrapolation(sweep).inputs(sweep, 4)[:, 0]
    np.testing.assert_allclose(end, np.log(sweep.final_loss))


def test_the_chances_of_a_ridge_regression_are_calibrated():
    """Where the final log loss is a line in the input plus Gaussian noise, its chance is Φ of the distance."""
    rng = np.random.default_rng(0)
    p = rng.uniform(-1, 1, 4000)
    columns = {"variant": np.arange(4000), "run": "r", "state": "complete", "error": None, "ended": True, "p": p}
    losses = np.full((4000, 2), 1.0)
    losses[:, 1] = 0.5 * np.exp(p + 0.5 * rng.standard_normal(4000))
    sweep = SweepTable("s", "t", 0.5, 4000, ["p"], pd.DataFrame(columns), losses, np.zeros((4000, 2, 3)), [])
    log_odds = LossAndHyperparameters(sweep, ["p"]).score(sweep, 0)
    expected = norm.logcdf(-p / 0.5) - norm.logsf(-p / 0.5)
    np.testing.assert_allclose(chance(log_odds), chance(expected), atol=0.03)


def test_the_study_finds_what_each_predictor_can_know():
    found = study(synthetic(), AeLLE(0.5, epochs=40), splits=3)
    at = found.summary.set_index(["predictor", "epoch"])
    assert at.loc[("AeLLE", 0), "auc"] > 0.9 and at.loc[("spectrum, linear", 0), "auc"] > 0.9
    assert at.loc[(COMBINED, 0), "auc"] > 0.9
    assert at.loc[("loss below the final threshold", 0), "auc"] < 0.75
    assert at.loc[("loss below the final threshold", 3), "f1"] == 1
    assert at.loc[("p alone", 0), "auc"] > 0.9
    every = at.loc[("every variant", 0)]
    assert every["recall"] == 1 and every["auc"] == 0.5


def test_a_chance_comes_from_splits_that_have_not_learned_from_the_variant():
    sweep = synthetic()
    found = study(sweep, AeLLE(0.5, epochs=4), splits=2)
    chances = found.chances(sweep, sweep)
    held_out = sum(np.isin(np.arange(60), test).astype(int) for test in found.tests)
    assert (np.isnan(chances[:, 0]) == (held_out == 0)).all()
    once = np.flatnonzero((held_out == 1) & np.isin(np.arange(60), found.tests[1]))[0]
    alone = chance(found.recommended[1].score(sweep.take(np.array([once])), 2))[0]
    assert found.recommended[1].name == COMBINED and chances[once, 2] == pytest.approx(alone)


def test_a_variant_whose_spectrum_is_not_finite_is_kept_in_the_study_and_ranked_last():
    sweep = synthetic()
    diverged = np.flatnonzero(sweep.variants["state"] == "diverged")
    sweep.spectra[diverged, 1:] = np.nan
    assert len(sweep.ended().losses) == 60 and sweep.measured_epochs == [0, 1, 2, 3]
    found = study(sweep, AeLLE(0.5, epochs=4), splits=3)
    tested = sum(len(test) for test in found.tests)
    assert tested == 3 * 36 and found.scores["auc"].notna().all()
    scores = Plane(found.models[0]).score(sweep, 2)
    assert (scores[diverged] == -np.inf).all() and np.isfinite(np.delete(scores, diverged)).all()


def scores_of(rows: list[tuple[str, int, int, float]]) -> Study:
    frame = pd.DataFrame(rows, columns=["predictor", "epoch", "split", "auc"])
    for metric in METRICS:
        frame[metric] = frame["auc"]
    return Study(frame, pd.DataFrame(), [0, 1, 2], 3, [], [], [], ["b", "c"])


def test_means_intervals_and_paired_gains_over_the_splits():
    a, b = np.linspace(0.8, 0.9, 41), np.linspace(0.6, 0.9, 41)
    rows = [(name, 0, s, v) for name, values in (("a", a), ("b", b)) for s, v in enumerate(values)]
    found = scores_of([*rows, *[("c", 0, s, 0.5) for s in range(41)]])
    at = found.summary.set_index("predictor").loc["a"]
    assert (
        at["auc"] == pytest.approx(0.85)
        and at["auc_from"] == pytest.approx(0.8025)
        and at["auc_to"] == pytest.approx(0.8975)
    )
    assert found.best_without_spectra(0) == "b" and found.splits == 41
    mean, low, high = found.gain(0, "a", "b")
    assert mean == pytest.approx(0.1) and low == pytest.approx(0.005) and high == pytest.approx(0.195)


def test_the_study_is_reproducible():
    one, two = (study(synthetic(), AeLLE(0.5, epochs=4), splits=2).scores for _ in range(2))
    pd.testing.assert_frame_equal(one, two)


def test_a_word_that_only_a_test_variant_has_counts_for_nothing():
    sweep = synthetic()
    sweep.variants["cell"] = np.where(sweep.variants["p"] < 0.4, "lstm", "gru")
    sweep.hyperparameters.append("cell")
    known, scored = sweep.take(np.arange(40)), sweep.take(np.arange(40, 60))
    predictor = Hyperparameters(known, sweep.varied)
    assert predictor.name == "p, cell alone" and predictor.score(known, 0).shape == (40,)
    scored.variants["cell"] = "rnn"
    assert np.isfinite(predictor.score(scored, 0)).all()


def write_arrays(path, **changes) -> None:
    sweep = synthetic()
    arrays = {
        "val_loss": sweep.losses,
        "spectrum": sweep.spectra,
        "p": sweep.variants["p"].to_numpy(),
        "note": np.zeros(3),
    }
    np.savez(path, **{name: array for name, array in (arrays | changes).items() if array is not None})


def test_an_array_file_is_analysed_like_a_sweep(tmp_path, main):
    os.chdir(tmp_path)
    write_arrays(tmp_path / "mine.npz", cell=np.array(["lstm", "gru"] * 30), variant=np.arange(100, 160))
    code, out, err = main("analyze.py", "sweep=mine.npz", "threshold=0.5", *QUICK)
    assert code == 0, err
    assert "mine: 60 variants, 60 of them ended" in out and "p, cell alone" in out
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


def test_from_when_on_spectra_add_nothing():
    areas = {"a": [0.9, 0.9, 0.9, 0.9], "b": [0.5, 0.95, 0.8, 1.0], "c": [0.4, 0.5, 0.9, 0.2]}
    rows = [(name, k, 0, value) for name, values in areas.items() for k, value in enumerate(values)]
    # After epoch 1 b is ahead, after 2 c is level, and the last epoch does not count.
    assert scores_of(rows).overtaken("a") == 1
    level = {"a": areas["a"], "b": areas["b"], "c": [0.4, 0.5, 0.8, 0.2]}
    rows = [(name, k, 0, value) for name, values in level.items() for k, value in enumerate(values)]
    assert scores_of(rows).overtaken("a") is None


def test_a_hyperparameter_that_is_constant_among_the_known_changes_no_name():
    sweep = synthetic()
    sweep.variants["q"] = (np.arange(60) == 7).astype(float)
    sweep.hyperparameters.append("q")
    scores = study(sweep, AeLLE(0.5, epochs=4), splits=4).scores
    assert "loss and p, q" in set(scores["predictor"]) and "p, q alone" in set(scores["predictor"])
    assert (scores.groupby("predictor").size() == 4 * 4).all()


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
        ({"spectrum": nan_where(EPOCH >= 0)}, "no spectrum of a variant that has ended", "Final losses"),
        ({"spectrum": nan_where((POINT > 4) & (ROW % 2 == 0))}, "AeLLE with loss", "After 1 of 3 epochs"),
        ({"p": None}, "AeLLE with loss", "Final losses"),
        ({"p": np.where(np.arange(60) == 3, np.nan, 1.0)}, "p is left out", "p is left out"),
        ({"tag": np.array([f"<b>run {i}</b>" for i in range(60)])}, "p, tag alone", "Final losses"),
        ({"flag": np.arange(60) % 2 == 0}, "p, flag alone", "Final losses"),
        ({"ended": np.zeros(60)}, "60 of them ended", "ended is left out"),
        ({"variant": np.arange(100, 160)}, "60 of them ended", "119, 139, 159"),
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


def test_shares_are_those_asked_for():
    tests = study(synthetic(), AeLLE(0.5, epochs=4), splits=2, shares=(0.6, 0.2, 0.2)).tests
    assert [len(test) for test in tests] == [12, 12]
