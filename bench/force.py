"""How fast FORCE is: `python bench/force.py`. One network of 512 units in float32, on one thread.

Side by side in one run, least of three turns each: the compiled loop (what a CPU uses), the same as batched products of
PyTorch (what a GPU would use, here on the CPU), and a plain NumPy loop. Each makes STEPS steps of training and as many
of free running; seconds are of CPU time for the paper's 18,000 of each.
"""

import time
from collections.abc import Callable

import numpy as np
import torch

from aelle.data.sines import DT
from aelle.tasks.force_network import EVERY, RankOne

STEPS, PAPER, UNITS = 1800, 18_000, 512


def compiled(net: RankOne, f: torch.Tensor) -> None:
    net.learn(f)
    net.run_free(f.shape[1])


def batched(net: RankOne, f: torch.Tensor) -> None:
    net.learn_side_by_side(f)
    net.run_free_side_by_side(f.shape[1])


def plain(net: RankOne, f: torch.Tensor) -> None:
    """Recursive least squares as it is written down."""
    M, w_f, x, w, P = (part[0].numpy() for part in (net.M, net.w_f, net.x, net.w, net.P))
    z, r = np.float32(net.z[0]), np.tanh(x)
    for learning in (True, False):
        for t, target in enumerate(f[0].numpy(), 1):
            x = (1 - DT) * x + DT * (M @ r + w_f * z)
            r = np.tanh(x)
            z = w @ r
            if learning and t % EVERY == 0:
                Pr = P @ r
                k = Pr / (1 + r @ Pr)
                P = P - np.outer(Pr, k)
                w = w - (z - target) * k


def seconds(run: Callable[[RankOne, torch.Tensor], None], f: torch.Tensor) -> float:
    net = RankOne(UNITS, [1.4], [0])
    since = time.thread_time()
    run(net, f)
    return time.thread_time() - since


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    f = torch.sin(torch.arange(STEPS) * 0.02)[None].float()
    compiled(RankOne(UNITS, [1.4], [0]), f[:, :4])
    times = {run: min(seconds(run, f) for _ in range(3)) for run in (compiled, batched, plain)}
    print(f"FORCE, {UNITS} units, {PAPER} steps of training and {PAPER} of free running")
    for run, least in times.items():
        each, ratio = least * PAPER / STEPS, least / times[compiled]
        print(f"  {run.__name__:9} {each:6.2f} s per network, {ratio:5.2f}× the compiled")


if __name__ == "__main__":
    main()
