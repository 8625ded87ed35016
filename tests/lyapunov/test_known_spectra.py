"""Spectra that others derived, by mathematics or by long computation."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import digamma

from aelle import lyapunov_spectrum
from reference import henon, lorenz_step

WITHIN = {1: 1e-12, "auto": 1e-6}
"""Nats per step: rounding, and what the chosen interval promises."""


@pytest.mark.parametrize("every", WITHIN)
def test_a_constant_matrix_has_the_logarithms_of_its_eigenvalues(every):
    generator = torch.Generator().manual_seed(0)
    S = torch.randn(5, 5, dtype=torch.float64, generator=generator)
    A = S @ torch.diag(torch.tensor([2.0, -1.3, 0.7, 0.2, 0.01], dtype=torch.float64)) @ torch.linalg.inv(S)
    spectrum = lyapunov_spectrum(
        lambda x, s: A @ s, state=torch.zeros(5), steps=60, warmup=200, orthonormalize_every=every
    )
    expected = torch.tensor([2.0, 1.3, 0.7, 0.2, 0.01], dtype=torch.float64).log()
    torch.testing.assert_close(spectrum.exponents, expected, atol=WITHIN[every], rtol=0)


def test_a_diagonal_map_is_exact_however_far_its_exponents_are_apart():
    rates = torch.tensor([3.0, 0.0, -5.0, -14.0, -25.0], dtype=torch.float64)
    spectrum = lyapunov_spectrum(lambda x, s: rates.exp() * s, state=torch.zeros(5), steps=7)
    torch.testing.assert_close(spectrum.exponents, rates, atol=1e-12, rtol=0)
    assert spectrum.clamped == 0


def test_an_orthogonal_map_neither_stretches_nor_contracts():
    Q = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))).Q
    spectrum = lyapunov_spectrum(lambda x, s: Q @ s, state=torch.ones(6), steps=50)
    torch.testing.assert_close(spectrum.exponents, torch.zeros(6, dtype=torch.float64), atol=1e-13, rtol=0)


@pytest.mark.parametrize("every", WITHIN)
def test_the_cat_map(every):
    """λ = ± 2 log of the golden mean (Arnold)."""
    A = torch.tensor([[2.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    spectrum = lyapunov_spectrum(
        lambda x, s: (A @ s) % 1, state=torch.tensor([0.1, 0.3]), steps=100, warmup=30, orthonormalize_every=every
    )
    golden = 2 * math.log((1 + 5**0.5) / 2)
    expected = torch.tensor([golden, -golden], dtype=torch.float64)
    torch.testing.assert_close(spectrum.exponents, expected, atol=WITHIN[every], rtol=0)
    assert spectrum.entropy_rate.item() == pytest.approx(golden, abs=WITHIN[every])
    assert spectrum.kaplan_yorke_dimension.item() == pytest.approx(2, abs=WITHIN[every])


def test_the_logistic_map_at_four():
    """λ = log 2 (Ulam and von Neumann), from many starts that follow its invariant density."""
    u = torch.rand(2000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    state = (torch.pi * u / 2).sin() ** 2
    spectrum = lyapunov_spectrum(lambda x, s: 4 * s * (1 - s), state=state, steps=40)
    assert abs(spectrum.maximum.item() - math.log(2)) < 4 * spectrum.stderr.item()
    assert spectrum.stderr.item() < 5e-3


def test_a_map_that_branches_on_values():
    """The tent map of slope 1.9 stretches by log 1.9 everywhere."""
    spectrum = lyapunov_spectrum(
        lambda x, s: 1.9 * s if s[0] < 0.5 else 1.9 * (1 - s), state=torch.tensor([[0.123], [0.7]]), steps=30
    )
    assert spectrum.maximum.item() == pytest.approx(math.log(1.9), abs=1e-12)


@pytest.mark.parametrize("every", WITHIN)
def test_the_henon_map(every):
    """λ_1 = 0.41922 (Sprott 2003); λ_1 + λ_2 = log 0.3 exactly; Kaplan–Yorke dimension 1.25827."""
    start = torch.rand(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.1
    spectrum = lyapunov_spectrum(henon, state=start, steps=500, warmup=50, orthonormalize_every=every)
    assert spectrum.exponents.sum().item() == pytest.approx(math.log(0.3), abs=WITHIN[every])
    assert abs(spectrum.maximum.item() - 0.41922) < 4 * spectrum.stderr[0].item() + 1e-5
    assert spectrum.stderr[0].item() < 2e-3
    assert spectrum.kaplan_yorke_dimension.item() == pytest.approx(1.25827, abs=5e-3)


def test_the_lorenz_system_through_a_runge_kutta_step():
    """λ = 0.9056, 0, −14.5723 per unit of time (Sprott 2003); their sum is −(10 + 1 + 8/3), of which the
    Runge–Kutta step itself loses 1e-4; D_KY = 2.062.
    """
    start = torch.randn(300, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + torch.tensor(
        [0, 0, 25]
    )
    spectrum = lyapunov_spectrum(lorenz_step, state=start, steps=400, warmup=400)
    rates, error = spectrum.exponents / 0.01, spectrum.stderr / 0.01
    assert rates.sum().item() == pytest.approx(-(11 + 8 / 3), abs=2e-4)
    assert abs(rates[0].item() - 0.9056) < 4 * error[0].item() and error[0].item() < 0.03
    assert abs(rates[1].item()) < 4 * error[1].item() + 0.02
    assert spectrum.kaplan_yorke_dimension.item() == pytest.approx(2.062, abs=1e-2)


def test_a_scalar_tanh_map_settles_on_its_fixed_point():
    """h' = tanh(w h): below 1 the exponent is log w; above, log w (1 − h*²) at h* = tanh(w h*)."""
    for w in (0.3, 0.9, 1.5, 3.0):
        h = 1.0
        for _ in range(2000):
            h = math.tanh(w * h)
        cell = torch.nn.RNNCell(1, 1)
        torch.nn.init.constant_(cell.weight_hh, w)
        for p in (cell.weight_ih, cell.bias_ih, cell.bias_hh):
            torch.nn.init.zeros_(p)
        spectrum = lyapunov_spectrum(cell, torch.zeros(1, 460, 1), state=torch.ones(1), warmup=400)
        w32 = cell.weight_hh.item()
        expected = math.log(w32) if w < 1 else math.log(w32 / math.cosh(w32 * h) ** 2)
        assert spectrum.maximum.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("over_dtype", [torch.float64, torch.float32])
