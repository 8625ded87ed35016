"""Search spaces as people have them, from the command line to the report."""

import math

import pandas as pd
import pytest

from aelle.runs.reader import read_run, run_folders
from aelle.sweep.plan import Plan
from aelle.sweep.table import load_sweep
from sweeps import results_of

TINY = ["hidden_size=6", "size=36", "epochs=2", "lyapunov.sequences=2", "reference=null", "task.threshold=2.2"]
WIDE = [
    *("cell=[lstm,co_rnn]", "+dt={cell:{co_rnn:'uniform(0.05, 0.5)'}}", "optimizer=[adam,sgd]", "layers=2"),
    *("learning_rate={optimizer:{adam:'log_uniform(1e-3, 1e-1)',sgd:'log_uniform(1e-1, 1)'}}", "repeats=3"),
    *("momentum={optimizer:{sgd:'choice(0.0, 0.5, 0.9)'}}", "schedule='choice(constant, cosine, step)'", "warmup=0.1"),
    *("weight_decay='log_normal(-8, 1)'", "dropout='uniform(0, 0.4, step=0.1)'", "gradient_clip=[1.0,null]"),
]


@pytest.mark.long
def test_a_wide_space_is_trained_in_few_packs_resumed_and_reported(main, aelle, tmp_path):
    line = ["train.py", "-m", "experiment=digits", *TINY, *WIDE]
    code, out, err = main(*line)
    assert code == 0 and "36 of 36 variants complete" in out, err
    sweep = tmp_path / "outputs" / "digits"
    assert len(run_folders(sweep)) == 4 == len(Plan.started(sweep).packs())
    assert "36 of 36 variants complete already" in main(*line)[1]
    table = load_sweep(sweep)
    drawn = table.variants
    assert table.problems == [] and not math.isnan(table.losses.mean())
    assert drawn["dt"].isna().equals(drawn["cell"] == "lstm")
    assert drawn["momentum"].isna().equals(drawn["optimizer"] == "adam")
    assert (drawn.groupby(drawn["variant"] // 3)[["learning_rate", "dropout"]].nunique() == 1).all(axis=None)
    assert set(drawn["gradient_clip"]) == {1.0, math.inf}
    for folder in run_folders(sweep):
        run = read_run(folder)
        planned = [Plan.started(sweep).variant(n).hyperparameters for n in run.numbers]
        for row, wanted in zip(run.variants.to_pylist(), planned, strict=True):
            for name, value in wanted.items():
                assert row[name] == (None if isinstance(value, float) and math.isnan(value) else value)
    status = aelle("status", sweep)[1]
    assert "36 complete" in status and "layers 2" in status
    assert aelle("collect", sweep)[0] == 0
    rows = pd.read_parquet(sweep / "collected.parquet")
    assert len(rows) == 36 * 3 and rows["dt"].notna().sum() == 18 * 3
    code, out, err = main(
        "analyze.py", f"sweep={sweep}", "splits=2", "pictures=[]", "aelle.committee=false", "aelle.epochs=1"
    )
    assert code == 0 and "momentum" in out and "none:" in out, err
    assert pd.read_csv(results_of(out) / "variants.csv")["dt"].isna().sum() == 18


def test_a_condition_on_a_number_is_the_same_when_it_is_read_back(main):
    line = ["train.py", "-m", "experiment=digits", *TINY[1:], "size=4", "hidden_size=[4,6]"]
    line.append("learning_rate={hidden_size:{4:0.01,6:'uniform(0.01, 0.1)'}}")
    for _ in range(2):
        code, out, err = main(*line)
        assert code == 0 and "4 of 4 variants complete" in out, err


def test_lists_that_draws_do_not_cover_are_named(main):
    line = ["train.py", "-m", "experiment=digits", *TINY, "size=6", "repeats=3", "epochs=1"]
    out = main(*line, "cell=[lstm,gru]", "optimizer=[adam,sgd]")[1]
    assert "warning: the lists have 4 combinations, of which 2 draws cover the first ones only" in out


@pytest.mark.parametrize("cell", ["rnn_relu", "lem", "li_gru"])
def test_a_single_network_of_any_cell_is_trained(main, cell):
    code, out, err = main("train.py", "task=digits", "epochs=1", f"cell={cell}", *TINY[:1], "lyapunov.sequences=2")
    assert code == 0 and "1 variant" in out, err


def test_values_of_a_hyperparameter_are_swept_one_per_job(main):
    line = [
        "train.py",
        "-m",
        "task=digits",
        "epochs=1",
        "hidden_size=6",
        "lyapunov.sequences=2",
        "init=orthogonal,xavier",
    ]
    code, out, err = main(*line, "p=null", "optimizer=sgd", "momentum=0.5,0.9")
    assert code == 0 and "4 variants complete" in out, err
