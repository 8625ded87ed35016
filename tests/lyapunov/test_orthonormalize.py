"""Orthonormalisation by LU and by Cholesky factors, against QR and against each other."""

import pytest
import torch
from torch import nn

from aelle import lyapunov_spectrum
from aelle.lyapunov.interval import IntervalController
from aelle.lyapunov.orthonormalize import (
    CHOLESKY_CAUTION,
    CholeskyFactorizer,
    CompiledFactorizer,
    Factorizer,
    log_diagonal,
)
from reference import assert_promise, by_qr, jacobians, random_products


@pytest.mark.parametrize("factorizer", [Factorizer, CompiledFactorizer, CholeskyFactorizer])
@pytest.mark.parametrize("N, K", [(1, 1), (5, 5), (12, 4), (70, 70)])
def test_factors_are_a_factorisation_with_the_flag_of_the_product(N, K, factorizer):
    A = torch.randn(2, 3, K, N, dtype=torch.float64, generator=torch.Generator().manual_seed(N))
    given, out = A.clone(), torch.empty_like(A)
    factors = factorizer(A)([torch.ones_like(A), given], out)
    U = torch.linalg.lstsq(factors.basis.mT, A.mT).solution
    torch.testing.assert_close(factors.basis.mT @ U, A.mT, atol=1e-11, rtol=0)
    assert U.tril(-1).abs().max() < 1e-11
    torch.testing.assert_close(U.diagonal(0, -2, -1).abs().log(), factors.log_diagonal, atol=1e-9, rtol=0)
    if factorizer is CholeskyFactorizer:
        identity = torch.eye(K, dtype=A.dtype).expand(2, 3, K, K)
        torch.testing.assert_close(factors.basis @ factors.basis.mT, identity, atol=0.5, rtol=0)
    else:
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
def by_lu(monkeypatch) -> list[int]:
    """Spectra as on a device, and a word for each time that LU has to take over."""
    taken, by_lu = [], Factorizer.__call__
    monkeypatch.setattr("aelle.lyapunov.product.factorizer", CholeskyFactorizer)
    monkeypatch.setattr(Factorizer, "__call__", lambda *given: taken.append(1) or by_lu(*given))
    return taken


@pytest.mark.parametrize(
    "over, dtype, bound",
    [("hidden", torch.float64, 1e-6), ("full", torch.float64, 1e-6), ("hidden", torch.float32, 1e-3)],
)
@pytest.mark.parametrize("p", [0.5, 2.5])
def test_spectra_by_cholesky_factors_are_those_of_qr(by_lu, over, dtype, bound, p):
    network = nn.LSTM(8, 32, batch_first=True)
    generator = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        nn.init.uniform_(weight, -p / 32**0.5, p / 32**0.5, generator=generator)
    inputs = torch.rand(6, 40, 8, generator=generator)
    found = lyapunov_spectrum(network, inputs, over=over, dtype=dtype).per_sequence
    assert by_lu == []
    exact = by_qr(jacobians(network.double(), inputs.double(), over == "full"))
    torch.testing.assert_close(found.double(), exact, atol=bound, rtol=0)


@pytest.mark.parametrize("kind", ["spread", "constant", "gaussian", "graded"])
@pytest.mark.parametrize("seed", range(4))
def test_cholesky_factors_keep_the_promise_on_random_products(by_lu, kind, seed):
    assert_promise(random_products(kind, seed))


@pytest.mark.parametrize("seed", range(5000, 5020))
def test_cholesky_factors_keep_the_promise_in_single_precision(by_lu, seed):
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


@pytest.mark.parametrize("dtype, size", [(torch.float32, 1e20), (torch.float64, 1e155)])
def test_the_squares_of_large_numbers_do_not_overflow(by_lu, dtype, size):
    A = torch.randn(1, 2, 9, 12, dtype=dtype, generator=torch.Generator().manual_seed(0))
    one, other = (CholeskyFactorizer(A)([A, A * by], torch.empty_like(A)) for by in (1, size))
    assert by_lu == []
    grown = torch.full_like(one.log_diagonal, size).log()
    torch.testing.assert_close(other.log_diagonal, one.log_diagonal + grown, rtol=1e-6, atol=0)


