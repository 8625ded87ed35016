"""FORCE against recursive least squares in NumPy, the closed loop against automatic differentiation."""

import numpy as np
import pytest
import torch

import aelle
from aelle.data.sines import FourSines, four_sines
from aelle.lyapunov.closed_loop import ClosedLoop
from aelle.tasks import TargetLearning
from aelle.tasks.force_network import RankOne
from aelle.training.lyapunov_callback import LyapunovCallback
from aelle.variants import Variant
from trainings import trainer


def variant(number: int, g: float = 1.5, **changes) -> Variant:
    return Variant(
        number, {"hidden_size": 33, "g": g, "target": "random", **changes}, {"init": 7 + number, "shuffle": 0}
    )


def plain_force(M, w_f, x, z, w, f):
    """Recursive least squares as in any textbook, one step after another."""
    P = np.eye(len(x))
    outputs = []
    for t in range(len(f)):
        x = 0.9 * x + 0.1 * (M @ np.tanh(x) + w_f * z)
        r = np.tanh(x)
        z = w @ r
        outputs.append(z)
        if t % 2 == 1:
            k = P @ r / (1 + r @ P @ r)
            P = P - np.outer(k, P @ r)
            w = w - (z - f[t]) * k
    return x, w, P, np.array(outputs)


@pytest.mark.parametrize("N", [33, 64])
def test_force_is_recursive_least_squares(N):
    networks = RankOne(N, [1.2, 1.7], [3, 4]).double()
    f = torch.as_tensor(np.stack([four_sines((1, 2, 6, 3), (1, 2, 3, 4))[:301], np.linspace(-1, 1, 301)]))
    arrays = [part.numpy().copy() for part in (networks.M, networks.w_f, networks.x, networks.z, networks.w, f)]
    networks.learn(f)
    for v in range(2):
        x, w, P, outputs = plain_force(*(a[v] for a in arrays))
        np.testing.assert_allclose(networks.x[v], x, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(networks.w[v], w, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(networks.P[v], P, rtol=1e-8, atol=1e-10)
        assert networks.z[v] == pytest.approx(outputs[-1], rel=1e-8)


def test_the_batched_path_equals_the_compiled_one():
    compiled, batched = (RankOne(40, [1.0, 1.4, 1.8], [1, 2, 3]).double() for _ in range(2))
    f = torch.linspace(-1, 1, 200, dtype=torch.float64).expand(3, -1)
    compiled.learn(f)
    batched.learn_side_by_side(f)
    for (name, a), b in zip(compiled.named_buffers(), batched.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10, msg=lambda m, name=name: f"{name}: {m}")
    before = compiled.x.clone()
    torch.testing.assert_close(compiled.run_free(200), batched.run_free_side_by_side(200), rtol=1e-8, atol=1e-10)
    assert torch.equal(compiled.x, before)


def test_single_precision_follows_double():
    single, double = RankOne(50, [1.5], [1]), RankOne(50, [1.5], [1]).double()
    f = torch.linspace(-1, 1, 100)[None]
    single.learn(f)
    double.learn(f.double())
    torch.testing.assert_close(single.x.double(), double.x, rtol=0, atol=1e-4)
    torch.testing.assert_close(single.w.double(), double.w, rtol=0, atol=1e-4)


def test_a_run_free_of_learning_is_the_closed_loop():
    network = RankOne(20, [1.5], [5]).double()
    network.learn(torch.ones(1, 50, dtype=torch.float64))
    network.z.copy_((network.w * network.x.tanh()).sum(1))
    loop = ClosedLoop(network.M + network.w_f[:, :, None] * network.w[:, None], 0.1)
    x, D = network.x[:, None], torch.eye(20, dtype=torch.float64)[None, None]
    outputs = []
    for t in range(30):
        x = loop.advance(t, x, D, torch.empty_like(D))
        outputs.append((network.w * x[:, 0].tanh()).sum(1))
    torch.testing.assert_close(network.run_free(30), torch.stack(outputs, 1))


def loop_step(network: RankOne):
    """One step of the closed loop as anybody would write it."""
    M, w_f, w = network.M[0], network.w_f[0], network.w[0]

    def step(_, x):
        r = x.tanh()
        return 0.9 * x + 0.1 * (M @ r + w_f * (w @ r))

    return step


def test_the_jacobian_of_the_closed_loop_is_the_automatic_one():
    network = RankOne(30, [1.6], [2]).double()
    network.learn(torch.ones(1, 100, dtype=torch.float64))
    step, x = loop_step(network), network.x[0]
    loop = ClosedLoop(network.M + network.w_f[:, :, None] * network.w[:, None], 0.1)
    rows = torch.eye(30, dtype=torch.float64)[None, None]
    new = loop.advance(0, x[None, None], rows, out := torch.empty_like(rows))
    torch.testing.assert_close(out[0, 0].mT, torch.func.jacrev(lambda s: step(None, s))(x))
    torch.testing.assert_close(new[0, 0], step(None, x))


@pytest.mark.parametrize("k", [None, 5])
def test_its_spectrum_is_that_of_the_map(k):
    network = RankOne(16, [1.6], [2]).double()
    network.learn(torch.ones(1, 100, dtype=torch.float64))
    before = {name: part.clone() for name, part in network.named_buffers()}
    ours = network.spectrum(None, over="hidden", dtype=torch.float64, steps=60, k=k)
    whole = aelle.lyapunov_spectrum(loop_step(network), steps=60, state=network.x[0], k=k)
    torch.testing.assert_close(ours.exponents[0], whole.exponents, rtol=0, atol=2e-6)
    assert all(torch.equal(part, before[name]) for name, part in network.named_buffers())


def test_a_network_that_is_not_finite_has_no_spectrum_and_the_others_have():
    networks = RankOne(12, [1.5, 1.5], [1, 2])
    networks.w[0, 3] = torch.nan
    spectrum = networks.spectrum(None, over="hidden", dtype=torch.float64, steps=20, k=64)
    assert spectrum.exponents.shape == (2, 12)
    assert spectrum.exponents[0].isnan().all() and spectrum.exponents[1].isfinite().all()


def test_the_draw_is_that_of_the_paper():
    networks = RankOne(512, [1.0, 1.8], [1, 2])
    for M, g in zip(networks.M, (1.0, 1.8), strict=True):
        entries = M[M != 0]
        assert len(entries) / M.numel() == pytest.approx(0.1, abs=0.003)
        assert entries.std().item() == pytest.approx(g / 51.2**0.5, rel=0.02)
    assert networks.w_f.abs().max() <= 1 and networks.w_f.std().item() == pytest.approx(3**-0.5, rel=0.05)
    assert networks.x.std().item() == pytest.approx(0.5, rel=0.1) and not networks.w.any()


def train(variants, callbacks=(), epochs: int = 2) -> TargetLearning:
    module = TargetLearning(FourSines(), variants).double()
    trainer(callbacks, max_epochs=epochs).fit(module)
    return module


def test_a_population_equals_its_members():
    """A hundred steps in float64: chaos amplifies rounding later on."""
    variants = [variant(n, g) for n, g in enumerate((1.0, 1.4, 1.8))]
    together = TargetLearning(FourSines(), variants).double()
    together.network.learn(together.target[:, :100])
    for v, one in enumerate(variants):
        alone = TargetLearning(FourSines(), [one]).double()
        alone.network.learn(alone.target[:, :100])
        for (name, a), b in zip(together.network.named_buffers(), alone.network.buffers(), strict=True):
            torch.testing.assert_close(a[v], b[0], rtol=1e-9, atol=1e-11, msg=lambda m, name=name: f"{name}: {m}")


def test_the_last_error_is_of_as_many_free_periods_as_epochs():
    module = train([variant(0), variant(1)])
    outputs = module.network.run_free(2400)
    error = (outputs - module.target.repeat(1, 2)).abs().mean(1)
    torch.testing.assert_close(module.metrics["val_loss"], error)
    assert torch.equal(module.example_outputs()["output"], outputs[:, -600:])


def test_measuring_spectra_changes_nothing():
    lyapunov = LyapunovCallback("network", None, steps=20, k=4, every_n_epochs=[0, 1])
    watched, plain = train([variant(0)], [lyapunov], epochs=3), train([variant(0)], epochs=3)
    assert sorted(lyapunov.spectra) == [0, 1, 3]
    for (name, a), b in zip(watched.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_a_diverged_network_is_a_result_and_leaves_the_others_alone():
    module = TargetLearning(FourSines(), [variant(0), variant(1)]).double()
    module.network.w[0, 0] = torch.nan
    trainer(max_epochs=1).fit(module)
    assert module.diverged().tolist() == [True, False]
    assert module.metrics["val_loss"].isnan().tolist() == [True, False]
