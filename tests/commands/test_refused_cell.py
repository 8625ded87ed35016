"""A cell that cannot be made with a sweep's sizes, among others that can."""

from pathlib import Path

import pandas as pd
from filelock import FileLock

from sweeps import QUICK, SMALL, report_of, results_of, runs

CELLS = [*SMALL, "hidden_size=6", "cell=[intersection_rnn,mgu]", "init=default", "p=null", "epochs=1", "sweep=some"]


def test_the_others_are_trained_and_the_report_names_it(main):
    code, out, err = main("train.py", "-m", "experiment=digits", *CELLS)
    assert code == 1 and "6 of 12 variants complete" in out
    assert "warning: IntersectionRNNCell(8, 6) cannot be made" in out
    assert "its variants fail, and the others are trained" in out
    why = "requires input_size == hidden_size"
    assert "Traceback" not in out + err and "NotBuiltError" not in out + err
    assert "pack 1 of 4: 5 variants cannot be trained: IntersectionRNNCell(8, 6) cannot be made: " in out
    said = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and said[0].startswith("error: 6 variants cannot be trained (IntersectionRNNCell(8, 6)")
    assert why in said[0] and said[0].endswith("); leave the cell out of `cell`, or choose other sizes")
    errors = [run.status["error"] for run in runs(Path("outputs/some")) if run.status["state"] == "failed"]
    assert errors and all(error.startswith("IntersectionRNNCell(8, 6)") and "\n" not in error for error in errors)
    code, out, err = main("aelle/__main__.py", "status", "outputs/some")
    assert code == 0 and "run the command that started the sweep again" not in out, err
    code, out, err = main("analyze.py", "sweep=outputs/some", *QUICK)
    assert code == 0, err
    problems = pd.read_csv(results_of(out) / "problems.csv")
    assert problems["variant"].tolist() == [0, 2, 4, 6, 8, 10] and set(problems["state"]) == {"failed"}
    assert problems["error"].str.contains("requires input_size == hidden_size").all()
    assert "requires input_size == hidden_size" in report_of(out).read_text()


def test_where_no_other_is_left_nothing_starts(main):
    code, _, err = main("train.py", "-m", "experiment=digits", *CELLS, "cell=intersection_rnn")
    assert code == 2 and err.count("\n") == 1 and "requires input_size == hidden_size" in err
    assert not Path("outputs").exists()


def test_of_runs_with_options_of_their_own_the_refused_ones_are_named(main):
    values = ["cell=intersection_rnn,mgu", "hidden_size=6", "init=default", "lyapunov.sequences=4", "epochs=1"]
    code, out, err = main("train.py", "-m", "task=digits", *values, "p=null", "sweep=some")
    assert code == 1 and "1 variant complete" in out
    assert "run the same command again" not in err and "error: 1 variant cannot be trained (Inter" in err


def test_what_another_process_trains_is_neither_missing_nor_refused(main):
    Path("outputs/some").mkdir(parents=True)
    with FileLock("outputs/some/.pack-0002.lock"):
        code, out, err = main("train.py", "-m", "experiment=digits", *CELLS)
    (refused,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 1 and "5 variants are being trained by another process" in out
    assert refused.startswith("error: 6 variants cannot be trained (")
