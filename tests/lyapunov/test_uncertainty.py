"""Whether the standard error of a single trajectory is its error, and when to stop."""

import math
import warnings

import pytest
import torch
from matplotlib import pyplot

from aelle import lyapunov_spectrum
from aelle.lyapunov.block_averages import BlockAverages, boundaries
from aelle.lyapunov.driven_map import DrivenMap
from aelle.lyapunov.product import growth
from reference import henon, lorenz_step

SKEW = 0.3


def skew_tent(_, x):
    """The slopes of successive points are independent: 1/a with probability a, else 1/(1 − a)."""
    return torch.where(x < SKEW, x / SKEW, (1 - x) / (1 - SKEW))


TENT = -SKEW * math.log(SKEW) - (1 - SKEW) * math.log(1 - SKEW)


def uniform(n: int, N: int, scale: float, seed: int = 0) -> torch.Tensor:
    return scale * torch.rand(n, N, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


SYSTEMS = {
    "skewed tent": (skew_tent, uniform(200, 1, 1.0), 1024, 0, [TENT]),
    # Sprott 2003; the sum is exact.
    "Hénon": (henon, uniform(200, 2, 0.1), 1024, 100, [0.41922, math.log(0.3) - 0.41922]),
    "Lorenz": (lorenz_step, uniform(100, 3, 20.0), 1000, 4000, [0.009056, 0.0, -0.145723]),
    "logistic": (lambda _, x: 4 * x * (1 - x), 0.1 + uniform(100, 1, 0.8), 1024, 100, [math.log(2)]),
}
MADE_UP_FOR = ("Lorenz", "logistic")
"""Growth in one block is made up for in the next: in a flow's orbit, and where log |f'(x)| = λ + g(x) − g(f(x))."""


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_error_of_one_trajectory_is_its_standard_error(name):
    """Errors of many trajectories, each in units of the standard error that it claims, have a spread of about one.

    Where growth in one block is made up for in the next it may be too large, never too small.
    """
    step, starts, steps, warmup, exact = SYSTEMS[name]
    system = DrivenMap(step, None, starts, None, len(exact))
    basis = torch.eye(len(exact), dtype=torch.float64).repeat(1, len(starts), 1, 1)
    with torch.no_grad():
        grown = growth(system, starts, basis, warmup=warmup, steps=steps, every="auto", in_blocks=True)
    z = (grown.rates[0] - torch.tensor(exact, dtype=torch.float64)) / grown.stderr[0]
    spread = z.square().mean(0).sqrt()
    assert (spread < 1.2).all() and (spread > (0.1 if name in MADE_UP_FOR else 0.85)).all(), spread


def test_a_single_trajectory_has_that_standard_error():
    spectrum = lyapunov_spectrum(skew_tent, state=torch.tensor([0.123]), steps=2000)
    expected = math.sqrt(SKEW * (1 - SKEW) / 2000) * abs(math.log(SKEW / (1 - SKEW)))
    assert spectrum.stderr.item() == pytest.approx(expected, rel=0.35)
    assert abs(spectrum.maximum.item() - TENT) < 4 * spectrum.stderr.item()


def test_the_spread_over_sequences_where_there_are_several():
    several = lyapunov_spectrum(skew_tent, state=uniform(5, 1, 1.0), steps=300)
    assert torch.equal(several.stderr, several.per_sequence.std(0) / 5**0.5)


@pytest.mark.parametrize("steps, known", [(1, False), (63, False), (64, True), (65, True)])
def test_too_few_steps_say_nothing_of_their_spread(steps, known):
    spectrum = lyapunov_spectrum(skew_tent, state=torch.tensor([0.123]), steps=steps)
    assert bool(spectrum.stderr.isfinite()) == known and spectrum.exponents.isfinite().all()


def test_blocks_change_neither_exponents_nor_history():
    arguments = dict(state=torch.tensor([[0.1, 0.2]], dtype=torch.float64), steps=500, warmup=20)
    one = lyapunov_spectrum(henon, history=True, **arguments)
    two = lyapunov_spectrum(henon, **arguments | dict(state=arguments["state"].repeat(2, 1)), history=True)
    torch.testing.assert_close(one.per_sequence[0], two.per_sequence[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(one.history, two.history, atol=1e-6, rtol=0)
    torch.testing.assert_close(one.history[-1], one.exponents, atol=1e-9, rtol=0)


def test_a_direction_that_is_lost_has_no_error():
    spectrum = lyapunov_spectrum(lambda _, s: torch.stack([0.5 * s[0], 0 * s[1]]), state=torch.ones(2), steps=200)
    assert spectrum.clamped == 1 and spectrum.stderr[1] == 0
    assert spectrum.exponents[0].item() == pytest.approx(math.log(0.5), abs=1e-9)


def test_it_runs_on_until_the_tolerance_is_reached():
    rough = lyapunov_spectrum(henon, state=torch.zeros(2), warmup=100, until=0.02)
    fine = lyapunov_spectrum(henon, state=torch.zeros(2), warmup=100, until=0.006, history=True)
    assert rough.stderr.max() <= 0.02 and fine.stderr.max() <= 0.006 and rough.steps < fine.steps < 10_000
    assert fine.history.shape == (fine.steps, 2)
    assert abs(fine.maximum.item() - 0.41922) < 4 * 0.006
    steps = lyapunov_spectrum(henon, state=torch.zeros(2), warmup=100, steps=fine.steps)
    torch.testing.assert_close(fine.exponents, steps.exponents, atol=1e-6, rtol=0)


def test_the_tolerance_is_per_unit_of_time():
    arguments = dict(state=torch.zeros(2), warmup=100)
    per_step = lyapunov_spectrum(henon, until=0.02, **arguments)
    per_time = lyapunov_spectrum(henon, until=0.2, dt=0.1, **arguments)
    assert per_time.steps == per_step.steps and per_time.stderr.max() <= 0.2


@pytest.mark.parametrize("max_steps", [1, 40, 700])
def test_a_tolerance_that_is_not_reached_is_warned_of(max_steps):
    with pytest.warns(UserWarning, match=f"after max_steps={max_steps} steps the largest standard error is"):
        spectrum = lyapunov_spectrum(henon, state=torch.zeros(2), until=1e-9, max_steps=max_steps)
    assert spectrum.steps == max_steps and bool(spectrum.stderr.isnan().all()) == (max_steps < 64)


def test_a_trajectory_that_escapes_ends_the_run():
    with pytest.raises(ValueError, match="became NaN or infinite"):
        lyapunov_spectrum(lambda _, x: x**2, state=torch.tensor([2.0]), until=1e-3)


def test_a_trajectory_that_escapes_is_not_one_that_needs_more_steps():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        escaped = lyapunov_spectrum(lambda _, x: x**2, state=torch.tensor([2.0]), until=0.01, diverged="nan")
    assert escaped.exponents.isnan().all() and escaped.steps == 32


def test_history_takes_the_memory_of_the_steps_that_were_made():
    found = lyapunov_spectrum(henon, state=torch.zeros(2), until=0.05, history=True, max_steps=10**12)
    assert found.history.shape == (found.steps, 2) and found.steps < 10_000


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(until=0.0), "until=0.0: give the standard error at which to stop"),
        (dict(until=math.nan), "until=nan"),
        (dict(until=1e-3, steps=5), "until=0.001 and steps=5: give one of them"),
        (dict(until=1e-3, max_steps=0), "max_steps=0"),
        (dict(until=1e-3, state=torch.zeros(3, 2)), "with 3 initial states: give one state"),
        (dict(until=1e-3, inputs=torch.zeros(1, 5, 2)), "the steps of inputs decide"),
    ],
)
def test_what_does_not_go_with_a_tolerance(arguments, message):
    with pytest.raises(ValueError, match=message):
        lyapunov_spectrum(lambda x, s: s, **dict(state=torch.zeros(2)) | arguments)


