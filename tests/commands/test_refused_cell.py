"""A cell that cannot be made with a sweep's sizes, among others that can."""

from pathlib import Path

import pandas as pd

from sweeps import QUICK, SMALL, report_of, results_of

CELLS = [*SMALL, "hidden_size=6", "cell=[intersection_rnn,mgu]", "init=default", "p=null", "epochs=1", "sweep=some"]


def test_the_others_are_trained_and_the_report_names_it(main):
    code, out, err = main("train.py", "-m", "experiment=digits", *CELLS)
    assert code == 1 and "6 of 12 variants complete" in out
    assert "warning: IntersectionRNNCell(8, 6) cannot be made" in out
    assert "its variants fail, and the others are trained" in out
    assert "Traceback" not in out + err
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
