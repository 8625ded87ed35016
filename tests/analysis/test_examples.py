"""What some networks output, read back."""

import numpy as np

from aelle.analysis.examples import load_examples
from aelle.sweep.table import load_sweep
from sweeps import QUICK, report_of


def test_three_examples_at_low_middle_and_high_loss(small_sweep):
    sweep = load_sweep(small_sweep)
    examples, problems = load_examples(small_sweep, sweep)
    order = np.argsort(sweep.final_loss)
    assert problems == [] and [e.number for e in examples] == [order[1], order[6], order[10]]
    for example in examples:
        assert example.loss == sweep.final_loss[example.number]
        np.testing.assert_allclose(np.sum(example.output["class_probabilities"], 1), 1, rtol=1e-5)
        assert example.output["classes"] == list(range(10))


def test_examples_that_cannot_be_read_are_named_and_the_report_goes_on(sweep, main):
    for path in sweep.glob("*/examples.parquet"):
        path.write_bytes(b"PAR1")
    code, out, _ = main("analyze.py", f"sweep={sweep}", *QUICK)
    assert code == 0 and "examples are left out: examples.parquet" in out
    assert "examples are left out" in report_of(out).read_text()
    assert load_examples(sweep, load_sweep(sweep).take(np.arange(2))) == ([], [])