def inflation(values: torch.Tensor) -> float:
    d = values - values.mean()
    rho = max(float((d[1:] * d[:-1]).sum() / (d * d).sum()), 0.0)
    return math.sqrt((1 + rho) / (1 - rho))


def test_block_averages_by_hand():
    assert boundaries(63) == [63] and boundaries(64) == [8 * i for i in range(1, 9)]
    assert boundaries(10_000)[-1] == 10_000 and len(boundaries(10_000)) == 32
    averages = BlockAverages()
    growths = torch.tensor([1.0, 2.0, 4.0, 3.0, 0.0, 1.0, 2.0, 2.0, 5.0, 4.0, 1.0, 0.0, 2.0, 2.0, 3.0, 1.0])
    for i, total in enumerate(growths.double().cumsum(0)):
        averages.add(2 * (i + 1), total.view(1, 1, 1))
    expected = (growths.double() / 2).std() / 4 * inflation(growths)
    torch.testing.assert_close(averages.stderr(-30.0).squeeze(), expected)
    averages.join_pairs()
    pairs = growths.view(8, 2).mean(1)
    expected = (pairs.double() / 2).std() / 8**0.5 * inflation(pairs)
    torch.testing.assert_close(averages.stderr(-30.0).squeeze(), expected)
    averages.join_pairs()
    assert averages.stderr(-30.0).isnan().all()


def test_a_spectrum_draws_itself(tmp_path):
    spectrum = lyapunov_spectrum(henon, state=torch.zeros(2), steps=200, history=True, dt=0.5)
    figure = spectrum.plot()
    left, right = figure.axes
    drawn = left.get_lines()[0]
    assert drawn.get_ydata() == pytest.approx(spectrum.exponents.numpy())
    assert left.get_ylabel() == "Lyapunov exponent (nats per unit of time)" and right.get_xlabel() == "time"
    curves = [line.get_ydata() for line in right.get_lines()[:2]]
    assert curves[0] == pytest.approx(spectrum.history[:, 0].numpy())
    figure.savefig(tmp_path / "spectrum.png")
    plain = lyapunov_spectrum(henon, state=torch.zeros(2), steps=5)
    assert len(plain.plot().axes) == 1 and plain.plot().axes[0].get_ylabel().endswith("(nats per step)")
    own, axes = pyplot.subplots(1, 2)
    assert spectrum.plot(axes) is own
    with pytest.raises(ValueError, match="give 2 matplotlib Axes"):
        spectrum.plot(axes[0])
    pyplot.close(own)
