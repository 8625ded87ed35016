"""The estimate: against QR at every step, in its options, and at the edges of what numbers can hold."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from aelle import lyapunov_spectrum
from aelle.cells.stack import stack_of
from aelle.lyapunov import chunks
from aelle.lyapunov.driven_stack import DrivenStack
from aelle.lyapunov.interval import COARSE_FROM
from aelle.lyapunov.spectrum import floor
from reference import NETWORKS, Cube, by_many_digits, by_qr, jacobians, network
from sweeps import ROOT


@pytest.fixture(autouse=True)
def one_thread():
    """The QR that is compared with is of small matrices, on which threads that wait for each other lose much time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


PROMISED = {torch.float64: 1e-6, torch.float32: 1e-3}


def sequences(B: int, T: int, I: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(B, T, I, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(sorted(NETWORKS)),
    over=st.sampled_from(["hidden", "full"]),
    H=st.integers(1, 9),
    layers=st.integers(1, 2),
    B=st.integers(1, 3),
    T=st.integers(1, 20),
    warmup=st.integers(0, 5),
    every=st.sampled_from(["auto", 1, 2]),
    fraction=st.floats(0, 1),
    scale=st.sampled_from([0.1, 0.5, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_it_is_the_qr_at_every_step(kind, over, H, layers, B, T, warmup, every, fraction, scale, seed):
    """For every cell, depth, state, number of exponents and interval; warm-up and tail are never lost.

    Where the QR itself is sound: a direction that contracts by more than 12 nats in a step leaves it four digits.
    """
    net = network(kind, 2, H, layers, seed, scale)
    x = sequences(B, T + warmup, 2, seed)
    expected = by_qr(jacobians(net, x, over == "full"), warmup)
    k = max(1, round(fraction * expected.shape[-1]))
    spectrum = lyapunov_spectrum(net, x, k=k, over=over, warmup=warmup, orthonormalize_every=every)
    assert spectrum.per_sequence.shape == (B, k) and spectrum.steps == T
    sound = expected[:, :k] > -6
    torch.testing.assert_close(spectrum.per_sequence[sound], expected[:, :k][sound], atol=1e-6, rtol=0)
    torch.testing.assert_close(
        spectrum.exponents, spectrum.per_sequence.mean(0).sort(descending=True).values, atol=1e-14, rtol=0
    )


@pytest.mark.parametrize("dtype", PROMISED)
@pytest.mark.parametrize(
    "kind, H, g",
    [("lstm", 64, 0.1), ("lstm", 96, 0.25), ("gru", 64, 0.1), ("gru", 48, 0.4), ("rnn", 100, 0.05), ("rnn", 100, 0.15)],
)
def test_the_chosen_interval_keeps_its_promise(kind, H, g, dtype):
    """On contracting and on chaotic networks (tanh: g √N from 0.5 to 1.5), with steps in which digits are lost."""
    net = network(kind, 8, H, scale=g).to(torch.float32)
    x = sequences(4, 60, 8).to(torch.float32)
    auto = lyapunov_spectrum(net, x, dtype=dtype)
    exact = by_qr(jacobians(net.double(), x.double(), full=False)).mean(0).sort(descending=True).values
    resolved = int(auto.resolved)
    torch.testing.assert_close(auto.exponents[:resolved].double(), exact[:resolved], atol=PROMISED[dtype], rtol=0)
    assert resolved == H if dtype == torch.float64 or H < COARSE_FROM else resolved > 0.7 * H


def test_a_wide_interval_loses_what_the_chosen_one_keeps():
    net, x = network("lstm", 8, 64, scale=0.1), sequences(4, 60, 8)
    exact = by_qr(jacobians(net, x, full=False))
    wide = lyapunov_spectrum(net, x, orthonormalize_every=15)
    assert (wide.per_sequence - exact).abs().max() > 1e-3
    assert (lyapunov_spectrum(net, x).per_sequence - exact).abs().max() < 1e-6


@pytest.mark.parametrize("kind", ["lstm", "rnn"])
def test_saturated_networks_keep_digits_that_qr_loses(kind):
    """Jacobians whose rows differ by many orders of magnitude, against 60 digits."""
    net, x = network(kind, 3, 10, scale=6 if kind == "lstm" else 2.5, seed=4), sequences(1, 8, 3)
    J = jacobians(net, x, full=False)
    exact = by_many_digits(J[:, 0])
    above = exact > floor(torch.float64, 10)
    assert exact[above].min() < -15
    ours = lyapunov_spectrum(net, x).per_sequence[0]
    assert (ours - exact)[above].abs().max() < 1e-6
    assert (by_qr(J)[0] - exact)[above].abs().max() > 1e-5
    net, x = net.float(), x.float()
    exact = by_many_digits(jacobians(net, x, full=False)[:, 0])
    above = exact > floor(torch.float32, 10)
    ours = lyapunov_spectrum(net, x, dtype=torch.float32).per_sequence[0].double()
    assert (ours - exact)[above].abs().max() < 1e-3


def wilkinson(N: int) -> torch.Tensor:
    """Growth 2^(N−1) under partial pivoting (Higham 2002, section 9.3)."""
    W = torch.eye(N, dtype=torch.float64) - torch.ones(N, N, dtype=torch.float64).tril(-1)
    W[:, -1] = 1
    return W


@pytest.mark.parametrize("every", ["auto", 1])
def test_matrices_on_which_elimination_grows(every):
    """Wilkinson's matrix between random rotations, after which LU alone would have lost all digits."""
    N, T = 60, 6
    generator = torch.Generator().manual_seed(0)
    turns = torch.linalg.qr(torch.randn(T, N, N, dtype=torch.float64, generator=generator)).Q
    J = torch.stack([wilkinson(N) @ turn if t else wilkinson(N) for t, turn in enumerate(turns)])
    spectrum = lyapunov_spectrum(
        lambda x, s: x.view(N, N) @ s, J.reshape(1, T, N * N), state=torch.zeros(N), orthonormalize_every=every
    )
    torch.testing.assert_close(spectrum.per_sequence, by_qr(J[:, None]), atol=1e-9, rtol=0)


@pytest.mark.parametrize("kind", sorted(NETWORKS))
@pytest.mark.parametrize("layers", [1, 3])
def test_the_exponents_add_up_to_the_mean_log_determinant(kind, layers):
    net, x = network(kind, 3, 6, layers, scale=0.6), sequences(3, 25, 3)
    expected = torch.linalg.slogdet(jacobians(net, x, full=True)).logabsdet.mean(0)
    for product in ("tangent", "transposed"):
        spectrum = lyapunov_spectrum(net, x, over="full", product=product)
        torch.testing.assert_close(spectrum.per_sequence.sum(-1), expected, atol=1e-6, rtol=0)


def test_the_transposed_product_is_that_of_the_transposed_jacobians():
    net, x = network("lstm", 3, 6), sequences(3, 20, 3)
    expected = by_qr(jacobians(net, x, full=False).mT)
    spectrum = lyapunov_spectrum(net, x, product="transposed")
    torch.testing.assert_close(spectrum.per_sequence, expected, atol=1e-6, rtol=0)
    assert (lyapunov_spectrum(net, x).per_sequence - expected).abs().max() > 1e-3


@pytest.mark.parametrize("over", ["hidden", "full"])
@pytest.mark.parametrize("kind", sorted(NETWORKS))
def test_a_callable_gives_what_the_module_gives(kind, over):
    """Automatic against analytic: a Cell called as a step, a Cell given as a module, and the sequence module."""
    net = network(kind, 3, 5)
    cell = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}[kind](3, 5, dtype=torch.float64)
    cell.load_state_dict({name.removesuffix("_l0"): p for name, p in net.state_dict().items()})
    x, start = sequences(2, 15, 3), torch.zeros(5)
    expected = lyapunov_spectrum(net, x, over=over).per_sequence
    torch.testing.assert_close(lyapunov_spectrum(cell, x, over=over).per_sequence, expected, atol=0, rtol=0)
    state = (start, start) if kind == "lstm" else start
    stepped = lyapunov_spectrum(lambda x, s: cell(x, s), x, state=state, over=over).per_sequence
    torch.testing.assert_close(stepped, expected, atol=1e-6, rtol=0)


def test_a_module_as_a_step_is_taken_in_the_precision_asked_for_and_left_alone():
    class Leaky(nn.Module):
        def __init__(self):
            super().__init__()
            self.recurrent, self.driven = nn.Linear(4, 4), nn.Linear(2, 4)

        def forward(self, x, h):
            return 0.5 * h + torch.tanh(self.recurrent(h) + self.driven(x))

    torch.manual_seed(0)
    module = Leaky()
    before = {name: p.clone() for name, p in module.named_parameters()}
    x = sequences(3, 10, 2)
    spectrum = lyapunov_spectrum(module, x, state=torch.zeros(4))
    double = Leaky().double()
    double.load_state_dict(module.state_dict())
    expected = lyapunov_spectrum(lambda x, h: double(x, h), x, state=torch.zeros(4))
    torch.testing.assert_close(spectrum.exponents, expected.exponents, atol=1e-12, rtol=0)
    assert all(p.dtype == torch.float32 and torch.equal(p, before[name]) for name, p in module.named_parameters())


def test_a_subclass_of_a_cell_counts_as_the_step_that_it_computes():
    class Halved(nn.RNNCell):
        def forward(self, x, h):
            return 0.5 * super().forward(x, h)

    cell, x = Halved(2, 3, dtype=torch.float64), sequences(2, 12, 2)
    plain = nn.RNNCell(2, 3, dtype=torch.float64)
    plain.load_state_dict(cell.state_dict())
    halved = lyapunov_spectrum(cell, x, state=torch.zeros(3))
    expected = lyapunov_spectrum(lambda x, h: 0.5 * plain(x, h), x, state=torch.zeros(3))
    torch.testing.assert_close(halved.exponents, expected.exponents, atol=1e-12, rtol=0)


def test_warmup_moves_the_state_and_aligns_the_directions():
    """A spectrum after warm-up goes on exactly where the steps before have left off."""
    net, x = network("rnn", 2, 6), sequences(2, 30, 2)
    whole, first = lyapunov_spectrum(net, x), lyapunov_spectrum(net, x[:, :12])
    rest = lyapunov_spectrum(net, x, warmup=12)
    torch.testing.assert_close(
        30 * whole.per_sequence, 12 * first.per_sequence + 18 * rest.per_sequence, atol=1e-5, rtol=0
    )


def test_a_given_state_is_where_modules_start():
    net, x = network("lstm", 2, 3, layers=2), sequences(2, 20, 2)
    (h, c) = net(x[:, :8])[1]
    flat = torch.stack([h, c], 1).permute(2, 0, 1, 3).flatten(1)  # [B, layer, part, H]
    system = DrivenStack(stack_of(net), x[:, 8:], full=True)
    for l, (h_l, c_l) in enumerate(system.start(flat[None])):
        torch.testing.assert_close(h_l[0], h[l])
        torch.testing.assert_close(c_l[0], c[l])
    continued = lyapunov_spectrum(net, x[:, 8:], state=flat.detach(), over="full").per_sequence.sum(-1)
    determinants = torch.linalg.slogdet(jacobians(net, x, full=True)).logabsdet[8:].mean(0)
    torch.testing.assert_close(continued, determinants, atol=1e-6, rtol=0)


def test_each_sequence_may_have_its_own_start():
    starts = torch.tensor([[0.1], [0.2], [0.4]], dtype=torch.float64)
    together = lyapunov_spectrum(lambda x, s: 3.9 * s * (1 - s), state=starts, steps=50)
    for b in range(3):
        alone = lyapunov_spectrum(lambda x, s: 3.9 * s * (1 - s), state=starts[b], steps=50)
        torch.testing.assert_close(together.per_sequence[b], alone.per_sequence[0], atol=1e-12, rtol=0)


def test_history_is_the_spectrum_after_each_step():
    net, x = network("gru", 2, 7, layers=2), sequences(3, 23, 2)
    spectrum = lyapunov_spectrum(net, x, history=True, warmup=3, k=9)
    assert spectrum.history.shape == (20, 9)
    torch.testing.assert_close(spectrum.history[-1], spectrum.exponents, atol=1e-9, rtol=0)
    for t in (1, 2, 7, 13):
        shorter = lyapunov_spectrum(net, x[:, : 3 + t], warmup=3, k=9, orthonormalize_every=1)
        torch.testing.assert_close(
            spectrum.history[t - 1].sort(descending=True).values, shorter.exponents, atol=1e-6, rtol=0
        )
    assert lyapunov_spectrum(net, x).history is None


def test_chunks_and_threads_change_nothing(monkeypatch):
    net, x = network("lstm", 3, 16), sequences(7, 12, 3)
    whole = lyapunov_spectrum(net, x, orthonormalize_every=2)
    monkeypatch.setattr(chunks, "CPU_CHUNK_NUMBERS", 2 * 16**2)
    monkeypatch.setattr(chunks, "MATRICES_TOGETHER", 1)
    torch.set_num_threads(2)
    pieces = lyapunov_spectrum(net, x, orthonormalize_every=2)
    torch.testing.assert_close(pieces.per_sequence, whole.per_sequence, atol=1e-9, rtol=0)
    auto = lyapunov_spectrum(net, x)
    torch.testing.assert_close(auto.per_sequence, whole.per_sequence, atol=1e-6, rtol=0)
    assert torch.equal(lyapunov_spectrum(net, x).per_sequence, auto.per_sequence)


MEMORY = """
import resource, torch
from torch import nn
from aelle import lyapunov_spectrum
net, x = nn.GRU(1, 64, batch_first=True), torch.rand(16, 500, 1)
peaks = []
for T in (20, 500):
    lyapunov_spectrum(net, x[:, :T])
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(peaks[1] - peaks[0])
"""


def test_memory_does_not_grow_with_the_steps():
    """A matrix per step and sequence would be 250 MiB."""
    done = subprocess.run([sys.executable, "-c", MEMORY], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 30


def test_it_reads_and_changes_nothing_else():
    net, x = nn.LSTM(3, 8, num_layers=2, batch_first=True, dropout=0.5), sequences(2, 10, 3)
    before, state, threads = [p.clone() for p in net.parameters()], torch.get_rng_state(), torch.get_num_threads()
    lyapunov_spectrum(net, x)
    assert all(map(torch.equal, before, net.parameters())) and torch.equal(torch.get_rng_state(), state)
    assert net.training and torch.is_grad_enabled() and torch.get_num_threads() == threads
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("dtype", PROMISED)
def test_singular_directions_are_clamped_and_counted(dtype):
    """W_hh of rank 5 leaves 7 of 12 directions of every sequence at the floor; a zero W_hh leaves none above it."""
    net, x = network("rnn", 2, 12, scale=0.3), sequences(3, 20, 2)
    with torch.no_grad():
        U, S, V = torch.linalg.svd(net.weight_hh_l0)
        net.weight_hh_l0.copy_((U[:, :5] * S[:5]) @ V[:5])
    spectrum = lyapunov_spectrum(net, x, dtype=dtype)
    assert spectrum.clamped == 3 * 7
    assert (spectrum.exponents[5:] == floor(dtype, 12)).all() and spectrum.exponents[4] > -6
    with torch.no_grad():
        net.weight_hh_l0.zero_()
    spectrum = lyapunov_spectrum(net, x, dtype=dtype)
    assert spectrum.clamped == 3 * 12 and (spectrum.exponents == floor(dtype, 12)).all()


@pytest.mark.parametrize("dtype", PROMISED)
@pytest.mark.parametrize("over", ["hidden", "full"])
@pytest.mark.parametrize("kind", sorted(NETWORKS))
@pytest.mark.parametrize("scale", [30.0, 1e4, 1e150])
def test_saturation_gives_numbers(kind, over, scale, dtype):
    if scale > 1e38 and dtype == torch.float32:
        scale = 1e30
    net = network(kind, 2, 8, scale=scale)
    spectrum = lyapunov_spectrum(net, sequences(3, 12, 2), over=over, dtype=dtype)
    assert spectrum.exponents.isfinite().all() and spectrum.per_sequence.min() >= floor(
        dtype, spectrum.exponents.shape[-1]
    )
    assert spectrum.clamped == (spectrum.per_sequence == spectrum.per_sequence.min()).sum()


def test_dead_units_of_a_relu_network():
    net = network("rnn", 2, 6, scale=0.5, nonlinearity="relu")
    with torch.no_grad():
        net.bias_ih_l0[:2] = -100
    spectrum = lyapunov_spectrum(net, sequences(2, 10, 2))
    assert spectrum.clamped >= 2 * 2 and spectrum.exponents.isfinite().all()


def test_a_trajectory_that_diverges_is_an_error_that_names_it():
    start = torch.tensor([[0.5], [3.0]], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"sequences \[1\], or its derivative, became NaN or infinite"):
        lyapunov_spectrum(lambda x, s: 4 * s * (1 - s), state=start, steps=40)
    net = network("rnn", 1, 3, scale=1e30, nonlinearity="relu")
    with torch.no_grad():
        net.weight_hh_l0.fill_(1e30), net.weight_ih_l0.fill_(1)
    with pytest.raises(ValueError, match="became NaN or infinite"):
        lyapunov_spectrum(net, torch.ones(1, 40, 1))


def test_weights_that_are_not_finite_are_named():
    net = nn.LSTM(2, 3, num_layers=2, batch_first=True).double()
    with torch.no_grad():
        net.weight_hh_l1[4, 1] = 1e300
    with pytest.raises(ValueError, match=r"LSTM\.weight_hh_l1 contains values too large for torch.float32"):
        lyapunov_spectrum(net, torch.zeros(1, 2, 2), dtype=torch.float32)
    with torch.no_grad():
        net.weight_hh_l1[4, 1] = torch.nan
    with pytest.raises(ValueError, match=r"LSTM\.weight_hh_l1 contains NaN"):
        lyapunov_spectrum(net, torch.zeros(1, 2, 2))


def test_a_subclass_with_a_forward_of_its_own_is_not_taken_for_its_base():
    class Shifted(nn.GRU):
        def forward(self, *arguments):
            return super().forward(*arguments)

    class Named(nn.GRU):
        pass

    with pytest.raises(ValueError, match=r"Shifted has a forward of its own.*than GRU.*give its step\(x, state\)"):
        lyapunov_spectrum(Shifted(2, 3), torch.zeros(1, 2, 2))
    assert lyapunov_spectrum(Named(2, 3), torch.zeros(1, 2, 2)).exponents.shape == (3,)
    cell = nn.utils.parametrizations.orthogonal(nn.RNNCell(2, 3), "weight_hh")
    assert lyapunov_spectrum(cell, torch.zeros(1, 2, 2)).exponents.shape == (3,)


@pytest.mark.parametrize(
    "step",
    [
        lambda x, s: 0.5 * Cube.apply(s) + 0.9 * s,
        lambda x, s: s.mul_(s.clone() ** 2 * 0.5 + 0.9),
        lambda x, s: torch.stack([0.5 * a**3 + 0.9 * a if a > 0 else 0.9 * a + 0.5 * a**3 for a in s]),
    ],
    ids=["a function of one's own", "in place", "branching"],
)
def test_steps_that_cannot_be_vectorised_or_work_in_place(step):
    start = torch.tensor([[0.3, -0.2], [0.1, 0.4]], dtype=torch.float64)
    found = lyapunov_spectrum(step, state=start, steps=7).per_sequence
    plain = lyapunov_spectrum(lambda x, s: 0.5 * s**3 + 0.9 * s, state=start, steps=7).per_sequence
    torch.testing.assert_close(found, plain, atol=1e-12, rtol=0)


@pytest.mark.parametrize("rate", [-6.0, -6.2])
def test_an_interval_that_shrinks_tangents_below_what_squares_can_hold(rate):
    """14 orthogonal steps, which invite a long interval, then eight that contract by e^−6 each, in single precision."""
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        gaussian = torch.randn(16, 4, 4, dtype=torch.float64, generator=generator)
        S = gaussian[0]
        C = S @ torch.diag(torch.exp(rate - 2 * torch.linspace(0, 1, 4, dtype=torch.float64))) @ torch.linalg.inv(S)
        J = torch.cat([torch.linalg.qr(gaussian[2:]).Q, C.expand(8, 4, 4)]).reshape(1, 22, 16)
        arguments = dict(network=lambda x, s: x.view(4, 4) @ s, inputs=J, state=torch.zeros(4))
        auto = lyapunov_spectrum(**arguments, dtype=torch.float32).per_sequence.double()
        exact = lyapunov_spectrum(**arguments, orthonormalize_every=1).per_sequence
        torch.testing.assert_close(auto, exact, atol=1e-3, rtol=0)


@pytest.mark.parametrize("factor, dtype", [(0.01, torch.float32), (0.01, torch.float64), (1e4, torch.float32)])
def test_a_chosen_interval_is_cut_where_the_product_would_leave_the_numbers(factor, dtype):
    A = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.5, 1.0], [0.0, 0.0, 0.9]], dtype=dtype)
    arguments = dict(network=lambda x, s: factor * A @ s, state=torch.zeros(3, dtype=dtype), steps=200, dtype=dtype)
    found = lyapunov_spectrum(**arguments, orthonormalize_every=200).exponents
    expected = lyapunov_spectrum(**arguments, orthonormalize_every=1).exponents
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_many_threads_and_large_matrices_give_what_one_gives():
    """MKL's LU of a batch gives wrong pivots there, unless its threads are held back."""
    net, x = network("lstm", 3, 256), sequences(16, 3, 3)
    alone = lyapunov_spectrum(net, x)
    torch.set_num_threads(2)
    torch.testing.assert_close(lyapunov_spectrum(net, x).per_sequence, alone.per_sequence, atol=1e-6, rtol=0)


def test_calls_from_several_threads_leave_the_number_of_threads():
    torch.set_num_threads(2)
    net = network("gru", 3, 16)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda steps: lyapunov_spectrum(net, sequences(2, steps, 3)), (60, 20, 100, 10)))
        assert set(pool.map(lambda _: torch.get_num_threads(), range(3))) == {2}
    assert torch.get_num_threads() == 2


def test_one_step_one_sequence_one_unit():
    cell = network("rnn", 1, 1)
    spectrum = lyapunov_spectrum(cell, torch.zeros(1, 1, 1))
    z = (cell.bias_ih_l0 + cell.bias_hh_l0)[0]
    expected = (cell.weight_hh_l0[0, 0].abs() / z.cosh() ** 2).log()
    torch.testing.assert_close(spectrum.exponents, expected.detach()[None], atol=1e-14, rtol=0)
    assert spectrum.stderr.isnan().all() and spectrum.clamped == 0
