"""analyze.py on whole, partial and damaged sweeps, and what it writes."""

import os
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aelle.early import SHARES, predictors, study
from aelle.evaluation import stratified_parts
from aelle.model import AeLLE
from aelle.table import SweepTable, load_sweep

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
    variants = pd.DataFrame({"variant": np.arange(V), "run": "r", "state": state, "error": None, "p": quality})
    return SweepTable("s", "t", 0.5, V, ["p"], variants, losses, spectra, [])


def test_a_sweep_is_read_as_it_was_written(small_sweep):
    table = load_sweep(small_sweep)
    assert table.losses.shape == (12, 4) and table.spectra.shape == (12, 4, 8) and table.problems == []
    for path in small_sweep.glob("*/epochs.parquet"):
        for row in pq.read_table(path).to_pylist():
            assert table.losses[row["variant"], row["epoch"]] == row["val_loss"]
            np.testing.assert_array_equal(table.spectra[row["variant"], row["epoch"]], row["spectrum"])
    assert table.varied == ["p"] and list(table.variants["variant"]) == list(range(12))


def test_the_report_of_a_whole_sweep(small_sweep, main):
    os.chdir(small_sweep.parent.parent)
    # Eight units learn little in three epochs: a threshold between their losses stands in for 0.5.
    code, out, err = main("analyze.py", "sweep=outputs/digits", *QUICK)
    assert code == 0, err
    assert "no classification: 0 of 12 variants are low-error" in out
    html = (small_sweep / "report.html").read_text()
    assert "No classification" in html and "Losses over the hyperparameters" in html
    assert "http://" not in html.split("</script>", 1)[1] and "src=" not in html.split("</script>", 1)[1]
    variants = pd.read_csv(small_sweep / "variants.csv")
    assert len(variants) == 12 and {"variant", "p", "final_loss", "low_error"} <= set(variants)


@pytest.mark.parametrize("damage", ["truncated", "foreign", "no column", "config"])
def test_a_damaged_pack_is_named_and_the_rest_analysed(small_sweep, tmp_path, main, damage):
    sweep = tmp_path / "digits"
    shutil.copytree(small_sweep, sweep)
    file = sweep / "pack-0001" / "epochs.parquet"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "foreign":
        rows = pq.read_table(file)
        pq.write_table(rows.set_column(0, "variant", pa.array([99] * rows.num_rows)), file)
    elif damage == "no column":
        pq.write_table(pq.read_table(file).drop_columns("spectrum"), file)
    else:
        (sweep / "pack-0001" / "config.yaml").write_text("epochs: [")
    before = {p: p.read_bytes() for p in sweep.glob("pack-*/*")}
    code, out, _ = main("analyze.py", f"sweep={sweep}", *QUICK)
    assert code == 0 and "warning: pack-0001 is left out" in out
    assert "7 of them trained to the end" in out
    assert "pack-0001 is left out" in (sweep / "report.html").read_text()
    assert {p: p.read_bytes() for p in sweep.glob("pack-*/*")} == before


def test_missing_variants_are_listed(small_sweep, tmp_path, main):
    sweep = tmp_path / "digits"
    shutil.copytree(small_sweep, sweep)
    shutil.rmtree(sweep / "pack-0002")
    main("analyze.py", f"sweep={sweep}", *QUICK)
    html = (sweep / "report.html").read_text()
    assert "missing" in html and "10, 11" in html


@pytest.mark.parametrize(
    ("sweep", "says"),
    [("nowhere", "does not exist"), (".", "holds no runs"), (None, "no sweep is named")],
)
def test_nothing_to_analyse_is_one_line(main, sweep, says):
    code, _, err = main("analyze.py", *([f"sweep={sweep}"] if sweep else []))
    assert code == 2 and err.count("\n") == 1 and says in err


def test_no_readable_run_is_one_line(small_sweep, tmp_path, main):
    sweep = tmp_path / "digits"
    shutil.copytree(small_sweep, sweep)
    for file in sweep.glob("*/variants.parquet"):
        file.write_bytes(b"")
    code, _, err = main("analyze.py", f"sweep={sweep}")
    assert code == 2 and err.count("\n") == 1 and "pack-0000" in err


def test_the_study_sees_nothing_of_a_test_variant_beyond_the_epoch():
    """Scores up to epoch k stay the same when all that comes later is overwritten."""
    sweep = synthetic()
    train, validation, test = stratified_parts(sweep.low_error, SHARES, 0)
    known, scored = sweep.take(np.union1d(train, validation)), sweep.take(test)
    model = AeLLE(0.5, epochs=4).fit(known.spectra[:, -1], np.nan_to_num(known.final_loss, nan=np.inf))
    for predictor in predictors(known, model):
        for k in range(3):
            hidden = sweep.take(test)
            hidden.losses[:, k + 1 :] = np.nan
            hidden.spectra[:, k + 1 :] = np.nan
            np.testing.assert_array_equal(predictor.score(hidden, k), predictor.score(scored, k))
            np.testing.assert_array_equal(predictor.keep(hidden, k), predictor.keep(scored, k))


def test_the_study_finds_what_each_predictor_can_know():
    found = study(synthetic(), AeLLE(0.5, epochs=40), splits=3)
    at = found.summary().set_index(["predictor", "epoch"])
    assert at.loc[("AeLLE", 0), "auc"] > 0.9
    assert at.loc[("loss below the final threshold", 0), "auc"] < 0.75
    assert at.loc[("loss below the final threshold", 3), "f1"] == 1
    assert at.loc[("p alone", 0), "auc"] > 0.9
    every = at.loc[("every variant", 0)]
    assert every["recall"] == 1 and every["auc"] == 0.5
    # A variant's chance comes from the splits that held it out, so that each has been in none, some or all.
    assert ((found.chances[:, 0] >= 0) & (found.chances[:, 0] <= 1) | np.isnan(found.chances[:, 0])).all()


def test_the_study_is_reproducible():
    one, two = (study(synthetic(), AeLLE(0.5, epochs=4), splits=2).scores for _ in range(2))
    pd.testing.assert_frame_equal(one, two)


def test_a_hyperparameter_that_is_a_word_is_a_column_per_value():
    sweep = synthetic()
    sweep.variants["cell"] = np.where(np.arange(60) % 2, "lstm", "gru")
    sweep.hyperparameters.append("cell")
    found = study(sweep, AeLLE(0.5, epochs=4), splits=1)
    assert "p, cell alone" in set(found.scores["predictor"])
