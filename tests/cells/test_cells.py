"""Cells and stacks against PyTorch's own networks and automatic differentiation."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from aelle.cells import CELLS, RNN, Cell, Weights, fused, gru, lstm, lstm_states_cuda
from aelle.cells.lstm_states import LSTMStates
from aelle.cells.lstm_states_cuda import CUDALSTMStates
from aelle.cells.stack import stack_of
from aelle.lyapunov.driven_stack import DrivenStack
from devices import NEEDS_GPU
from reference import NETWORKS, jacobian_by_autograd, network


def jacobian_of_ours(net: nn.RNNBase, x: torch.Tensor, flat: torch.Tensor, full: bool) -> torch.Tensor:
    system = DrivenStack(stack_of(net), x[None, None], full)
    identity = torch.eye(system.N, dtype=torch.float64)[None, None]
    out = torch.empty_like(identity)
    system.advance(0, system.start(flat[None, None]), identity, out)
    return out[0, 0].mT


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(sorted(NETWORKS)),
    I=st.integers(1, 4),
    H=st.integers(1, 5),
    layers=st.integers(1, 3),
    bias=st.booleans(),
    scale=st.sampled_from([0.3, 1.0, 4.0]),
    seed=st.integers(0, 1000),
)
def test_the_analytic_jacobian_is_the_automatic_one(kind, I, H, layers, bias, scale, seed):
    net = network(kind, I, H, layers, seed, scale, bias=bias)
    parts = 2 if kind == "lstm" else 1
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(I, dtype=torch.float64, generator=generator)
    flat = torch.rand(layers * parts * H, dtype=torch.float64, generator=generator) - 0.5
    automatic = jacobian_by_autograd(net, x, flat)
    torch.testing.assert_close(jacobian_of_ours(net, x, flat, full=True), automatic, atol=1e-12, rtol=1e-9)
    hidden = [l * parts * H + i for l in range(layers) for i in range(H)]
    torch.testing.assert_close(
        jacobian_of_ours(net, x, flat, full=False), automatic[hidden][:, hidden], atol=1e-12, rtol=1e-9
    )


@pytest.mark.parametrize("layers", [1, 2])
def test_relu_networks_too(layers):
    net = network("rnn", 3, 5, layers, nonlinearity="relu")
    assert stack_of(net).cell == RNN(relu=True)
    x, flat = torch.randn(3, dtype=torch.float64), torch.rand(layers * 5, dtype=torch.float64)
    torch.testing.assert_close(jacobian_of_ours(net, x, flat, full=True), jacobian_by_autograd(net, x, flat))


@pytest.mark.parametrize("kind", sorted(NETWORKS))
@pytest.mark.parametrize("layers", [1, 3])
def test_states_follow_pytorch_through_a_sequence(kind, layers):
    net = network(kind, 3, 4, layers)
    x = torch.randn(5, 12, 3, dtype=torch.float64)
    system = DrivenStack(stack_of(net), x, full=True)
    D = torch.zeros(1, 5, 1, system.N, dtype=torch.float64)
    state = system.start(None)
    with torch.no_grad():
        expected = net(x)[0]
        for t in range(12):
            state = system.advance(t, state, D, torch.empty_like(D))
            torch.testing.assert_close(state[-1][0][0], expected[:, t], atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("kind", sorted(NETWORKS))
def test_a_step_and_its_linearisation_agree(kind):
    """On the state, of which both give the next one."""
    cell, (weights,) = CELLS[kind], stack_of(network(kind, 3, 4)).layers
    x = torch.randn(1, 6, 3, dtype=torch.float64)
    state = tuple(torch.rand(1, 6, 4, dtype=torch.float64) for _ in range(cell.parts))
    linearised, _ = cell.linearize(weights, x, state, full=True)
    for one, other in zip(cell.step(weights, x, state), linearised, strict=True):
        torch.testing.assert_close(one, other, atol=1e-14, rtol=1e-12)


def test_slopes_of_saturated_gates_keep_their_digits():
    """At z = ±40 σ' is 4e-18, which 1 − σ(z) cannot hold; the exact value is σ(z) σ(−z)."""
    net = network("rnn", 1, 1)
    with torch.no_grad():
        net.weight_hh_l0.fill_(1), net.weight_ih_l0.fill_(1), net.bias_ih_l0.zero_(), net.bias_hh_l0.zero_()
    for z in (20.0, -20.0, 40.0):
        J = jacobian_of_ours(net, torch.tensor([z], dtype=torch.float64), torch.zeros(1, dtype=torch.float64), True)
        exact = 1 / torch.tensor(z, dtype=torch.float64).cosh() ** 2
        torch.testing.assert_close(J[0, 0], exact, atol=0, rtol=1e-12)


