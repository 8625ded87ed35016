"""A figure of the outputs of each task's networks."""

import numpy as np
import pytest

from aelle.analysis.examples import Example
from aelle.report.example_figures import example_figure
from example_outputs import CLASSES, SIGNAL, TEXT


@pytest.mark.parametrize("output", [SIGNAL, TEXT, CLASSES])
def test_each_tasks_example_has_its_figure(output):
    figure = example_figure([Example(number, 0.1 * number, output) for number in (3, 1, 2)])
    assert figure is not None
    assert [a.text for a in figure.layout.annotations] == [f"variant {n}, final loss {0.1 * n:.3g}" for n in (3, 1, 2)]


def test_figures_hold_what_they_are_drawn_from():
    signal = example_figure([Example(0, 0.1, SIGNAL)])
    assert {trace.name: list(trace.y) for trace in signal.data} == SIGNAL and signal.layout.yaxis.range == (-2, 2)
    text = example_figure([Example(0, 0.1, TEXT)])
    assert "".join(text.data[0].text[0]).rstrip() == "␣b⏎"
    np.testing.assert_array_equal(text.data[0].z[0][:3], TEXT["probability"])
    assert example_figure([Example(0, 0.1, {"something": 1})]) is None and example_figure([]) is None
