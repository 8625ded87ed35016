"""Whether the recommended predictor can be trusted: `python bench/recommendation.py SWEEP=THRESHOLD …`.

Each sweep is an .npz file or a sweep's folder; `synthetic` is a made-up one whose spectra say little.

A row per sweep, over the epochs before the last and random splits of the variants (32 / 8 / 60 %): the ROC AUC of the
recommended predictor, of its stack without spectra and of the best other row of the report, chosen after the fact by
its mean; how far the recommended predictor is ahead of that row in the mean, and of the best other row of each epoch at
its worst epoch; the same for the Brier score of the row with the lowest; and the expected calibration error, in ten
bins of all test variants' chances.
"""

import argparse
import logging
import time
from dataclasses import replace

import numpy as np
import pandas as pd
from reading import read
from scipy.special import expit

from aelle.analysis.early import Study, study
from aelle.analysis.predictors import RECOMMENDED, WITHOUT_SPECTRA
from aelle.model.estimator import AeLLE
from aelle.sweep.arrays import table_of
from aelle.sweep.table import SweepTable

BINS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", nargs="+", metavar="SWEEP=THRESHOLD")
    parser.add_argument("--splits", type=int, default=20)
    options = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    print("| sweep | variants | ROC AUC | without spectra | best other row | ahead | worst epoch | Brier | ECE | s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for one in options.sweeps:
        sweep, since = synthetic() if one == "synthetic" else read(one), time.perf_counter()
        found = study(sweep, AeLLE(sweep.threshold), options.splits)
        print(row(sweep, found) + f" {time.perf_counter() - since:.0f} |", flush=True)


def synthetic(V: int = 1200, E: int = 20, K: int = 64) -> SweepTable:
    """p decides the final loss but for chance; spectra widen with p, but differ more by chance."""
    random = np.random.default_rng(0)
    p, t = random.uniform(2, 3, V), np.arange(E + 1)
    exponents = np.sort(random.gamma(1.5, 1.5, (V, K)) * p[:, None] / 2.2, axis=1)
    spectra = np.sort(exponents[:, None] + 0.05 * random.standard_normal((V, E + 1, K)), axis=2)[..., ::-1]
    final = random.lognormal(0, 0.25, V) * 0.2 * p**1.3
    losses = 2.3 * np.exp(-t / 6) + final[:, None] * (1 - np.exp(-t / 4)) + 0.01 * random.standard_normal((V, E + 1))
    return replace(table_of(np.maximum(losses, 1e-3), spectra, {"p": p}), name="synthetic", threshold=0.6)


def row(sweep: SweepTable, found: Study) -> str:
    early = found.scores[found.scores["epoch"] < found.end]
    auc = early.pivot_table(index="epoch", columns="predictor", values="auc")
    brier = early.groupby("predictor")["brier"].mean()
    others = [name for name in auc if name != RECOMMENDED]
    best, ahead = auc[others].mean().idxmax(), auc[RECOMMENDED] - auc[others].max(axis=1)
    ours = found.predictions
    ours = ours[(ours["predictor"] == RECOMMENDED) & (ours["epoch"] < found.end)]
    chances, low = expit(ours["log_odds"].to_numpy()), ours["low_error"].to_numpy(float)
    cells = [
        sweep.name,
        str(len(sweep.losses)),
        f"{auc[RECOMMENDED].mean():.3f}",
        f"{auc[WITHOUT_SPECTRA].mean():.3f}",
        f"{best} {auc[best].mean():.3f}",
        f"{auc[RECOMMENDED].mean() - auc[best].mean():+.4f}",
        f"{ahead.min():+.3f} ({ahead.idxmin()})",
        f"{brier[RECOMMENDED]:.4f} ({brier[RECOMMENDED] - brier[others].min():+.4f})",
        f"{calibration_error(chances, low):.3f}",
    ]
    return "| " + " | ".join(cells) + " |"


def calibration_error(chances: np.ndarray, low: np.ndarray) -> float:
    frame = pd.DataFrame({"chance": chances, "low": low})
    groups = frame.groupby(np.minimum((chances * BINS).astype(int), BINS - 1))
    means = groups.mean()
    return float(((means["chance"] - means["low"]).abs() * groups.size()).sum() / len(frame))


if __name__ == "__main__":
    main()
