"""Networks to try, and what the mathematics says of them, done the plain way: Jacobians, QR at every step."""

import mpmath
import torch
from torch import nn

from aelle import lyapunov_spectrum
from aelle.cells.stack import stack_of
from aelle.lyapunov.driven_stack import DrivenStack

NETWORKS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


def network(kind: str, I: int, H: int, layers: int = 1, seed: int = 0, scale: float = 1.0, **options) -> nn.RNNBase:
    torch.manual_seed(seed)
    net = NETWORKS[kind](I, H, num_layers=layers, batch_first=True, dtype=torch.float64, **options)
    for p in net.parameters():
        nn.init.normal_(p, std=scale)
    return net


def jacobian_by_autograd(net: nn.RNNBase, x: torch.Tensor, flat: torch.Tensor) -> torch.Tensor:
    """∂(everything carried)/∂(everything carried), layer by layer, h before c, for one sequence."""
    parts, H = (2 if isinstance(net, nn.LSTM) else 1), net.hidden_size

    def step(flat):
        layers = flat.view(net.num_layers, parts, 1, H)
        carried = tuple(layers[:, p].contiguous() for p in range(parts))
        _, new = net(x[None, None], carried if parts == 2 else carried[0])
        return torch.stack(new if parts == 2 else (new,), 1).flatten()

    return torch.autograd.functional.jacobian(step, flat)


def jacobians(net: nn.RNNBase, x: torch.Tensor, full: bool) -> torch.Tensor:
    """[T, B, N, N] along the trajectories from zero, in float64 whatever the precision of the network."""
    system = DrivenStack(stack_of(net), x, full)
    identity = torch.eye(system.N, dtype=torch.float64).repeat(1, len(x), 1, 1)
    state, J = system.start(None), []
    with torch.no_grad():
        for t in range(x.shape[1]):
            out = torch.empty_like(identity)
            state = system.advance(t, state, identity, out)
            J.append(out[0].mT)
    return torch.stack(J)


def by_qr(J: torch.Tensor, warmup: int = 0) -> torch.Tensor:
    """[B, N], with a QR at every step, as the definition has it."""
    Q, total = torch.eye(J.shape[-1], dtype=J.dtype).expand_as(J[0]), 0
    for t, J_t in enumerate(J):
        Q, R = torch.linalg.qr(J_t @ Q)
        if t >= warmup:
            total = total + R.diagonal(0, -2, -1).abs().log()
    return total / (len(J) - warmup)


def by_many_digits(J: torch.Tensor) -> torch.Tensor:
    """[N] of one sequence, by Gram–Schmidt in 60-digit arithmetic."""
    with mpmath.workdps(60):
        N = J.shape[-1]
        basis, total = [mpmath.matrix([int(i == j) for i in range(N)]) for j in range(N)], [mpmath.mpf(0)] * N
        for J_t in J:
            A, done = mpmath.matrix(J_t.tolist()), []
            for j, column in enumerate(basis):
                column = A * column
                for q in done:
                    column = column - q * mpmath.fdot(q, column)
                size = mpmath.norm(column)
                total[j] += mpmath.log(size)
                done.append(column / size)
            basis = done
        return torch.tensor([float(s / len(J)) for s in total], dtype=torch.float64)


def assert_promise(J: torch.Tensor) -> None:
    """The chosen intervals give the exponents of a QR at every step, for products of J [B, T, N, N]."""
    N = J.shape[-1]
    arguments = dict(network=lambda x, s: x.view(N, N) @ s, inputs=J.flatten(2), state=torch.zeros(N))
    auto = lyapunov_spectrum(**arguments)
    each = lyapunov_spectrum(**arguments, orthonormalize_every=1)
    torch.testing.assert_close(auto.per_sequence, each.per_sequence, atol=1e-6, rtol=0)


def random_products(kind: str, seed: int) -> torch.Tensor:
    """[B, T, N, N]: matrices of a given spread, one non-normal matrix again and again, Gaussian ones, graded ones."""
    generator = torch.Generator().manual_seed(seed)

    def gaussian(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    N, T, spread = [(4, 20, 9.0), (12, 60, 5.0), (33, 8, 9.0), (40, 60, 2.0)][seed % 4]
    rates = torch.exp(-spread * torch.rand(2, T, N, dtype=torch.float64, generator=generator))
    if kind == "spread":
        return torch.linalg.qr(gaussian(2, T, N, N)).Q * rates[..., None, :] @ torch.linalg.qr(gaussian(2, T, N, N)).Q
    if kind == "constant":
        S = gaussian(N, N)
        return (S * rates[0, 0] @ torch.linalg.inv(S)).expand(2, T, N, N)
    return gaussian(2, T, N, N) * (rates[..., None] if kind == "graded" else 1)


def henon(_, state):
    x, y = state
    return torch.stack([1 - 1.4 * x**2 + y, 0.3 * x])


def lorenz_step(_, state, dt=0.01):
    def flow(s):
        x, y, z = s
        return torch.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])

    a = flow(state)
    b = flow(state + dt / 2 * a)
    c = flow(state + dt / 2 * b)
    return state + dt / 6 * (a + 2 * b + 2 * c + flow(state + dt * c))


class Cube(torch.autograd.Function):
    """As people write one for a surrogate gradient: neither vmap nor a forward derivative."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        return 3 * ctx.saved_tensors[0] ** 2 * gradient
