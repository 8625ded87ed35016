"""Orthonormalisation by LU and by Cholesky factors, against QR; what a GPU takes is taken here on a CPU."""

import numpy as np
import pytest
import torch
from torch import nn

from aelle import lyapunov_spectrum
from aelle.lyapunov import orthonormalize, product
from aelle.lyapunov.interval import MAX_LENGTH, IntervalController
from aelle.lyapunov.orthonormalize import CompiledFactorizer, Factorizer, cholesky_qr, householder, log_diagonal
from reference import assert_promise, by_qr, jacobians, network, random_products


@pytest.mark.parametrize("factorizer", [Factorizer, CompiledFactorizer])
@pytest.mark.parametrize("N, K", [(1, 1), (5, 5), (12, 4), (70, 70)])
def test_factors_are_a_factorisation_with_the_flag_of_the_product(N, K, factorizer):
    A = torch.randn(2, 3, K, N, dtype=torch.float64, generator=torch.Generator().manual_seed(N))
    given, out = A.clone(), torch.empty_like(A)
    factors = factorizer(A)([torch.ones_like(A), given], out)
    U = torch.linalg.lstsq(factors.basis.mT, A.mT).solution
    torch.testing.assert_close(factors.basis.mT @ U, A.mT, atol=1e-11, rtol=0)
    assert U.tril(-1).abs().max() < 1e-11
    torch.testing.assert_close(U.diagonal(0, -2, -1).abs().log(), factors.log_diagonal, atol=1e-9, rtol=0)
    assert factors.basis.abs().max() == 1
    torch.testing.assert_close(factors.log_diagonal + log_diagonal(factors.basis), log_diagonal(A), atol=1e-9, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spoilt", [None, 0.0, float("nan"), float("inf"), 1e30])
def test_the_compiled_factorizer_finds_what_the_other_does(dtype, spoilt):
    A = torch.randn(2, 3, 9, 12, dtype=dtype, generator=torch.Generator().manual_seed(0))
    A[1, 2] *= torch.logspace(0, -12, 12, dtype=dtype)
    if spoilt is not None:
        A[0, 1, 4] = spoilt
    one, other = (kind(A)([A, A * 2, A.clone()], torch.empty_like(A)) for kind in (Factorizer, CompiledFactorizer))
    for name in ("log_diagonal", "error", "condition"):
        a, b = getattr(one, name), getattr(other, name)
        torch.testing.assert_close(a, b, rtol=1e-3, atol=0, equal_nan=True, msg=name)
    sound = torch.ones(2, 3, dtype=torch.bool)
    sound[0, 1] = spoilt is None
    assert torch.equal(one.basis[sound], other.basis[sound])


@pytest.fixture
def by_device(monkeypatch) -> None:
    """Spectra as on a GPU."""
    monkeypatch.setattr("aelle.lyapunov.product.factorizer", Factorizer)
    monkeypatch.setattr("aelle.lyapunov.product.orthonormalize", cholesky_qr)
    monkeypatch.setattr("aelle.lyapunov.product.log_diagonal", lambda A: cholesky_qr(A)[1])


@pytest.fixture
def by_householder(monkeypatch) -> list[int]:
    """How many matrices `cholesky_qr` has left to Householder's QR each time."""
    left, qr = [], orthonormalize.householder
    monkeypatch.setattr(orthonormalize, "householder", lambda A: left.append(len(A)) or qr(A))
    return left


@pytest.mark.parametrize(
    "over, dtype, bound",
    [("hidden", torch.float64, 1e-6), ("full", torch.float64, 1e-6), ("hidden", torch.float32, 1e-3)],
)
@pytest.mark.parametrize("p", [0.5, 2.5])
def test_spectra_on_a_device_are_those_of_qr(by_device, over, dtype, bound, p):
    network = nn.LSTM(8, 32, batch_first=True)
    generator = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        nn.init.uniform_(weight, -p / 32**0.5, p / 32**0.5, generator=generator)
    inputs = torch.rand(6, 40, 8, generator=generator)
    found = lyapunov_spectrum(network, inputs, over=over, dtype=dtype).per_sequence
    exact = by_qr(jacobians(network.double(), inputs.double(), over == "full"))
    torch.testing.assert_close(found.double(), exact, atol=bound, rtol=0)


@pytest.mark.parametrize("kind", ["spread", "constant", "gaussian", "graded"])
@pytest.mark.parametrize("seed", range(4))
def test_a_device_keeps_the_promise_on_random_products(by_device, kind, seed):
    assert_promise(random_products(kind, seed))


@pytest.mark.parametrize("seed", range(5000, 5020))
def test_a_device_keeps_the_promise_in_single_precision(by_device, seed):
    """Products of matrices with singular values from 1 to 1e-3, which cost an interval all the digits that it has."""
    generator = torch.Generator().manual_seed(seed)

    def turn() -> torch.Tensor:
        return torch.linalg.qr(torch.randn(40, 24, 24, dtype=torch.float64, generator=generator)).Q

    J = turn() * torch.logspace(0, -3, 24, dtype=torch.float64) @ turn()
    start = torch.zeros(24)
    found = lyapunov_spectrum(
        lambda x, s: x.view(24, 24) @ s, J.flatten(1)[None].float(), state=start, dtype=torch.float32
    )
    exact = by_qr(J[:, None].float().double())
    by_each = lyapunov_spectrum(
        lambda x, s: x.view(24, 24) @ s,
        J.flatten(1)[None].float(),
        state=start,
        dtype=torch.float32,
        orthonormalize_every=1,
    )
    bound = 1e-3 + (by_each.per_sequence.double() - exact).abs().max()
    assert (found.per_sequence.double() - exact).abs().max() < bound


@pytest.mark.parametrize("dtype, eps", [(torch.float64, 1e-15), (torch.float32, 1e-6)])
@pytest.mark.parametrize("condition", [1, 1e4, 1e8, 1e12])
def test_cholesky_factors_make_the_qr_of_any_well_conditioned_matrix(by_householder, condition, dtype, eps):
    A = torch.randn(2, 5, 20, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    U, _, V = torch.linalg.svd(A, full_matrices=False)
    A = (U * torch.logspace(0, -np.log10(condition), 20, dtype=torch.float64) @ V).to(dtype)
    Q, logs = cholesky_qr(A)
    assert by_householder == []
    identity = torch.eye(20, dtype=dtype).expand(2, 5, 20, 20)
    torch.testing.assert_close(Q @ Q.mT, identity, atol=20 * eps, rtol=0)
    exact = householder(A.double())[1]
    torch.testing.assert_close(logs, exact, atol=1e-14 * condition + 1e-13, rtol=0)
    R = Q.double() @ A.double().mT
    assert R.tril(-1).abs().max() < 20 * eps


@pytest.mark.parametrize("condition", [3e15, 1e16, 3e16, 1e17])
def test_nearly_singular_matrices_have_a_diagonal_too(condition):
    """Their first Cholesky factor fails for some, and with a negative diagonal where it gave up."""
    A = torch.randn(200, 24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    U, _, V = torch.linalg.svd(A, full_matrices=False)
    A = U * torch.logspace(0, -np.log10(condition), 24, dtype=torch.float64) @ V
    Q, logs = cholesky_qr(A)
    assert Q.isfinite().all() and not logs.isnan().any()
    torch.testing.assert_close(Q @ Q.mT, torch.eye(24, dtype=torch.float64).expand_as(A), atol=1e-12, rtol=0)
    # The last direction is that of rounding errors; the others are known to about 1e-16 × what is above them.
    torch.testing.assert_close(logs[:, :16], householder(A)[1][:, :16], atol=1e-3, rtol=0)


def test_a_device_measures_a_saturated_gru(by_device):
    """Gates that are shut make its Jacobians nearly singular."""
    torch.manual_seed(0)
    net = nn.GRU(8, 32, batch_first=True)
    for parameter in net.parameters():
        nn.init.uniform_(parameter, -8, 8)
    x = torch.rand(20, 28, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = lyapunov_spectrum(net, x, orthonormalize_every=1)
    assert not found.per_sequence.isnan().any()


@pytest.mark.parametrize("dtype, size", [(torch.float32, 1e20), (torch.float64, 1e155)])
def test_the_squares_of_large_numbers_do_not_overflow(dtype, size):
    A = torch.randn(2, 9, 12, dtype=dtype, generator=torch.Generator().manual_seed(0))
    grown = torch.full((2, 9), size, dtype=torch.float64).log()
    torch.testing.assert_close(cholesky_qr(A * size)[1], cholesky_qr(A)[1] + grown, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matrices_without_cholesky_factors_are_left_to_householder(by_householder, dtype):
    A = torch.randn(3, 9, 12, dtype=dtype, generator=torch.Generator().manual_seed(0))
    A[1, 4] = 0
    (Q, logs), (Q_by_qr, logs_by_qr) = cholesky_qr(A), householder(A)
    assert by_householder == [1] and logs[1, 4] < -30
    torch.testing.assert_close(Q[1], Q_by_qr[1], rtol=0, atol=0)
    torch.testing.assert_close(logs, logs_by_qr, rtol=0, atol=1e-5)


@pytest.mark.parametrize("spoilt", [float("nan"), float("inf")])
def test_what_is_not_finite_leaves_the_others_alone(by_householder, spoilt):
    A = torch.randn(6, 9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sound = cholesky_qr(A)[1]
    A[4, 4, 2] = spoilt
    found = cholesky_qr(A)[1]
    rest = torch.arange(6) != 4
    assert by_householder == [] and found[4].isnan().any()
    torch.testing.assert_close(found[rest], sound[rest], rtol=0, atol=1e-12)


@pytest.mark.parametrize("grading", [0, 6, 12])
def test_the_estimated_error_is_that_of_the_truth(grading):
    """In single precision, against double: of matrices whose rows differ by up to 12 nats: in order of magnitude.

    How LAPACK rounds depends on the processor, and one matrix of forty may fare worse.
    """
    A = torch.randn(1, 40, 24, 24, generator=torch.Generator().manual_seed(grading))
    A = A * torch.exp(-grading * torch.linspace(0, 1, 24))
    factors = Factorizer(A)([A, A.clone()], torch.empty_like(A))
    double = A.double()
    exact = Factorizer(double)([double, double.clone()], torch.empty_like(double))
    mine = factors.log_diagonal + log_diagonal(factors.basis.double())
    true = (mine - exact.log_diagonal - log_diagonal(exact.basis)).abs().amax(-1)
    estimated = factors.error.amax(-1).double()
    assert (true < 10 * estimated).sum() >= 39 and (true < 50 * estimated).all()
    assert (estimated < 1000 * true).all()


@pytest.mark.parametrize("factorizer", [Factorizer, CompiledFactorizer])
def test_subnormal_pivots_are_factorised_or_left_to_qr(factorizer):
    """Some processors' LAPACK gives infinite factors for them, of a matrix that is finite."""
    A = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    A = A * torch.logspace(-4, -40, 8)
    factors = factorizer(A)([A, A.clone()], torch.empty_like(A))
    assert factors.basis.isfinite().all() or factors.condition.item() == torch.inf
    assert IntervalController("auto", A, A.dtype).judge(1, factors).kept == 1


def test_factorisations_by_qr_do_not_add_to_the_matrices_in_memory(monkeypatch):
    pools, made = [], product.Buffers.__init__
    monkeypatch.setattr(product.Buffers, "__init__", lambda pool, like: (made(pool, like), pools.append(pool))[0])
    net = network("lstm", 2, 12, scale=2)
    lyapunov_spectrum(net, torch.rand(2, 300, 2), over="full")
    assert len(pools) == 1 and len(pools[0].free) <= MAX_LENGTH + 3
