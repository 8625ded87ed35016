"""The report in a real browser, where there is one."""

import json
import re
from html import unescape

import numpy as np
import pytest

from aelle.sweep.table import load_sweep
from browsers import BROWSER, opened
from sweeps import QUICK, report_of, write_arrays

TO_THE_LAST_EPOCH = """<script>
  window.requestAnimationFrame = task => setTimeout(() => task(performance.now()));
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
"""Presses the mouse at the right end of the slider, as a user does, and writes down what became of the points. Plotly
waits for the next animation frame. A headless browser on a busy machine may not draw one in time, so a timer takes its
place."""


FRAME = """<body><iframe src="{page}" style="border: 0; width: {width}px; height: 3000px"></iframe><script>
  onmessage = event => {{ document.body.dataset.measured = JSON.stringify(event.data); }};
</script></body>"""
"""The browser's own window cannot be as narrow as a phone."""

MEASURED = """<script>
  const sizes = () => [...document.querySelectorAll(".plotly-graph-div")].map(plot =>
    [plot.querySelector(".svg-container").clientWidth, plot.parentElement.clientWidth]);
  addEventListener("load", () => {
    const root = document.documentElement, closed = root.scrollWidth;
    document.querySelectorAll("details").forEach(part => { part.open = true; });
    setTimeout(() => parent.postMessage(
      {inner: innerWidth, text: document.querySelectorAll(".plotly-graph-div")[3].data[0].text[0],
       widest: Math.max(closed, root.scrollWidth), sizes: sizes(),
       heights: [...document.querySelectorAll("figure")].map(one => [one.clientHeight, one.scrollHeight])}, "*"), 1500);
  });
</script>"""
"""Opens every section and measures the page and its figures."""


@pytest.mark.long
@pytest.mark.skipif(BROWSER is None, reason="no Chromium: install it to see the report opened")
@pytest.mark.parametrize("width", [390, 1920])
def test_the_page_and_its_figures_have_the_width_of_the_screen(tmp_path, main, width):
    """Also those of a section that is opened later."""
    rng = np.random.default_rng(0)
    words = np.array([f"a rather long word {i % 3}" for i in range(60)])
    write_arrays(tmp_path / "mine.npz", q=10 ** rng.uniform(-5, -1, 60), cell=words, dropout=rng.uniform(0, 1, 60))
    code, out, err = main("analyze.py", "sweep=mine.npz", "threshold=0.5", *QUICK)
    assert code == 0, err
    page, frame = tmp_path / "page.html", tmp_path / "frame.html"
    page.write_text(report_of(out).read_text() + MEASURED)
    frame.write_text(FRAME.format(page=page.as_uri(), width=width))
    document, complaints = opened(frame, 2000, tmp_path / "profile")
    assert complaints == []
    measured = json.loads(unescape(re.findall(r'data-measured="([^"]*)"', document)[0]))
    assert measured["inner"] == width and measured["widest"] <= width
    assert len(measured["sizes"]) == 14
    # The texts of points are in the page once, and in every figure.
    assert re.match(r"variant \d+<br>p 0\.\d+<br>q .*<br>cell a rather .*<br>final loss 0\.\d+$", measured["text"])
    for drawn, room in measured["sizes"]:
        assert drawn == room <= width and room > 0.4 * min(width, 1600)
    assert all(drawn <= room for room, drawn in measured["heights"])


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
        assert document.count('class="plotly-graph-div') == document.count('class="plot-container') == 12
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