def test_products_of_gaussian_matrices_follow_newman(over_dtype):
    """λ_i = ½ (log 2σ² + ψ((N − i + 1) / 2)) for entries N(0, σ²) (Newman 1986); their variance is ψ'/4 per step."""
    N, B, T, sigma = 12, 200, 40, 0.3
    generator = torch.Generator().manual_seed(3)
    matrices = sigma * torch.randn(B, T, N * N, dtype=torch.float64, generator=generator)
    spectrum = lyapunov_spectrum(
        lambda x, s: x.view(N, N) @ s, matrices, state=torch.zeros(N), warmup=10, dtype=over_dtype
    )
    expected = 0.5 * (math.log(2 * sigma**2) + digamma((N - np.arange(N)) / 2))
    z = (spectrum.exponents.double().numpy() - expected) / spectrum.stderr.double().numpy()
    assert np.abs(z).max() < 4
    assert spectrum.stderr.max() < 0.02


def mean_field_variance(g: float) -> float:
    """The fixed point Δ = g² E[tanh²(√Δ z)], z ~ N(0, 1), of h' = W tanh h (Sompolinsky et al. 1988; discrete time)."""
    variance = 1.0
    for _ in range(400):
        variance = g**2 * gaussian_mean(lambda h: math.tanh(h) ** 2, variance)
    return variance


def gaussian_mean(f, variance: float) -> float:
    density = 1 / math.sqrt(2 * math.pi)
    return quad(lambda z: density * math.exp(-(z**2) / 2) * f(math.sqrt(variance) * z), -8, 8)[0]


@pytest.mark.parametrize("g", [0.5, 2.0, 5.0])
def test_random_tanh_networks_follow_mean_field_theory(g):
    """Largest exponent ½ log(g² E[tanh'²]) above and at g below the transition; mean exponent log g − ½ + E[log tanh'].

    The mean is exact in the limit: log|det W| = ½ Σ ψ(i/2) + N log(g √(2/N)) for Gaussian W. For N = 200 the largest
    deviates by some hundredths, so it is held to 0.06; the mean, an average over all units, to 0.03.
    """
    N, B = 200, 2
    generator = torch.Generator().manual_seed(5)
    cell = torch.nn.RNNCell(1, N).double()
    torch.nn.init.zeros_(cell.weight_ih), torch.nn.init.zeros_(cell.bias_ih), torch.nn.init.zeros_(cell.bias_hh)
    with torch.no_grad():
        cell.weight_hh.copy_(g / N**0.5 * torch.randn(N, N, dtype=torch.float64, generator=generator))
    start = torch.randn(B, N, dtype=torch.float64, generator=generator) * 0.5
    spectrum = lyapunov_spectrum(cell, torch.zeros(B, 160, 1), state=start, warmup=60)
    log_det_W = math.log(g * math.sqrt(2 / N)) + 0.5 * digamma(np.arange(1, N + 1) / 2).mean()
    if g < 1:
        largest, mean = math.log(g), log_det_W
    else:
        variance = mean_field_variance(g)
        largest = 0.5 * math.log(g**2 * gaussian_mean(lambda h: math.cosh(h) ** -4, variance))
        mean = log_det_W + gaussian_mean(lambda h: -2 * math.log(math.cosh(h)), variance)
    assert spectrum.maximum.item() == pytest.approx(largest, abs=0.06)
    assert spectrum.exponents.mean().item() == pytest.approx(mean, abs=0.03)
