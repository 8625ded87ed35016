"""The report in a real browser, where there is one."""

import re

import numpy as np
import pytest

from aelle.sweep.table import load_sweep
from browsers import BROWSER, opened
from sweeps import QUICK, report_of

TO_THE_LAST_EPOCH = """<script>
  const plot = [...document.querySelectorAll(".plotly-graph-div")].find(plot => plot.layout.sliders);
  const places = () => [...plot.querySelectorAll(".scatterlayer .point")].map(point => point.getAttribute("transform"));
  const before = places(), found = document.body.dataset;
  plot.on("plotly_restyle", () => {
    found.points = before.length;
    found.moved = places().filter((place, i) => place !== before[i]).length;
    found.epoch = plot.querySelector(".slider-label").textContent;
  });
  const rail = plot.querySelector(".slider-rail-touch-rect"), box = rail.getBoundingClientRect();
  rail.dispatchEvent(new MouseEvent("mousedown", {bubbles: true, clientX: box.right - 1, clientY: box.top + 1}));
</script>"""
"""Presses the mouse at the right end of the slider, as a user does, and writes down what became of the points."""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium: install it to see the report opened")
def test_the_report_opens_without_complaint_and_draws_its_figures(sweep, tmp_path, main):
    threshold = float(np.median(load_sweep(sweep).final_loss))
    code, out, err = main("analyze.py", f"sweep={sweep}", f"threshold={threshold}", *QUICK)
    assert code == 0, err
    report = report_of(out)
    moving = tmp_path / "moving.html"
    moving.write_text(report.read_text() + TO_THE_LAST_EPOCH)
    for width in (1200, 400):
        profile = tmp_path / f"profile-{width}"
        document, complaints = opened(report, width, profile)
        assert complaints == [], complaints
        assert document.count("plotly-graph-div") == document.count('class="plot-container') == 10
        document, complaints = opened(moving, width, profile)
        assert complaints == [] and 'data-epoch="after epoch 3"' in document
        points, moved = map(int, re.findall(r'data-points="(\d+)" data-moved="(\d+)"', document)[0])
        assert 0 < points == moved


@pytest.mark.skipif(BROWSER is None, reason="no Chromium: install it to see the report opened")
def test_a_complaint_would_be_heard(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<script>undefinedFunction()</script>")
    _, complaints = opened(page, 800, tmp_path / "profile")
    assert len(complaints) == 1 and "undefinedFunction" in complaints[0]
