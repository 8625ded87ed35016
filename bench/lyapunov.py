"""How fast the Lyapunov engine is, as ratios from one run, side by side: `python bench/lyapunov.py`.

Every row measures its competitors in turn, again and again, and takes the least time of each: CPU time of one thread,
so that what else the machine does counts as little as it can. The process keeps to one processor, where the system
can do that, and its CPU time is taken: JAX has threads of its own.

straightforward: the batched loop that one would write first: analytic Jacobian, float64, QR at every step.
automatic:       the same loop with the Jacobian by `torch.func`.
floor:           the matrix products alone, of the shape that the straightforward loop has, on whatever cut of the batch
                 is fastest.
"""

import argparse
import os
import time
from collections.abc import Callable
from functools import partial

import torch
from device_reference import step
from jax_scan import jax_scan
from torch import Tensor, nn
from torch.func import jacrev, vmap

from aelle import lyapunov_spectrum
from aelle.cells import CELLS, Weights
from aelle.cells.stack import Stack, stack_of
from aelle.lyapunov.driven_stack import DrivenStack
from aelle.lyapunov.estimate import population_spectrum


def least_times(competitors: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of CPU time, of `rounds` rounds in which each has its turn."""
    least = dict.fromkeys(competitors, float("inf"))
    for _ in range(rounds):
        for name, run in competitors.items():
            since = time.process_time()
            run()
            least[name] = min(least[name], time.process_time() - since)
    return least


def straightforward(weights: Weights, x: Tensor) -> Tensor:
    """[V, B, H] of V LSTMs over h: the definition, batched."""
    V, H = weights.weight_hh.shape[0], weights.weight_hh.shape[-1]
    B = len(x)
    h = c = x.new_zeros(V, B, H)
    Q = torch.eye(H, dtype=x.dtype).expand(V, B, H, H)
    total = 0
    for t in range(x.shape[1]):
        J, h, c = step(weights, x[:, t], h, c)
        Q, R = torch.linalg.qr(J @ Q)
        total = total + R.diagonal(0, -2, -1).abs().log()
    return total / x.shape[1]


def automatic(weights: Weights, x: Tensor) -> Tensor:
    """The same with the Jacobian of every sequence by reverse-mode differentiation, vectorised."""
    V, H = weights.weight_hh.shape[0], weights.weight_hh.shape[-1]
    B = len(x)

    def step(W_ih, W_hh, b, x, h, c):
        i, f, g, o = (W_ih @ x + W_hh @ h + b).chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c

    def step_and_jacobian(W_ih, W_hh, b, x, h, c):
        return step(W_ih, W_hh, b, x, h, c), jacrev(lambda h: step(W_ih, W_hh, b, x, h, c)[0])(h)

    over_all = vmap(vmap(step_and_jacobian, (None, None, None, 0, 0, 0)), (0, 0, 0, None, 0, 0))
    h = c = x.new_zeros(V, B, H)
    Q = torch.eye(H, dtype=x.dtype).expand(V, B, H, H)
    total = 0
    for t in range(x.shape[1]):
        bias = weights.bias_ih + weights.bias_hh
        (h, c), J = over_all(weights.weight_ih, weights.weight_hh, bias, x[:, t], h, c)
        Q, R = torch.linalg.qr(J @ Q)
        total = total + R.diagonal(0, -2, -1).abs().log()
    return total / x.shape[1]


def dense(stack: Stack, x: Tensor, full: bool) -> Tensor:
    """[V, B, N] of any stack: our Jacobians, assembled as one matrix, with a QR at every step."""
    system = DrivenStack(stack, x, full)
    identity = torch.eye(system.N, dtype=torch.float64).repeat(len(stack), len(x), 1, 1)
    J, Q, total, state = torch.empty_like(identity), identity, 0, system.start(None)
    for t in range(x.shape[1]):
        state = system.advance(t, state, identity, J)
        Q, R = torch.linalg.qr(J.mT @ Q)
        total = total + R.diagonal(0, -2, -1).abs().log()
    return total / x.shape[1]


def products(matrices: int, N: int, steps: int) -> dict[str, Callable[[], object]]:
    """`steps` products of so many N × N matrices, all at once and in pieces that the cache holds."""
    A, Q = torch.randn(2, matrices, N, N, dtype=torch.float64)
    pieces = list(zip(A.split(max(1, 2**17 // N**2)), Q.split(max(1, 2**17 // N**2)), strict=True))
    return {
        "products": lambda: [torch.bmm(A, Q) for _ in range(steps)],
        "products in pieces": lambda: [[torch.bmm(a, q) for a, q in pieces] for _ in range(steps)],
    }


def report(name: str, matrices: int, N: int, steps: int, ours: Callable, others: dict[str, Callable], rounds: int):
    """One row: our speed over each other's, our time over the floor's, and the largest difference."""
    times = least_times({"ours": ours, **others, **products(matrices, N, steps)}, rounds)
    floor = min(times["products"], times["products in pieces"])
    difference = (ours() - others["straightforward"]()).abs().max()
    speeds = ", ".join(f"{times[other] / times['ours']:.2f}× the {other}" for other in others)
    print(f"{name:34} {speeds}; {times['ours'] / floor:.2f} floors; {difference:.0e} nats apart", flush=True)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    print("LSTM over h, default weights, 15 sequences, 50 steps")
    for H in (64, 128, 256):
        net, x = nn.LSTM(16, H, batch_first=True).double(), torch.randn(15, 50, 16, dtype=torch.float64)
        (weights,) = stack_of(net).layers
        others = {"straightforward": lambda w=weights, x=x: straightforward(w, x)}
        if H == 64:
            others["automatic"] = lambda w=weights, x=x: automatic(w, x)
        turns = max(3, rounds * 128**2 // H**2)
        report(f"  N = {H}", 15, H, 50, partial(of_network, net, x), others, turns)

    print("64 LSTMs of 64 units over h, 32 sequences, 8 steps")
    for label, bound in (("  default weights, ±1/8", (0.125, 0.125)), ("  p from 2.0 to 2.5", (2.0, 2.5))):
        p = torch.linspace(*bound, 64, dtype=torch.float64)[:, None, None]
        w_ih, w_hh = (p * (2 * torch.rand(64, 256, n, dtype=torch.float64) - 1) for n in (8, 64))
        zeros = torch.zeros(64, 256, dtype=torch.float64)
        weights, x = Weights(w_ih, w_hh, zeros, zeros), torch.rand(32, 8, 8, dtype=torch.float64)
        stack = Stack(CELLS["lstm"], (weights,))
        others = {
            "straightforward": lambda w=weights, x=x: straightforward(w, x),
            "automatic": lambda w=weights, x=x: automatic(w, x),
        }
        report(label, 64 * 32, 64, 8, lambda s=stack, x=x: population_spectrum(s, x).per_sequence, others, 2)

    print("Other networks, 15 sequences, 50 steps, against their own Jacobians with a QR at every step")
    for label, net, over in (
        ("  RNN, 128 units", nn.RNN(16, 128, batch_first=True), "hidden"),
        ("  GRU, 128 units", nn.GRU(16, 128, batch_first=True), "hidden"),
        ("  LSTM over (h, c), 64 units", nn.LSTM(16, 64, batch_first=True), "full"),
        ("  LSTM over h, two layers of 64", nn.LSTM(16, 64, 2, batch_first=True), "hidden"),
    ):
        net, x = net.double(), torch.randn(15, 50, 16, dtype=torch.float64)
        stack = stack_of(net)
        others = {"straightforward": lambda s=stack, x=x, o=over: dense(s, x, o == "full")}
        ours = partial(of_network, net, x, over=over)
        report(label, 15, stack.dimension(over == "full"), 50, ours, others, max(2, rounds // 2))

    print("float32 beside float64 and beside a scan in JAX, each in its precision")
    x, few = torch.randn(15, 50, 16), torch.rand(32, 28, 8)
    for label, net, inputs, over in (
        ("  LSTM, 64 units", nn.LSTM(16, 64, batch_first=True), x, "hidden"),
        ("  LSTM, 128 units", nn.LSTM(16, 128, batch_first=True), x, "hidden"),
        ("  LSTM, 256 units", nn.LSTM(16, 256, batch_first=True), x, "hidden"),
        ("  GRU, 128 units", nn.GRU(16, 128, batch_first=True), x, "hidden"),
        ("  RNN, 128 units", nn.RNN(16, 128, batch_first=True), x, "hidden"),
        ("  LSTM, two layers of 64", nn.LSTM(16, 64, 2, batch_first=True), x, "hidden"),
        ("  LSTM over (h, c), 64 units", nn.LSTM(16, 64, batch_first=True), x, "full"),
        ("  LSTM over (h, c), 128 units", nn.LSTM(16, 128, batch_first=True), x, "full"),
        ("  LSTM, 64 units, p = 2.2", uniform(nn.LSTM(8, 64, batch_first=True), 2.2), few, "hidden"),
        ("  GRU, 32 units, p = 2.5", uniform(nn.GRU(8, 32, batch_first=True), 2.5), few, "hidden"),
    ):
        precise(label, net, inputs, over, rounds)


def precise(label: str, net: nn.RNNBase, x: Tensor, over: str, rounds: int) -> None:
    """One row: how fast float32 is, and how far its resolved exponents are from those of float64."""
    precisions = (torch.float32, torch.float64)
    competitors = {dtype: partial(lyapunov_spectrum, net, x, over=over, dtype=dtype) for dtype in precisions}
    scans = {}
    if isinstance(net, nn.LSTM) and over == "hidden" and net.num_layers == 1:
        scans = {f"JAX, {dtype}": scan for dtype in precisions if (scan := jax_scan(net, x, dtype))}
    times = least_times({**competitors, **scans}, rounds)
    single, double = (competitor() for competitor in competitors.values())
    resolved = int(single.resolved)
    apart = (single.exponents - double.exponents)[:resolved].abs().max()
    beside = "".join(f"{times[scan] / times[dtype]:.2f}× JAX, " for scan, dtype in zip(scans, precisions, strict=False))
    print(
        f"{label:30} {times[torch.float64] / times[torch.float32]:.2f}× float64, {beside}"
        f"{resolved} of {len(single.exponents)} resolved, {apart:.0e} nats apart",
        flush=True,
    )


def uniform(net: nn.Module, p: float) -> nn.Module:
    for weight in net.parameters():
        nn.init.uniform_(weight, -p, p)
    return net


def of_network(net: nn.Module, x: Tensor, **options) -> Tensor:
    return lyapunov_spectrum(net, x, **options).per_sequence


if __name__ == "__main__":
    main()
