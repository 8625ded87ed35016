"""The lines that an analysis prints."""

import numpy as np
import pytest

from aelle.analysis.shares import PAPER
from aelle.report.page import weights_table
from aelle.report.printed import print_weights
from aelle.sweep.table import load_sweep
from findings import found_of
from sweeps import QUICK, report_of, synthetic


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


def test_the_weights_are_printed_as_the_report_has_them(capsys):
    early = found_of(synthetic()).early
    (head, *rows, share) = weights_table(early)
    assert head["epochs"] == [0, 1] and all(0 <= cell <= 1 for cell in share["cells"])
    print_weights(early, 3, details=False)
    said = capsys.readouterr().out
    cells = [f"{100 * cell:.0f} % (at {at} %)" for cell, at in zip(share["cells"], (0, 33), strict=True)]
    assert said == f'weight of spectra in "recommended": {", ".join(cells)}\n\n'
    print_weights(early, 3, details=True)
    table = capsys.readouterr().out.splitlines()[1:-1]
    assert [line[:-16].strip() for line in table] == [row["name"] for row in rows]
    assert [float(cell) for cell in table[0][-16:].split()] == pytest.approx(rows[0]["cells"], abs=0.005)
