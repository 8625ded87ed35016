"""What the share of low error depends on, in target learning: `python bench/free_runs.py outputs/target`.

Takes the first 200 trained networks of a sweep of `experiment=target` and lets them run freely again: over fewer and
over more periods than the sweep did, from a state that was displaced after training, from a new random state, and with
displacements during the run. Prints the share whose mean |z − f| is below the threshold, with its 95 % interval over
the networks (Wilson's), and the share of those that are below it if each period of the output may be compared with the
target at another time: who gains by that generates the target, but not in time with it.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from scipy.stats import binomtest
from torch import Tensor

from aelle.data.sines import DT, PERIOD, FourSines
from aelle.sweep.plan import Plan
from aelle.tasks import TargetLearning
from aelle.tasks.force_kernel import network, run_free
from aelle.tasks.force_network import RankOne

PERIODS = (1, 5, 15, 30)
ONCE, ALWAYS = (0.1, 0.5), (0.001, 0.003, 0.01, 0.03)
BETWEEN = 10
"""Steps from one displacement of the state to the next: one unit of time."""
SHIFT = 10
"""Steps between the times at which a period of output is compared with the target."""

Outputs = Float[Tensor, "V T"]


def trained(sweep: Path, variants: int) -> list[TargetLearning]:
    """Packs of trained networks, as many as have `variants` networks together."""
    plan = Plan.started(sweep)
    if plan is None:
        raise SystemExit(
            f"error: {sweep} is not the folder of a sweep: train one by python train.py -m experiment=target"
        )
    found, left = [], variants
    for number, pack in enumerate(plan.packs()):
        if left <= 0:
            break
        module = TargetLearning(FourSines(), pack)
        checkpoint = torch.load(plan.pack_folder(number) / "checkpoint.ckpt", map_location="cpu", weights_only=True)
        module.load_state_dict(checkpoint["state_dict"])
        found.append(module)
        left -= len(pack)
    return found


def normal(net: RankOne) -> Tensor:
    return torch.randn(net.x.shape, generator=torch.Generator().manual_seed(0))


def displaced(net: RankOne, steps: int, noise: float) -> Outputs:
    net.x += noise * normal(net)
    return net.run_free(steps)


def anew(net: RankOne, steps: int) -> Outputs:
    net.x.copy_(0.5 * normal(net))
    return net.run_free(steps)


def with_noise(net: RankOne, steps: int, noise: float) -> Outputs:
    """Each unit of time, the state is displaced by `noise` times a normal variable."""
    random, outputs = torch.Generator().manual_seed(0), net.x.new_empty(len(net), steps)
    compiled = [network(M, w_f, DT) for M, w_f in zip(net.M.numpy(), net.w_f.numpy(), strict=True)]
    for part in outputs.split(BETWEEN, 1):
        for v, z in enumerate(part):
            run_free(compiled[v], net.x[v].numpy(), net.z[v].numpy()[()], net.w[v].numpy(), z.numpy())
        net.z.copy_(part[:, -1])
        net.x += noise * torch.randn(net.x.shape, generator=random)
    return outputs


CASES: dict[str, Callable[[RankOne, int], Outputs]] = {
    "from the state after training": RankOne.run_free,
    **{f"displaced once by {noise}": partial(displaced, noise=noise) for noise in ONCE},
    "from a new random state": anew,
    **{f"displaced by {noise} each unit of time": partial(with_noise, noise=noise) for noise in ALWAYS},
}
"""Noise is that many times a normal variable, in each unit's x."""


def errors(outputs: Outputs, target: Outputs) -> tuple[Tensor, Tensor]:
    """Mean |z − f| of each period [V, periods], in time with the target, and at the time where it is smallest."""
    periods = outputs.unflatten(1, (-1, PERIOD))
    shifted = torch.stack([(periods - target.roll(s, 1)[:, None]).abs().mean(2) for s in range(0, PERIOD, SHIFT)])
    return shifted[0], shifted.amin(0)


def share(below: Tensor) -> str:
    n, k = len(below), int(below.sum())
    low, high = binomtest(k, n).proportion_ci(method="wilson")
    return f"{k / n:4.0%} ({100 * low:.0f} to {100 * high:.0f})"


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--variants", type=int, default=200)
    parser.add_argument("--threshold", type=float, default=0.2)
    options = parser.parse_args()
    packs = trained(options.sweep, options.variants)
    networks = sum(len(pack.network) for pack in packs)
    print(f"{options.sweep.name}: {networks} networks, low-error below {options.threshold}\n")
    print(f"{'':40}{'periods':>8}{'in time':>18}{'at any time':>18}")
    for title, run in CASES.items():
        lengths = PERIODS if run is RankOne.run_free else (15,)
        found = []
        for pack in packs:
            x, z = pack.network.x.clone(), pack.network.z.clone()
            found.append(errors(run(pack.network, max(lengths) * PERIOD), pack.target))
            pack.network.x.copy_(x)
            pack.network.z.copy_(z)
        in_time, at_any = (torch.cat(parts) for parts in zip(*found, strict=True))
        for periods in lengths:
            shares = (share(error[:, :periods].mean(1) < options.threshold) for error in (in_time, at_any))
            print(f"{title:40}{periods:>8}" + "".join(f"{text:>18}" for text in shares), flush=True)


if __name__ == "__main__":
    main()
