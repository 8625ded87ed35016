"""Figures of early prediction."""

import numpy as np

from aelle.analysis.early import study
from aelle.model.estimator import AeLLE
from aelle.report.early_figures import plane_over_epochs
from sweeps import synthetic


def test_the_slider_has_every_measured_epoch_and_a_fixed_frame():
    sweep = synthetic()
    sweep.spectra[:, 2] = np.nan  # Epoch 2 of nobody but one high-error variant.
    sweep.spectra[19, 2] = synthetic().spectra[19, 2]
    sweep.spectra[5, 3] = np.nan
    early = study(sweep, AeLLE(0.5, epochs=4), splits=2)
    figure = plane_over_epochs(sweep, early)
    (slider,) = figure.layout.sliders
    assert [step.label for step in slider.steps] == ["0", "1", "2", "3"] and slider.active == 1
    test = early.tests[0]
    for step in slider.steps:
        k, (moved, numbers) = int(step.label), step.args
        assert list(numbers) == [1, 2]
        for low, x, loss, trace in zip((True, False), moved["x"], moved["customdata"], figure.data[1:], strict=True):
            rows = test[sweep.low_error[test] == low]
            assert len(x) == len(loss) == len(trace.text) == len(rows)
            seen = sweep.seen(k).take(rows)
            known = seen.known
            assert [place is not None for place in x] == list(known)
            expected = early.models[0].transform(seen.take(known))[:, 0] if known.any() else []
            np.testing.assert_allclose([place for place in x if place is not None], expected, rtol=1e-3)
            assert loss == [f"{v:.3g}" if np.isfinite(v) else "none" for v in sweep.losses[rows, k]]
            low_end, high_end = figure.layout.xaxis.range
            assert all(low_end < place < high_end for place in x if place is not None)
    first = slider.steps[1].args[0]
    assert [list(trace.x) for trace in figure.data[1:]] == first["x"]
    assert [list(trace.customdata) for trace in figure.data[1:]] == first["customdata"]
    assert "final loss" in figure.data[1].text[0] and "p 0" in figure.data[1].text[0]
