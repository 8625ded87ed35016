"""What training costs, as ratios from one run, side by side: `python bench/training.py [PART …]`, or all of it.

population  V networks trained one by one, each an `nn.LSTM` in a small LightningModule, over the population of them.
framework   Lightning's training of a population, without and with its run folder, over a bare PyTorch loop.
spectra     the share of spectra in an epoch of `smnist` at the paper's settings, from some training steps.
growth      time over the number of variants, hidden units, sequences and steps, with fitted exponents; and a plot.
start       seconds from the command line to the first training step and to the help.

Competitors take turns, in another order each round; a table row gives the median of the rounds' ratios and their range.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import torch
from many_runs import planned
from one_by_one import Member, bare_epochs, evaluate, train
from starting import first_help, first_step
from torch import Tensor

from aelle.data.images import Sequences, digits, mnist
from aelle.runs.writer import RunFolder
from aelle.tasks.classification import SequenceClassification
from aelle.training.lyapunov_callback import LyapunovCallback
from aelle.training.recorder import RunRecorder
from aelle.variants import Variant, draw

AGREE = 1e-6
"""Nats by which the losses of one epoch in float64 may differ: training amplifies rounding."""


AT = {"V": 8, "N": 64, "B": 32, "T": 16}
"""Variants, hidden units, sequences and steps, from which each grows in turn."""


@dataclass(frozen=True)
class Options:
    rounds: int
    device: torch.device
    plot: Path = Path("growth.svg")


def variants(V: int, hidden_size: int) -> list[Variant]:
    """Of the experiment `digits`, and of `smnist`."""
    space = {"cell": "lstm", "hidden_size": hidden_size, "p": "uniform(2.0, 3.0)"}
    return [draw({**space, "learning_rate": 0.01, "batch_size": 100}, 0, n) for n in range(V)]


def seconds(run: Callable[[], object], device: torch.device) -> float:
    since = perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - since


def in_turn(competitors: dict[str, Callable[[], object]], options: Options) -> dict[str, list[float]]:
    """Seconds of each in each round; the order moves on by one from round to round."""
    times: dict[str, list[float]] = {name: [] for name in competitors}
    names = list(competitors)
    for r in range(options.rounds):
        for name in names[r % len(names) :] + names[: r % len(names)]:
            times[name].append(seconds(competitors[name], options.device))
    return times


def row(what: str, values: list[float], goal: str, unit: str = "") -> None:
    spread = f"{min(values):.2f} to {max(values):.2f}"
    print(f"| {what} | {median(values):.2f}{unit} | {spread} | {goal} |", flush=True)


def ratios(times: dict[str, list[float]], of: str, over: str) -> list[float]:
    return [a / b for a, b in zip(times[of], times[over], strict=True)]


def check(what: str, ours: Tensor, others: Tensor) -> None:
    """Competitors that do not come to the same losses have not done the same work."""
    apart = float((ours.cpu() - others.cpu()).abs().max())
    if not apart <= AGREE:
        raise SystemExit(f"error: losses of {what} are {apart:.2g} nats apart, more than {AGREE}")
    print(f"<!-- losses of {what}: at most {apart:.1g} nats apart -->")


def population(options: Options, V: int = 25, hidden_size: int = 32, epochs: int = 2) -> None:
    chosen = variants(V, hidden_size)

    def together(epochs: int = epochs, precision: str = "32-true") -> Tensor:
        module = SequenceClassification(digits(), chosen)
        train(module, epochs, options.device, precision=precision)
        return module.metrics["train_loss"]

    def one_by_one(epochs: int = epochs, precision: str = "32-true") -> Tensor:
        members = [Member(SequenceClassification(digits(), [v])) for v in chosen]
        for member in members:
            train(member, epochs, options.device, precision=precision)
        return torch.stack([member.mean_train_loss for member in members])

    check("population and members", together(1, "64-true"), one_by_one(1, "64-true"))
    times = in_turn({"one by one": one_by_one, "together": together}, options)
    row(f"{V} LSTMs of {hidden_size}, one by one over together", ratios(times, "one by one", "together"), "≥ 2", "×")


def framework(options: Options, V: int = 25, hidden_size: int = 64, epochs: int = 5) -> None:
    chosen, probe = variants(V, hidden_size), digits().probe(1)

    def bare(precision: torch.dtype = torch.float32, epochs: int = epochs) -> Tensor:
        return bare_epochs(SequenceClassification(digits(), chosen).to(options.device, precision), epochs)

    def lightning(precision: str = "32-true", epochs: int = epochs) -> Tensor:
        module = SequenceClassification(digits(), chosen)
        train(module, epochs, options.device, precision=precision)
        return module.metrics["train_loss"]

    def recorded() -> None:
        with tempfile.TemporaryDirectory() as folder:
            run = RunFolder(Path(folder) / "pack-0000", planned(Path(folder)).config)
            run.begin(chosen)
            recorder = RunRecorder(run, LyapunovCallback("network", probe), chosen)
            train(SequenceClassification(digits(), chosen), epochs, options.device, recorder)

    check("Lightning and the bare loop", lightning("64-true", 1), bare(torch.float64, 1))
    times = in_turn({"bare": bare, "lightning": lightning, "recorded": recorded}, options)
    row(f"{V} LSTMs of {hidden_size}, Lightning over a bare loop", ratios(times, "lightning", "bare"), "≤ 1.10", "×")
    row("the same with its run folder written", ratios(times, "recorded", "bare"), "≤ 1.10", "×")


def spectra(
    options: Options,
    data: Sequences | None = None,
    V: int = 10,
    sizes: tuple[int, ...] = (32, 64, 128, 256),
    steps: int = 20,
) -> None:
    """Training steps are timed bare, so many of them, and multiplied; evaluation and spectra are timed whole."""
    data = data or mnist(f"{os.environ.get('AELLE_DATA', '../shared/data')}/mnist")
    probe = data.probe(32).to(options.device)
    for H in sizes:
        module = SequenceClassification(data, variants(V, H)).to(options.device)
        competitors = {
            "steps": partial(bare_epochs, module, 1, steps, evaluating=False),
            "evaluation": partial(evaluate, module),
            "spectra": partial(module.network.spectrum, probe, over="hidden", dtype=torch.float64),
        }
        competitors["steps"]()
        times = in_turn(competitors, options)
        parts = zip(times["steps"], times["evaluation"], times["spectra"], strict=True)
        shares = [100 * s / (len(module.batches) / steps * t + e + s) for t, e, s in parts]
        row(f"smnist, {V} LSTMs of {H}: spectra's share of an epoch", shares, "≤ 15 %", " %")


def growth(options: Options, at: dict[str, int] = AT, factors: tuple[float, ...] = (0.5, 1, 2, 4)) -> None:
    """One of them at a time, the others as in `at`; the exponent is the slope of log time over log size."""
    print("<!-- median: the exponent; range: milliseconds at each size, the least of the rounds -->")
    figure, drawn = plt.subplots(1, len(at), sharey=True, figsize=(3 * len(at), 3), layout="constrained")
    for axis, ax in zip(at, drawn, strict=True):
        sizes = [round(at[axis] * factor) for factor in factors]
        times = [in_turn(_work({**at, axis: size}, options.device), options) for size in sizes]
        for name in times[0]:
            least = [min(of_size[name]) for of_size in times]
            exponent = np.polyfit(np.log(sizes), np.log(least), 1)[0]
            milliseconds = ", ".join(f"{1000 * value:.3g}" for value in least)
            print(f"| {name}, {axis} = {', '.join(map(str, sizes))} | {exponent:.2f} | {milliseconds} | |", flush=True)
            ax.loglog(sizes, [1000 * value for value in least], "o-", label=f"{name}, ~{axis}^{exponent:.2f}")
        ax.set_xticks(sizes, [str(size) for size in sizes])
        ax.minorticks_off()
        ax.set_xlabel(axis)
        ax.legend(fontsize="small")
    drawn[0].set_ylabel("ms")
    figure.savefig(options.plot, metadata={"Date": None} if options.plot.suffix == ".svg" else None)
    plt.close(figure)
    print(f"<!-- drawn in {options.plot} -->")


def _work(at: dict[str, int], device: torch.device) -> dict[str, Callable[[], object]]:
    module = SequenceClassification(digits(), variants(at["V"], at["N"])).to(device)
    network = module.network
    x = torch.rand(at["B"], at["T"], 8, device=device)
    y = torch.zeros(at["V"], at["B"], dtype=torch.long, device=device)

    def step() -> None:
        network.zero_grad()
        module.losses(network(x.expand(at["V"], -1, -1, -1)), y).mean(1).sum().backward()

    step()
    return {
        "training step": step,
        "spectra": partial(network.spectrum, x, over="hidden", dtype=torch.float64),
    }


def start(options: Options) -> None:
    for what, measure, goal in (
        ("train.py experiment=digits, to its first training step", first_step, "≤ 6 s"),
        ("train.py --help", partial(first_help, "train.py"), ""),
        ("analyze.py --help", partial(first_help, "analyze.py"), ""),
    ):
        found = [measure() for _ in range(options.rounds)]
        row(f"{what}, from start", [one.wall for one in found], goal, " s")
        row(f"{what}, of CPU", [one.cpu for one in found], "", " s")


PARTS = {part.__name__: part for part in (population, framework, spectra, growth, start)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--plot", type=Path, default=Options.plot, help="of growth, as SVG, PNG or PDF")
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    print(f"{torch.get_num_threads()} threads, {chosen.device}, {chosen.rounds} rounds\n")
    for name in chosen.parts or PARTS:
        print(f"| {name} | median | range | goal |\n|---|---|---|---|")
        PARTS[name](Options(chosen.rounds, chosen.device, chosen.plot))
        print()


if __name__ == "__main__":
    main()
