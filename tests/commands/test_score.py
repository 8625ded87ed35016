"""A saved predictor tells the chances of another sweep's variants."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest

from aelle.model.estimator import AeLLE
from aelle.predictor.early_predictor import EarlyPredictor
from aelle.predictor.observed import observed
from aelle.sweep.arrays import load_arrays
from aelle.sweep.table import load_sweep
from sweeps import QUICK, results_of, synthetic, write_arrays

SMALL_MODEL = {"epochs": 4}


def test_analyze_saves_a_predictor_and_another_run_uses_it(tmp_path, main):
    os.chdir(tmp_path)
    write_arrays(tmp_path / "one.npz")
    code, out, err = main("analyze.py", "sweep=one.npz", "threshold=0.5", *QUICK)
    model = f"{results_of(out)}/model"
    assert code == 0 and f"model: {model}" in out, err
    shutil.copy(tmp_path / "one.npz", tmp_path / "two.npz")
    code, out, err = main("analyze.py", "sweep=two.npz", f"model={model}")
    assert code == 0 and "highest first: " in out and "ROC AUC (epoch) over the 60" in out, err
    of_the_arrays = load_arrays(tmp_path / "two.npz").warnings
    assert out.startswith("two: 60 variants, 60 complete\n") and out.count("warning") == len(of_the_arrays)
    table = pd.read_csv(tmp_path / "outputs" / "two" / "chances.csv", keep_default_na=False)
    predictor, sweep = EarlyPredictor.load(model), synthetic()
    for k in (0, 1, 2):
        given = observed(sweep, k)
        np.testing.assert_allclose(table[f"chance_epoch_{k}"].astype(float), predictor.predict(given).chance, rtol=1e-4)
    assert set(table["outside"]) == {""} and AeLLE.load(model).threshold == 0.5
    assert not (tmp_path / "outputs" / "two" / "report.html").exists()


def test_the_chances_of_a_sweep_that_is_still_training(small_sweep, tmp_path, main):
    """Of another task, length, size and search space: each input that cannot be used is named."""
    folder = tmp_path / "digits"
    shutil.copytree(small_sweep, folder)
    known = synthetic(E=4)
    known.variants["gain2"] = known.variants["p"]
    known.hyperparameters.append("gain2")
    EarlyPredictor(0.5, aelle=SMALL_MODEL).fit(known).save(tmp_path / "model")
    code, out, err = main("analyze.py", f"sweep={folder}", f"model={tmp_path / 'model'}")
    table = pd.read_csv(folder / "chances.csv")
    assert code == 0 and len(table) == 12 and table[[f"chance_epoch_{k}" for k in range(4)]].notna().all(None), err
    assert len(load_sweep(folder).complete().losses) == 12 and "highest first" in out
    for said in (
        "fitted to the task t; this sweep's is digits",
        "fitted to 4-epoch runs; this sweep has 3: losses are not used",
        "knows the hyperparameters gain2, which this sweep lacks: hyperparameters are not used",
    ):
        assert f"warning: the model {'was ' if 'fitted' in said else ''}{said}\n" in out


def test_another_spectrum_length_is_said(tmp_path, main):
    os.chdir(tmp_path)
    EarlyPredictor(0.5, aelle=SMALL_MODEL).fit(synthetic(M=5)).save("model")
    write_arrays(tmp_path / "one.npz")
    code, out, err = main("analyze.py", "sweep=one.npz", "model=model")
    assert code == 0 and "warning: the model was fitted to spectra of 5 exponents; these have 8\n" in out, err


def test_variants_unlike_all_known_ones_get_the_base_rate(tmp_path, main):
    os.chdir(tmp_path)
    predictor = EarlyPredictor(0.5, aelle=SMALL_MODEL).fit(synthetic())
    predictor.save("model")
    p = synthetic().variants["p"].to_numpy().copy()
    p[[3, 7]] = 40.0
    write_arrays(tmp_path / "one.npz", p=p)
    code, out, err = main("analyze.py", "sweep=one.npz", "model=model")
    told = "2 variants are outside of what the model knows (p=40: known is "
    assert code == 0 and told in out and f"): chance {100 * predictor.base_rate_:.0f} %\n" in out, err
    table = pd.read_csv("outputs/one/chances.csv", keep_default_na=False)
    outside = table["outside"] != ""
    assert list(np.flatnonzero(outside)) == [3, 7]
    np.testing.assert_allclose(table.loc[outside, "chance_epoch_1"], predictor.base_rate_, rtol=1e-5)


@pytest.mark.parametrize("content", [None, "{"])
def test_a_model_that_cannot_be_read_is_one_line(small_sweep, tmp_path, main, content):
    (tmp_path / "model").mkdir()
    if content:
        (tmp_path / "model" / "predictor.json").write_text(content)
    code, _, err = main("analyze.py", f"sweep={small_sweep}", f"model={tmp_path / 'model'}")
    assert code == 2 and err.count("\n") == 1 and "contains no complete predictor" in err


def test_an_aelle_alone_is_no_predictor(small_sweep, tmp_path, main):
    predictor = EarlyPredictor(0.5, aelle=SMALL_MODEL).fit(synthetic())
    predictor.model_.save(tmp_path / "model")
    for line in (["analyze.py", f"model={tmp_path / 'model'}"], ["train.py", f"prediction.model={tmp_path / 'model'}"]):
        code, _, err = main(*line, *([f"sweep={small_sweep}"] if line[0] == "analyze.py" else []))
        assert code == 2 and err.count("\n") == 1 and "it has an AeLLE alone" in err
