"""The Lorenz system against another integrator and its known exponents, and the baselines of the threshold."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from aelle import lyapunov_spectrum
from aelle.data import lorenz, lorenz_threshold
from aelle.data.lorenz import CENTRE, EXPONENTS, SCALE, flow, velocity
from aelle.errors import UserError
from aelle.sweep.table import load_sweep

SIZES = {"train": 100, "val": 30, "test": 20}


def data(steps: int = 40, dt: float = 0.05, **options):
    return lorenz(steps, dt, **{**SIZES, **options})


def reference(_, state):
    x, y, z = state
    return [10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z]


@pytest.mark.parametrize("dt", [0.01, 0.05, 0.123])
def test_each_target_is_where_scipy_ends(dt):
    x, y = data(dt=dt).train
    start, end = (v[:3].double().numpy() * SCALE + CENTRE for v in (x, y))
    for before, after in zip(start.reshape(-1, 3), end.reshape(-1, 3), strict=True):
        found = solve_ivp(reference, (0, dt), before, method="DOP853", rtol=1e-10, atol=1e-10).y[:, -1]
        np.testing.assert_allclose(after, found, atol=5e-4)


def test_halving_the_step_divides_the_error_by_sixteen():
    start = torch.tensor([[1.0, 3.0, 20.0], [-5.0, -9.0, 30.0]], dtype=torch.float64)
    for state in start:
        exact = solve_ivp(reference, (0, 0.16), state.numpy(), method="DOP853", rtol=1e-13, atol=1e-13).y[:, -1]
        error = np.abs(flow(state, 0.16).numpy() - exact).max()
        halved = state
        for _ in range(32):
            halved = flow(halved, 0.005)
        assert error / np.abs(halved.numpy() - exact).max() == pytest.approx(16, rel=0.15)


def test_targets_are_the_next_inputs_and_states_lie_on_the_attractor():
    made = data(200, train=300)
    for part in (made.train, made.val, made.test):
        assert part.x.shape == part.y.shape and torch.equal(part.x[:, 1:], part.y[:, :-1])
        assert part.x.dtype == torch.float32
    states = made.train.x.flatten(0, 1)
    assert states.mean(0).abs().max() < 0.1 and (states.std(0) - 1).abs().max() < 0.03
    # The system is symmetric under (x, y) → (−x, −y), and at rest in its three fixed points.
    fixed = [[0, 0, 0], [math.sqrt(72), math.sqrt(72), 27], [-math.sqrt(72), -math.sqrt(72), 27]]
    assert velocity(torch.tensor(fixed, dtype=torch.float64)).abs().max() < 1e-12
    mirror = torch.tensor([-1, -1, 1])
    torch.testing.assert_close(velocity(states * mirror), velocity(states) * mirror)


def test_the_baselines_of_the_threshold():
    x, y = data(100, train=500).train
    assert y.square().mean().item() == pytest.approx(1, abs=0.03)
    assert (y - x).square().mean().item() == pytest.approx(0.131, abs=0.01)
    assert (y[:, 1:] - (2 * x[:, 1:] - x[:, :-1])).square().mean().item() == pytest.approx(0.053, abs=0.005)


def test_the_threshold_follows_the_step():
    # The error of a straight line falls with the fourth power of the step, in variances.
    assert lorenz_threshold(0.05) == 0.0053
    assert lorenz_threshold(0.08) / lorenz_threshold(0.02) == pytest.approx(4**4, rel=0.5)


@pytest.mark.parametrize(
    ("dt", "best"), [(0.01, 0), (0.02, 0), (0.05, 0), (0.1, 1), (0.15, 1), (0.2, 2), (0.3, 2), (1.0, 2), (1, 2)]
)
def test_the_threshold_is_a_tenth_of_the_error_of_the_best_untrained_answer(dt, best):
    """From dt=0.13 on, a straight line is worse than the constant."""
    x, y = lorenz(40, dt, train=500, val=1, test=1).train
    errors = [(y[:, 1:] - (2 * x[:, 1:] - x[:, :-1])).square().mean(), (y - x).square().mean(), y.square().mean()]
    assert int(np.argmin(errors)) == best
    assert lorenz_threshold(dt) == pytest.approx(float(errors[best]) / 10, rel=0.05)


@pytest.mark.parametrize("dt", [0, -0.1, 2, math.nan, math.inf])
def test_the_threshold_of_a_wrong_step_is_one_clear_error(dt):
    with pytest.raises(UserError, match=r"task\.data\.dt=.*: give a number above 0 and at most 1"):
        lorenz_threshold(dt)


@pytest.mark.long
def test_the_exponents_are_the_known_ones():
    start = flow(torch.tensor([1.0, 1.0, 20.0], dtype=torch.float64), 20.0)
    spectrum = lyapunov_spectrum(lambda _, state: flow(state, 0.01), steps=4000, warmup=200, state=start)
    rates = spectrum.exponents.numpy() / 0.01
    assert rates.sum() == pytest.approx(-(10 + 1 + 8 / 3), abs=1e-3)
    np.testing.assert_allclose(rates, EXPONENTS, atol=0.2)


def test_seeds_and_streams():
    one, longer = data(), data(train=101)
    lorenz.cache_clear()
    again, other = data(), data(seed=1)
    assert torch.equal(one.train.x, again.train.x) and not torch.equal(one.train.x, other.train.x)
    assert torch.equal(one.val.x, longer.val.x) and torch.equal(one.test.x, longer.test.x)
    firsts = [x[0].numpy().tobytes() for part in (one.train, one.val, one.test) for x in part.x]
    assert len(set(firsts)) == sum(SIZES.values())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"steps": 0}, r"task\.data\.steps=0: give a whole number of at least 1"),
        ({"dt": -0.1}, r"task\.data\.dt=-0\.1: give a number above 0 and at most 1"),
        ({"dt": math.nan}, r"task\.data\.dt=nan: give a number above 0"),
        ({"val": 0}, r"task\.data\.val=0: give a whole number of at least 1"),
    ],
)
def test_a_wrong_option_is_one_clear_error(options, says):
    with pytest.raises(UserError, match=says):
        data(**options)


def test_a_sweep_is_trained_and_measured(main, tmp_path):
    few = ("task.data.train=40", "task.data.val=8", "task.data.test=8", "batch_size=20", "task.data.steps=6")
    tiny = ("size=3", "hidden_size=4", "epochs=2", "lyapunov.sequences=2")
    code, out, err = main("train.py", "-m", "experiment=lorenz", *tiny, *few)
    assert code == 0 and "3 of 3 variants complete" in out, err
    table = load_sweep(tmp_path / "outputs" / "lorenz")
    assert np.isfinite(table.losses).all() and np.isfinite(table.spectra).all()
    code, _, err = main("train.py", "-m", "experiment=lorenz", "sweep=wrong", "task.data.dt=0")
    assert code and len(err.strip().splitlines()) == 1 and "task.data.dt=0" in err
