"""The page on one's own system: its code runs as it stands, and gives the values that it states."""

import math
import re

import pytest
import torch

from sweeps import ROOT

PAGE = ROOT / "docs" / "own-system.md"


@pytest.fixture(scope="module")
def page():
    torch.manual_seed(0)
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(block, names)
    return names


def assert_near(spectrum, expected, within):
    torch.testing.assert_close(spectrum.exponents, torch.as_tensor(expected, dtype=torch.float64), atol=within, rtol=0)


def test_published_values(page):
    henon, lorenz = page["henon_map"], page["lorenz"]
    assert_near(henon, [0.41922, math.log(0.3) - 0.41922], 4 * henon.stderr.max().item())
    assert 0.0035 < henon.stderr.max() < 0.0045
    assert_near(lorenz, [0.9056, 0.0, -14.5723], 0.05)
    assert page["precise"].stderr.max() <= 0.005 and page["precise"].steps > 1000


def test_exact_values(page):
    eigenvalues = torch.linalg.eigvals(page["W"])
    of_echo = eigenvalues.abs().log().sort(descending=True).values[:3]
    assert_near(page["dense"], of_echo, 2e-3)
    assert_near(page["by_hand"], page["dense"].exponents, 1e-6)
    of_leaky = (1 - page["leak"] + page["leak"] * eigenvalues).abs().log().sort(descending=True).values[:3]
    assert_near(page["leaky"], of_leaky, 2e-3)
    of_ode = (torch.linalg.eigvals(page["ode"].right_hand_side.linear.weight).real - 1).sort(descending=True).values
    assert_near(page["neural"], of_ode.detach().double(), 2e-2)
    assert page["noisy"].exponents.isfinite().all()
