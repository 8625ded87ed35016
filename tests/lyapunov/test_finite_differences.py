"""A derivative that is not that of the step is refused; kinks, jumps, noise and flat places are not."""

import numpy as np
import pytest
import torch
from torch import nn

from aelle import lyapunov_spectrum
from reference import henon

W = torch.tensor([[0.3, -0.8, 0.1], [0.5, 0.2, -0.4], [-0.2, 0.6, 0.7]], dtype=torch.float64)
STATE = torch.tensor([0.1, -0.2, 0.3])


class Reservoir(nn.Module):
    @torch.no_grad()
    def forward(self, x, h):
        return 0.7 * h + 0.3 * torch.tanh(W.to(h) @ h)


HIDDEN = {
    "no_grad": Reservoir(),
    "detach": lambda _, h: torch.tanh(W.to(h) @ h.detach()),
    "a part detached": lambda _, h: 0.5 * h + torch.tanh(W.to(h) @ h.detach()),
    "a part by NumPy": lambda _, h: 0.5 * h + torch.as_tensor(np.tanh(W.numpy() @ h.detach().numpy())).to(h),
    "a small part": lambda _, h: 0.9 * h + 0.1 * torch.tanh(W.to(h) @ h.data),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("start", [STATE, torch.zeros(3)], ids=["off zero", "at zero"])
@pytest.mark.parametrize("step", HIDDEN.values(), ids=HIDDEN)
def test_a_part_that_is_not_differentiated_is_refused(step, start, dtype):
    with pytest.raises(ValueError, match=r"step is not its own|cannot be differentiated"):
        lyapunov_spectrum(step, state=start, steps=100, dtype=dtype)


def test_of_many_units_too():
    N = 600
    W = torch.randn(N, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / N**0.5
    step = lambda _, h: 0.5 * h + torch.tanh(W @ h.detach())  # noqa: E731
    with pytest.raises(ValueError, match="step is not its own"):
        lyapunov_spectrum(step, state=torch.zeros(N), steps=20, k=3)


def test_a_wrong_jacobian_is_refused_and_a_right_one_is_not():
    def jacobian(a):
        return lambda _, s: torch.stack(
            [torch.stack([a * s[0], torch.ones_like(s[0])]), torch.tensor([0.3, 0.0]).to(s)]
        )

    start = torch.tensor([0.1, 0.1])
    right = lyapunov_spectrum(henon, state=start, steps=200, jacobian=jacobian(-2.8))
    assert torch.allclose(right.exponents, lyapunov_spectrum(henon, state=start, steps=200).exponents)
    with pytest.raises(ValueError, match="jacobian is not the derivative of step"):
        lyapunov_spectrum(henon, state=start, steps=200, jacobian=jacobian(-2.0))


ODD = {
    "a kink at the start": lambda _, h: torch.relu(W.to(h) @ h) - 0.1 * h,
    "jumps": lambda _, h: torch.remainder(2 * h + 0.1, 1),
    "a tent": lambda _, h: torch.where(h < 0.4, h / 0.4, (1 - h) / 0.6),
    "saturated": lambda _, h: torch.tanh(1e4 * (W.to(h) @ h + 1)),
    "large": lambda _, h: 1e6 * torch.sin(1e-6 * (W.to(h) @ h)) + 1e3,
    "small": lambda _, h: 1e-9 * torch.tanh(1e9 * (W.to(h) @ h)),
    "steep": lambda _, h: torch.sin(1e4 * (W.to(h) @ h)),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("start", [STATE, torch.zeros(3), 300 * STATE], ids=["off zero", "at zero", "far"])
@pytest.mark.parametrize("name", ODD)
def test_steps_with_odd_derivatives_are_measured(name, start, dtype):
    spectrum = lyapunov_spectrum(ODD[name], state=start, steps=50, dtype=dtype)
    assert not spectrum.exponents.isnan().any()


def test_noise_is_the_same_for_values_and_derivatives():
    step = lambda _, h: torch.tanh(W.to(h) @ h * (1 + torch.rand_like(h)))  # noqa: E731
    found = lyapunov_spectrum(step, state=STATE, steps=50, stochastic=True, generator=torch.Generator().manual_seed(0))
    assert found.exponents.isfinite().all()
