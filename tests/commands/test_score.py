"""A saved model tells the chances of another sweep's variants."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest

from aelle.model.chances import fit_to_all
from aelle.model.estimator import AeLLE
from aelle.sweep.table import load_sweep
from sweeps import QUICK, synthetic, write_arrays


def test_analyze_saves_a_model_and_another_run_uses_it(tmp_path, main):
    os.chdir(tmp_path)
    write_arrays(tmp_path / "one.npz")
    code, out, err = main("analyze.py", "sweep=one.npz", "threshold=0.5", *QUICK)
    assert code == 0 and "model: outputs/one/model" in out, err
    shutil.copy(tmp_path / "one.npz", tmp_path / "two.npz")
    code, out, err = main("analyze.py", "sweep=two.npz", "model=outputs/one/model")
    assert code == 0 and "highest first: " in out and "ROC AUC (epoch) over the 60" in out, err
    table = pd.read_csv(tmp_path / "outputs" / "two" / "chances.csv")
    model, sweep = AeLLE.load("outputs/one/model"), synthetic()
    np.testing.assert_allclose(table["chance_epoch_2"], model.predict_proba(sweep.seen(2))[:, 1], rtol=1e-4)
    assert not (tmp_path / "outputs" / "two" / "report.html").exists()


def test_the_chances_of_a_sweep_that_is_still_training(small_sweep, tmp_path, main):
    folder = tmp_path / "digits"
    shutil.copytree(small_sweep, folder)
    fit_to_all(synthetic(), AeLLE(0.5, epochs=4)).save(tmp_path / "model")
    code, out, err = main("analyze.py", f"sweep={folder}", f"model={tmp_path / 'model'}")
    assert code == 0 and len(pd.read_csv(folder / "chances.csv")) == 12, err
    assert len(load_sweep(folder).complete().losses) == 12 and "highest first" in out


@pytest.mark.parametrize("content", [None, "{"])
def test_a_model_that_cannot_be_read_is_one_line(small_sweep, tmp_path, main, content):
    (tmp_path / "model").mkdir()
    if content:
        (tmp_path / "model" / "aelle.json").write_text(content)
    code, _, err = main("analyze.py", f"sweep={small_sweep}", f"model={tmp_path / 'model'}")
    assert code == 2 and err.count("\n") == 1 and "contains no complete AeLLE model" in err
