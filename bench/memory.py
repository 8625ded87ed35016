"""Memory estimated before training, beside what is taken: `python bench/memory.py`, some minutes on a CPU.

training    five steps of a pack of `digits` or `recall`, of a whole batch each.
evaluation  one of the pack's validation part.
spectra     of one network with weights uniform on ±1/√N, 32 sequences of 24 steps.

Every row is measured in a process of its own: its largest resident memory, above that before.
"""

import multiprocessing
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from aelle.commands.launch import register_resolvers
from aelle.lyapunov.chunks import chunks, trajectory_bytes
from aelle.lyapunov.ensemble import OWN_COPIES
from aelle.lyapunov.estimate import population_spectrum
from aelle.memory import shown
from aelle.sweep.plan import Plan
from aelle.tasks.networks import networks_of
from aelle.training.footprint import footprint
from aelle.training.parts import Parts
from aelle.variants import draw

PACKS = (
    ("digits", 25, {"cell": "lstm", "hidden_size": 64}),
    ("digits", 100, {"cell": "rnn", "hidden_size": 128, "batch_size": 100}),
    ("digits", 25, {"cell": "gru", "hidden_size": 256}),
    ("digits", 4, {"cell": "lstm", "hidden_size": 512, "layers": 2}),
    ("digits", 50, {"cell": "mgu", "hidden_size": 128}),
    ("recall", 25, {"cell": "lstm", "hidden_size": 64}),
    ("recall", 10, {"cell": "gru", "hidden_size": 128, "batch_size": 200}),
)
"""Task, variants and hyperparameters."""

SPECTRA = (("lstm", 64, None), ("lstm", 256, None), ("gru", 512, None), ("gru", 512, 20), ("rnn", 1024, None))
"""Cell, units and k."""

CONF = Path(__file__).resolve().parent.parent / "conf"

SECONDS_BETWEEN_LOOKS = 0.001


class Row(NamedTuple):
    """Bytes."""

    what: str
    estimated: float
    measured: float


def taken(run: Callable[[], object]) -> int:
    """Bytes of resident memory, at most, above those before."""
    process, done = psutil.Process(), threading.Event()
    before = largest = process.memory_info().rss

    def watch() -> None:
        nonlocal largest
        while not done.is_set():
            largest = max(largest, process.memory_info().rss)
            time.sleep(SECONDS_BETWEEN_LOOKS)

    thread = threading.Thread(target=watch)
    thread.start()
    run()
    done.set()
    thread.join()
    return max(1, largest - before)


def training(task: str, V: int, space: dict[str, Any]) -> Row:
    parts, variants = parts_of(task), [draw({"p": 2.0, "batch_size": 50, **space}, 0, n) for n in range(V)]
    needed = footprint(parts, variants[0])

    def train() -> None:
        module = parts.module(parts.data, variants)
        optimizer = module.configure_optimizers()
        for number, batch in zip(range(5), module.train_dataloader(), strict=False):
            loss = module.training_step(batch, number)
            optimizer.zero_grad()
            loss.backward()
            module.configure_gradient_clipping(optimizer)
            optimizer.step()

    return Row(f"training: {named(task, V, space)}", needed.shared + V * (needed.kept + needed.step), taken(train))


def evaluation(task: str, V: int, space: dict[str, Any]) -> Row:
    parts, variants = parts_of(task), [draw({"p": 2.0, "batch_size": 50, **space}, 0, n) for n in range(V)]
    module = parts.module(parts.data, variants)
    estimated = min(module.rows, len(module.val_y)) * module.evaluation_bytes
    return Row(f"evaluation: {named(task, V, space)}", estimated, taken(lambda: module.evaluated("val")))


def parts_of(task: str) -> Parts:
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", [f"task={task}", "trainer.accelerator=cpu"])
    return Parts(Plan.of(OmegaConf.to_container(config, resolve=True)).config)  # pyright: ignore[reportArgumentType]


def named(task: str, V: int, space: dict[str, Any]) -> str:
    return ", ".join([task, f"{V} variants", *(f"{name}={value}" for name, value in space.items())])


def spectrum(cell: str, N: int, k: int | None) -> Row:
    stack = networks_of([draw({"cell": cell, "hidden_size": N, "p": N**-0.5}, 0, 0)], 3, 2).stack
    probe, each, own = torch.randn(32, 24, 3), trajectory_bytes(N, k or N), OWN_COPIES * 8 * stack.weights
    pieces, _ = chunks(1, len(probe), N, probe.device, each, own)
    most = max(len(range(len(probe))[sequences]) for _, sequences in pieces)
    measured = taken(lambda: population_spectrum(stack, probe, k=k))
    return Row(f"spectra: {cell}, N = {N}, k = {k or N}, {most} sequences at a time", most * each + own, measured)


def measured(job: str, arguments: tuple) -> Row:
    """After the libraries have been loaded by a small one of the same kind."""
    torch.set_num_threads(1)
    if job == "spectra":
        spectrum(arguments[0], 8, None)
        return spectrum(*arguments)
    task, V, space = arguments
    run = training if job == "training" else evaluation
    run(task, 2, {**space, "hidden_size": 4})
    return run(task, V, space)


def main() -> None:
    jobs = [(job, one) for job in ("training", "evaluation") for one in PACKS] + [("spectra", one) for one in SPECTRA]
    print("| | estimated | measured | ratio |\n|---|---|---|---|")
    for job, arguments in jobs:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            row = pool.apply(measured, (job, arguments))
        ratio = row.estimated / row.measured
        print(f"| {row.what} | {shown(row.estimated)} | {shown(row.measured)} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main()
