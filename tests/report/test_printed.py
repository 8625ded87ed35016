"""The lines that an analysis prints."""

import numpy as np
import pytest

from aelle.analysis.shares import PAPER
from aelle.sweep.table import load_sweep
from sweeps import QUICK, report_of


@pytest.mark.parametrize("of_the_paper", [True, False])
def test_the_papers_words_stand_beside_the_papers_tasks(sweep, main, monkeypatch, of_the_paper):
    if of_the_paper:
        monkeypatch.setitem(PAPER, "digits", PAPER["smnist"])
    threshold = float(np.median(load_sweep(sweep).final_loss))
    code, out, _ = main("analyze.py", f"sweep={sweep}", f"threshold={threshold}", *QUICK)
    assert code == 0 and "low-error:   50 %" in out and "% of" in out.split("  p ")[1]
    assert "rank correlation with the final loss: largest exponent" in out
    assert ("the paper: uncorrelated with accuracy" in out) == of_the_paper == ("the paper: 28 %" in out)
    assert ("The paper: uncorrelated with accuracy" in report_of(out).read_text()) == of_the_paper