def test_a_layer_below_is_not_moved_by_the_one_above():
    """The stacked Jacobian is block lower triangular."""
    J = jacobian_of_ours(
        network("gru", 2, 3, layers=3), torch.ones(2, dtype=torch.float64), torch.ones(9).double(), True
    )
    for l in range(3):
        assert (J[3 * l : 3 * l + 3, 3 * l + 3 :] == 0).all()
        assert (J[3 * l : 3 * l + 3, : 3 * l + 3] != 0).all()


@pytest.mark.parametrize(
    "net, named",
    [
        (nn.LSTM(2, 3, bidirectional=True), "bidirectional LSTM"),
        (nn.GRU(2, 3, bidirectional=True), "bidirectional GRU"),
        (nn.LSTM(2, 3, proj_size=2), "proj_size=2"),
    ],
)
def test_what_is_not_covered_is_refused_by_name(net, named):
    with pytest.raises(ValueError, match=named):
        stack_of(net)


@pytest.mark.parametrize("T", [1, 2, 5])
def test_the_lstms_backward_pass_is_the_derivative_of_its_forward_pass(T):
    """By finite differences, with a gradient at every step, and against autograd through the steps."""
    generator = torch.Generator().manual_seed(T)

    def tensor(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()

    arguments = tensor(2, 3, T, 2), tensor(2, 16, 2), tensor(2, 16, 4), tensor(2, 16)
    assert torch.autograd.gradcheck(lambda *a: LSTMStates.apply(*a, True), arguments)
    x, w_ih, w_hh, b = arguments
    weights = Weights(w_ih, w_hh, b, torch.zeros_like(b))
    ours, by_steps = CELLS["lstm"].states(weights, x), Cell.states(CELLS["lstm"], weights, x)
    torch.testing.assert_close(ours, by_steps, atol=1e-13, rtol=1e-11)
    weight = torch.randn(ours.shape, dtype=torch.float64, generator=generator)
    for one, other in zip(
        torch.autograd.grad((ours * weight).sum(), arguments),
        torch.autograd.grad((by_steps * weight).sum(), arguments),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(CELLS["lstm"].states(weights, x), ours, atol=0, rtol=0)


def gates(driven, recurrent, c):
    """What PyTorch's kernel for GPUs computes."""
    i, f, g, o = (driven + recurrent).chunk(4, -1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    new_c = f * c + i * g
    return o * new_c.tanh(), new_c, torch.cat([i, f, g, o], -1)


def gates_backward(dh, dc, c, new_c, gates, _):
    i, f, g, o = gates.chunk(4, -1)
    tanh_c = new_c.tanh()
    d = dh * o * (1 - tanh_c**2) + (0 if dc is None else dc)
    dz = d * g * i * (1 - i), d * c * f * (1 - f), d * i * (1 - g**2), dh * tanh_c * o * (1 - o)
    return torch.cat(dz, -1), d * f, None


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_GPU)])
@pytest.mark.parametrize("T", [1, 2, 5])
def test_the_lstms_states_on_a_gpu_are_those_of_a_cpu(monkeypatch, device, T):
    """On a CPU with the formulas of the kernels."""
    if device == "cpu":
        kernels = {fused.LSTM_GATES: gates, fused.LSTM_GATES_BACKWARD: gates_backward}
        monkeypatch.setattr(lstm_states_cuda, "kernel", kernels.get)
    generator = torch.Generator().manual_seed(T)
    shapes = (2, 3, T, 2), (2, 16, 2), (2, 16, 4), (2, 16)
    arguments = [torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_() for shape in shapes]
    there = [a.detach().to(device).requires_grad_() for a in arguments]
    ours, other = LSTMStates.apply(*arguments, True), CUDALSTMStates.apply(*there, True)
    torch.testing.assert_close(other.cpu(), ours, atol=1e-13, rtol=1e-11)
    weight = torch.randn(ours.shape, dtype=torch.float64, generator=generator)
    for one, two in zip(
        torch.autograd.grad((ours * weight).sum(), arguments),
        torch.autograd.grad((other * weight.to(device)).sum(), there),
        strict=True,
    ):
        torch.testing.assert_close(two.cpu(), one, atol=1e-12, rtol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(CUDALSTMStates.apply(*there, False), other, atol=0, rtol=0)


@NEEDS_GPU
@pytest.mark.parametrize("name", list(CELLS))
def test_a_step_on_a_gpu_is_that_of_a_cpu(name):
    cell, generator = CELLS[name], torch.Generator().manual_seed(0)

    def found(device: str) -> list[torch.Tensor]:
        generator.manual_seed(0)
        shapes = (2, cell.gates * 4, 3), (2, cell.gates * 4, 4), (2, cell.gates * 4), (2, cell.gates * 4), (2, 5, 6, 3)
        tensors = [torch.randn(shape, dtype=torch.float64, generator=generator).to(device) for shape in shapes]
        *weights, x = [tensor.requires_grad_() for tensor in tensors]
        h = Cell.states(cell, Weights(*weights), x)
        return [h, *torch.autograd.grad(h.square().sum(), tensors)]

    for one, other in zip(found("cpu"), found("cuda"), strict=True):
        torch.testing.assert_close(other.cpu(), one, atol=1e-11, rtol=1e-10)


def tensors_of(cell: Cell) -> tuple[Weights, torch.Tensor, tuple[torch.Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    shapes = (2, cell.gates * 4, 3), (2, cell.gates * 4, 4), (2, cell.gates * 4), (2, cell.gates * 4), (2, 5, 3)
    *weights, x = [torch.randn(shape, generator=generator) for shape in shapes]
    return Weights(*weights), x, tuple(torch.randn(2, 5, 4, generator=generator) for _ in range(cell.parts))


def gru_gates(driven, recurrent, h):
    """What PyTorch's kernel for GPUs computes."""
    (a_r, a_z, a_n), (b_r, b_z, b_n) = driven.chunk(3, -1), recurrent.chunk(3, -1)
    n, z = (a_n + (a_r + b_r).sigmoid() * b_n).tanh(), (a_z + b_z).sigmoid()
    return (1 - z) * n + z * h, z


@pytest.mark.parametrize("kernels", [False, True])
@pytest.mark.parametrize("name", list(CELLS))
def test_the_state_keeps_its_precision_within_autocast(monkeypatch, name, kernels):
    """By the formulas, and by kernels, which autocast would give half precision."""
    cell = CELLS[name]
    weights, x, state = tensors_of(cell)
    exact = cell.step(weights, x, state)
    if kernels:

        def asked(name, _):
            of_name = {fused.LSTM_GATES: gates, fused.GRU_GATES: gru_gates}[name]

            def single(*tensors):
                assert all(t.dtype == torch.float32 for t in tensors) and not torch.is_autocast_enabled("cpu")
                return of_name(*tensors)

            return single

        for module in (gru, lstm):
            monkeypatch.setattr(module, "kernel_for", asked)
        for one, other in zip(exact, cell.step(weights, x, state), strict=True):
            torch.testing.assert_close(other, one, atol=1e-6, rtol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        found = cell.step(weights, x, state)
    for one, other in zip(exact, found, strict=True):
        assert other.dtype == torch.float32 or isinstance(cell, RNN)
        torch.testing.assert_close(other.float(), one, atol=0.1, rtol=0.1)


def test_the_kernels_are_looked_up_when_they_are_used():
    assert fused.kernel("_thnn_no_such_kernel") is None
    for name in (fused.GRU_GATES, fused.LSTM_GATES, fused.LSTM_GATES_BACKWARD):
        assert fused.kernel(name) is not None, "this PyTorch has them"
