"""What the share of low error depends on, in target learning: `python bench/free_runs.py outputs/target`.

Lets trained networks of a sweep of `experiment=target` run freely again: over fewer and over more periods than the
sweep did, from a state that was displaced after training, from a new random state, and with displacements during the
run. For each it prints the share of networks whose mean |z − f| is below the threshold, with its 95 % interval
(Wilson's), and the share of those that would be below it if each period of the output were compared with the target at
its own best time: a network that only then passes generates the target, but not in time with it. Whole packs, 200
networks or more; they take 7 minutes of one core.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from scipy.stats import binomtest
from torch import Tensor

from aelle.data.sines import DT, PERIOD, FourSines
from aelle.sweep.plan import Plan
from aelle.tasks import TargetLearning
from aelle.tasks.force_kernel import run_free
from aelle.tasks.force_network import RankOne

STEPS_PER_UNIT_OF_TIME = round(1 / DT)

SHIFT = 10
"""Steps between the times at which a period of output is compared with the target."""

Run = Callable[[RankOne, int, torch.Generator], Float[Tensor, "V T"]]
"""The output of networks over so many steps. It may change their states."""


class Errors(NamedTuple):
    """The mean |z − f| of each period: in time with the target, and at the time at which it is smallest."""

    in_time: Float[Tensor, "V periods"]
    at_any_time: Float[Tensor, "V periods"]


def trained(sweep: Path, variants: int) -> list[TargetLearning]:
    """Packs of trained networks, as many as have `variants` networks together."""
    plan = Plan.started(sweep)
    if plan is None or plan.config["task"]["name"] != "target":
        raise SystemExit(
            f"error: {sweep} is no sweep of target learning: python train.py -m experiment=target trains one"
        )
    complete, found = plan.complete(), []
    for number, pack in enumerate(plan.packs()):
        if variants <= 0:
            break
        if not complete.issuperset(variant.number for variant in pack):
            raise SystemExit(f"error: {plan.pack_folder(number)} is not trained to the end: start the sweep again")
        module = TargetLearning(FourSines(), pack)
        checkpoint = torch.load(plan.pack_folder(number) / "checkpoint.ckpt", map_location="cpu", weights_only=True)
        module.load_state_dict(checkpoint["state_dict"])
        found.append(module)
        variants -= len(pack)
    return found


def undisturbed(net: RankOne, steps: int, _: torch.Generator) -> Float[Tensor, "V T"]:
    return net.run_free(steps)


def displaced(net: RankOne, steps: int, random: torch.Generator, noise: float) -> Float[Tensor, "V T"]:
    displace(net, noise, random)
    return net.run_free(steps)


def anew(net: RankOne, steps: int, random: torch.Generator) -> Float[Tensor, "V T"]:
    net.x.zero_()
    displace(net, 0.5, random)
    return net.run_free(steps)


def with_noise(net: RankOne, steps: int, random: torch.Generator, noise: float) -> Float[Tensor, "V T"]:
    outputs = net.x.new_empty(len(net), steps)
    networks = net.compressed()
    for part in outputs.split(STEPS_PER_UNIT_OF_TIME, 1):
        for v, z in enumerate(part):
            run_free(networks[v], net.x[v].numpy(), net.z[v].numpy()[()], net.w[v].numpy(), z.numpy())
        net.z.copy_(part[:, -1])
        displace(net, noise, random)
    return outputs


def displace(net: RankOne, noise: float, random: torch.Generator) -> None:
    """Add `noise` times a normal variable to each x; z becomes the output of the new state."""
    net.x += noise * torch.randn(net.x.shape, generator=random)
    net.z.copy_((net.w * net.x.tanh()).sum(1))


CASES: dict[str, tuple[Run, tuple[int, ...]]] = {
    "from the state after training": (undisturbed, (1, 5, 15, 30)),
    **{f"displaced once by {noise}": (partial(displaced, noise=noise), (15,)) for noise in (0.1, 0.5)},
    "from a new random state": (anew, (15,)),
    **{
        f"displaced by {noise} each unit of time": (partial(with_noise, noise=noise), (15,))
        for noise in (0.001, 0.003, 0.01, 0.03)
    },
}
"""The runs, and over how many periods each is averaged. Displacements are standard deviations, of each unit's x."""


def errors(outputs: Float[Tensor, "V T"], target: Float[Tensor, "V period"]) -> Errors:
    periods = outputs.unflatten(1, (-1, PERIOD))
    shifted = torch.stack([(periods - target.roll(s, 1)[:, None]).abs().mean(2) for s in range(0, PERIOD, SHIFT)])
    return Errors(shifted[0], shifted.amin(0))


def share(below: Bool[Tensor, "V"]) -> str:
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
    for title, (run, lengths) in CASES.items():
        found = []
        for number, pack in enumerate(packs):
            x, z = pack.network.x.clone(), pack.network.z.clone()
            random = torch.Generator().manual_seed(number)
            found.append(errors(run(pack.network, max(lengths) * PERIOD, random), pack.target))
            pack.network.x.copy_(x)
            pack.network.z.copy_(z)
        of_all = [torch.cat(parts) for parts in zip(*found, strict=True)]
        for periods in lengths:
            cells = [share(error[:, :periods].mean(1) < options.threshold) for error in of_all]
            print(f"{title:40}{periods:>8}" + "".join(f"{cell:>18}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
