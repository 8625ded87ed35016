"""The paper's Table 1 beside ours: `python bench/table1.py FILE`, an .npz file or a sweep's folder.

Sequential MNIST, LSTMs of 64 units, p in [2, 2.5]. At each stage of training: the recall that the paper's AeLLE reaches
and its precision (Vogt et al. 2022), then the recall that our predictors reach at that precision or more, by whichever
cut of their scores, as the mean and the 95 % interval over random splits of the variants (32 / 8 / 60 %). The cut is
chosen on the test part, for every predictor alike: it compares rankings, not decisions.
"""

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from aelle.analysis.early import study
from aelle.analysis.predictors import RECOMMENDED, Plane
from aelle.analysis.scores import recall_at
from aelle.model.estimator import AeLLE
from aelle.predictor.members import LOSS_AND_HYPERPARAMETERS
from aelle.sweep.arrays import load_arrays
from aelle.sweep.table import load_sweep

PAPER = {0.05: (0.359, 0.958), 0.20: (0.672, 0.915), 0.35: (0.820, 0.792), 0.50: (0.891, 0.750)}
"""Share of the training: recall and precision."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--splits", type=int, default=20)
    options = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    source = load_arrays(options.file) if options.file.suffix == ".npz" else load_sweep(options.file)
    sweep = replace(source, threshold=options.threshold).complete()
    found = study(sweep, AeLLE(options.threshold), options.splits)
    names = (RECOMMENDED, Plane.name, LOSS_AND_HYPERPARAMETERS)
    print(f"{'of training':12}{'the paper':>24}" + "".join(f"{name:>38}" for name in names))
    for share, (recall, precision) in PAPER.items():
        epoch = round(share * sweep.epochs)
        at = found.predictions[found.predictions["epoch"] == epoch]
        cells = []
        for name in names:
            groups = at[at["predictor"] == name].groupby("split")
            recalls = [recall_at(precision, g["low_error"].to_numpy(), g["log_odds"].to_numpy()) for _, g in groups]
            low, high = np.quantile(recalls, [0.025, 0.975])
            cells.append(f"{100 * np.mean(recalls):.1f} % ({100 * low:.0f} to {100 * high:.0f})")
        title = f"{100 * recall:.1f} % at {100 * precision:.1f} %"
        print(f"{100 * share:.0f} %".ljust(12) + f"{title:>24}" + "".join(f"{cell:>38}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
