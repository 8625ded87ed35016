"""What it costs that the variants of a pack differ in every option: `python bench/spaces.py`. On one thread.

A pack of 50 LSTMs is trained on the digits twice, in turns: with the options of each variant drawn, and with those of
the middle for all. Besides, one training by PyTorch's own Adam, which has one set of options for all.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from aelle.data import digits
from aelle.tasks import SequenceClassification
from aelle.trainer import lean_trainer
from aelle.variants import draw

SHARED = {"cell": "lstm", "batch_size": 100}
DRAWN = {
    "p": "log_uniform(0.05, 3)",
    "gain": "uniform(0.8, 1.2)",
    "forget_bias": "uniform(0, 2)",
    "learning_rate": "log_uniform(1e-3, 3e-2)",
    "schedule": ["constant", "cosine", "step"],
    "warmup": "uniform(0, 0.2)",
    "weight_decay": "log_uniform(1e-6, 1e-2)",
    "beta1": "uniform(0.8, 0.95)",
    "beta2": "uniform(0.99, 0.999)",
    "gradient_clip": "log_uniform(0.1, 10)",
    "dropout": "uniform(0.05, 0.3)",
    "label_smoothing": "uniform(0.01, 0.1)",
    "readout": ["last", "mean"],
}
FIXED = {
    **{"p": 0.4, "gain": 1.0, "forget_bias": 1.0, "learning_rate": 0.005, "schedule": "cosine", "warmup": 0.1},
    **{"weight_decay": 1e-4, "beta1": 0.9, "beta2": 0.995, "gradient_clip": 1.0, "dropout": 0.15},
    **{"label_smoothing": 0.05, "readout": ["last", "mean"]},
}
PLAIN = {"p": 0.4, "learning_rate": 0.005}


class WithTorchAdam(SequenceClassification):
    reads = SequenceClassification.reads

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.005)


def seconds(space: dict[str, Any], kind: type[SequenceClassification], V: int, units: int, epochs: int) -> float:
    variants = [draw({**SHARED, "hidden_size": units, **space}, 0, n) for n in range(V)]
    module = kind(digits(), variants)
    trainer = lean_trainer(max_epochs=epochs, accelerator="cpu", enable_checkpointing=False)
    since = time.perf_counter()
    trainer.fit(module)
    return time.perf_counter() - since


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", type=int, default=50)
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    size = (given.variants, given.units, given.epochs)
    runs: dict[str, Callable[[], float]] = {
        "all options drawn": lambda: seconds(DRAWN, SequenceClassification, *size),
        "all options the same": lambda: seconds(FIXED, SequenceClassification, *size),
        "only p and the learning rate, drawn": lambda: seconds(
            {name: DRAWN[name] for name in PLAIN}, SequenceClassification, *size
        ),
        "only p and the learning rate, the same": lambda: seconds(PLAIN, SequenceClassification, *size),
        "the same, by torch.optim.Adam": lambda: seconds(PLAIN, WithTorchAdam, *size),
    }
    taken = [{name: run() for name, run in runs.items()} for _ in range(given.rounds + 1)][1:]
    print(f"| {given.variants} LSTMs of {given.units} units, {given.epochs} epochs | s | ratio | range |")
    print("|---|---|---|---|")
    against = {
        "all options drawn": "all options the same",
        "only p and the learning rate, drawn": "only p and the learning rate, the same",
        "only p and the learning rate, the same": "the same, by torch.optim.Adam",
    }
    for name in runs:
        row = f"| {name} | {min(one[name] for one in taken):.2f} |"
        if name in against:
            ratios = sorted(one[name] / one[against[name]] for one in taken)
            row += f" {median(ratios):.3f} of “{against[name]}” | {ratios[0]:.2f} to {ratios[-1]:.2f} |"
        else:
            row += " | |"
        print(row)


if __name__ == "__main__":
    main()