def test_factors_that_failed_are_tried_ever_more_seldom(by_lu, monkeypatch):
    A = torch.ones(1, 1, 3, 3, dtype=torch.float64)
    factorize, tried = CholeskyFactorizer(A), []
    factors = CholeskyFactorizer.try_factors
    monkeypatch.setattr(CholeskyFactorizer, "try_factors", lambda *given: tried.append(len(by_lu)) or factors(*given))
    for _ in range(16):
        factorize([A, A.clone()], torch.empty_like(A))
    assert tried == [0, 2, 5, 10] and len(by_lu) == 16


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lu_takes_over_where_there_is_no_cholesky_factor(by_lu, dtype):
    A = torch.randn(1, 3, 9, 12, dtype=dtype, generator=torch.Generator().manual_seed(0))
    A[0, 1, 4] = A[0, 1, 3]
    A[0, 2, 4] = 0
    given = A.clone()
    one = CholeskyFactorizer(A)([A, given], torch.empty_like(A))
    assert len(by_lu) == 1
    other = Factorizer(A)([A, A.clone()], torch.empty_like(A))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    assert torch.isinf(one.error[0, 2, 4])


@pytest.mark.parametrize("spoilt", [float("nan"), float("inf")])
def test_what_is_not_finite_leaves_the_other_factors_alone(by_lu, spoilt):
    A = torch.randn(2, 3, 9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sound = CholeskyFactorizer(A)([A, A.clone()], torch.empty_like(A))
    A[0, 1, 4, 2] = spoilt
    found = CholeskyFactorizer(A)([A, A.clone()], torch.empty_like(A))
    assert by_lu == [] and torch.isinf(found.error[0, 1]).all()
    rest = torch.ones(2, 3, dtype=torch.bool)
    rest[0, 1] = False
    torch.testing.assert_close(found.log_diagonal[rest], sound.log_diagonal[rest], rtol=0, atol=1e-12)


@pytest.mark.parametrize("factorizer", [Factorizer, CholeskyFactorizer])
@pytest.mark.parametrize("grading", [0, 6, 12])
def test_the_estimated_error_is_that_of_the_truth(grading, factorizer):
    """In single precision, against double: of matrices whose rows differ by up to 12 nats: in order of magnitude.

    How LAPACK rounds depends on the processor, and one matrix of forty may fare worse.
    """
    A = torch.randn(1, 40, 24, 24, generator=torch.Generator().manual_seed(grading))
    A = A * torch.exp(-grading * torch.linspace(0, 1, 24))
    factors = factorizer(A)([A, A.clone()], torch.empty_like(A))
    double = A.double()
    exact = Factorizer(double)([double, double.clone()], torch.empty_like(double))
    mine = factors.log_diagonal + log_diagonal(factors.basis.double())
    true = (mine - exact.log_diagonal - log_diagonal(exact.basis)).abs().amax(-1)
    estimated = factors.error.amax(-1).double()
    assert (true < 10 * estimated).sum() >= 39 and (true < 50 * estimated).all()
    caution = CHOLESKY_CAUTION if factorizer is CholeskyFactorizer else 1
    assert (estimated < 1000 * caution * true).all()


@pytest.mark.parametrize("factorizer", [Factorizer, CompiledFactorizer])
def test_subnormal_pivots_are_factorised_or_left_to_qr(factorizer):
    """Some processors' LAPACK gives infinite factors for them, of a matrix that is finite."""
    A = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    A = A * torch.logspace(-4, -40, 8)
    factors = factorizer(A)([A, A.clone()], torch.empty_like(A))
    assert factors.basis.isfinite().all() or factors.condition.item() == torch.inf
    assert IntervalController("auto", A).judge(1, factors).kept == 1
