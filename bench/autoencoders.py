"""What each choice of the autoencoder brings: `python bench/autoencoders.py FILE`, an .npz file or a sweep's folder.

The ROC AUC (× 100) of AeLLE's plane on test variants, after each of some epochs, as the mean over
random splits of the variants (32 / 8 / 60 %): from the paper's autoencoder to the default a step at a time, then the
default with one choice changed. Every line is trained on the same splits. `--words` keeps the lines that hold one of
them.
"""

import argparse
import logging
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from sklearn.metrics import roc_auc_score

from aelle.analysis.early import SPLIT_SHARES
from aelle.analysis.predictors import Plane
from aelle.model.estimator import AeLLE
from aelle.model.fitting import fit_side_by_side
from aelle.model.samples import stratified_parts, sweep_sample
from aelle.sweep.arrays import load_arrays
from aelle.sweep.table import SweepTable, load_sweep

STAGES = (0, 0.05, 0.1, 0.2, 0.35, 0.5, 1)

PAPER = yaml.safe_load((Path(__file__).parents[1] / "conf" / "aelle" / "paper.yaml").read_text())
PAPER = {name: value for name, value in PAPER.items() if name != "defaults"}
LOGS = {**PAPER, "points": None, "scaling": "log"}
SHORT = {"epochs": 40, "learning_rate": 0.002}
REGULAR = {"weight_decay": 0.01, "noise": 0.05}

CHOICES = {
    "paper": PAPER,
    "paper, the spectrum's own points": {**PAPER, "points": None},
    "… and logarithms of spectra and losses": LOGS,
    "… and 40 epochs of a larger step": {**LOGS, **SHORT},
    "… and weight decay and noise": {**LOGS, **SHORT, **REGULAR},
    "… and the running mean of spectra": {**LOGS, **SHORT, **REGULAR, "running_mean": True},
    "default (… and smaller α)": {},
    "default, last spectrum alone": {"running_mean": False},
    "default, spectra and losses as they are": {"scaling": "range"},
    "default, no noise": {"noise": 0.0},
    "default, noise 0.2": {"noise": 0.2},
    "default, no dropout": {"dropout": 0.0},
    "default, dropout 0.3": {"dropout": 0.3},
    "default, no weight decay": {"weight_decay": 0.0},
    "default, weight decay 1": {"weight_decay": 1.0},
    "default, latent of 2": {"latent_size": 2},
    "default, latent of 128": {"latent_size": 128},
    "default, α constant 1": {"alphas": [1]},
    "default, α 200, 200, 300, 400": {"alphas": [200, 200, 300, 400]},
    "default, absolute error of the loss": {"prediction_norm": 1},
    "default, 200 epochs": {"epochs": 200},
    "default, hyperplane": {"classifier": "hyperplane"},
    "default, ellipse": {"classifier": "ellipse"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--words", nargs="+", default=[""])
    options = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    source = load_arrays(options.file) if options.file.suffix == ".npz" else load_sweep(options.file)
    sweep = replace(source, threshold=options.threshold).complete()
    epochs = [round(share * sweep.epochs) for share in STAGES]
    print(f"{'epoch':44}" + "".join(f"{k:>6}" for k in epochs) + "       s")
    for name, changes in CHOICES.items():
        if any(word in name for word in options.words):
            since = time.perf_counter()
            aucs = [f"{100 * auc:6.1f}" for auc in measured(sweep, changes, options.splits, epochs)]
            print(f"{name:44}" + "".join(aucs) + f"{time.perf_counter() - since:8.0f}", flush=True)


def measured(sweep: SweepTable, changes: dict, splits: int, epochs: list[int]) -> np.ndarray:
    """The mean ROC AUC per epoch."""
    parts = [stratified_parts(sweep.low_error, SPLIT_SHARES, seed) for seed in range(splits)]
    models = [AeLLE(sweep.threshold, **changes, seed=seed) for seed in range(splits)]
    running_mean = models[0].running_mean
    fit_side_by_side(models, [sweep_sample(sweep, running_mean, train, validation) for train, validation, _ in parts])
    aucs = np.full((splits, len(epochs)), np.nan)
    for s, (model, (_, _, test)) in enumerate(zip(models, parts, strict=True)):
        scored = sweep.take(test)
        for e, k in enumerate(epochs):
            aucs[s, e] = roc_auc_score(scored.low_error, np.nan_to_num(Plane(model).score(scored, k)))
    return aucs.mean(0)


if __name__ == "__main__":
    main()
