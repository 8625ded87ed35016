"""What each choice of AeLLE brings, on several sweeps: `python bench/autoencoders.py SWEEP=THRESHOLD …`, each an .npz
file or a sweep's folder.

The first tables have the ROC AUC (× 100) on test variants after some epochs, as the mean over random splits of the
variants (32 / 8 / 60 %): of the best of two linear models of spectra (the epoch's and the mean so far), chosen after
the fact for each epoch, and of AeLLE's loss head and plane. The last one has the plane's mean over all measured epochs
of each sweep, with one choice changed at a time, over a quarter of the splits. `--words` keeps its lines that contain
one of them. `--speed` only prints how long fitting takes at the paper's size.
"""

import argparse
import logging
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import yaml
from reading import read

from aelle.analysis.baselines import LinearOnRunningMean, LinearOnSpectrum
from aelle.analysis.early import SPLIT_SHARES
from aelle.analysis.scores import roc_auc
from aelle.lyapunov.spectra_so_far import SpectraSoFar
from aelle.model.columns import SIZE
from aelle.model.estimator import AeLLE
from aelle.model.fitting import fit_side_by_side
from aelle.model.samples import Sample, stratified_parts, sweep_sample
from aelle.model.views import COMMITTEE, SHAPE, WHOLE, View
from aelle.sweep.table import SweepTable

STAGES = (0, 0.05, 0.1, 0.2, 0.35, 0.5, 1)

PAPER = yaml.safe_load((Path(__file__).parents[1] / "conf" / "aelle" / "paper.yaml").read_text())
PAPER = {name: value for name, value in PAPER.items() if name != "defaults"}


def without(view: View, word: str) -> View:
    return view._replace(blocks=tuple(name for name in view.blocks if word not in name))


CHOICES: dict[str, dict] = {
    "paper, the spectrum's own points": {**PAPER, "points": None},
    "one autoencoder, spectra and losses as they are": {"committee": False, "scaling": "range"},
    "one autoencoder": {"committee": False},
    "committee": {},
    "… without stages of training": {"views": [view for view in COMMITTEE if view.stage is None]},
    "… without the views of features alone": {"views": [view for view in COMMITTEE if view.blocks != SHAPE]},
    "… one view of everything": {"views": [View(WHOLE)]},
    "… without the mean of spectra": {
        "views": [without(view, "mean") for view in COMMITTEE if view.blocks[0] != "mean"]
    },
    "… without the network's size": {"views": [without(view, SIZE) for view in COMMITTEE]},
    "… 64 points of the spectrum": {"points": 64},
    "… without noise": {"noise": 0.0},
    "… noise 0.1": {"noise": 0.1},
    "… noise 1": {"noise": 1.0},
    "… without weight decay": {"weight_decay": 0.0},
    "… weight decay 1": {"weight_decay": 1.0},
    "… dropout 0.1": {"dropout": 0.1},
    "… 100 steps": {"max_steps": 100},
    "… 400 steps": {"max_steps": 400, "epochs": 400},
    "… α constant 1": {"alphas": [1]},
    "… α constant 10": {"alphas": [10]},
    "… absolute error of the loss": {"prediction_norm": 1},
    "… hyperplane": {"classifier": "hyperplane"},
    "… ellipse": {"classifier": "ellipse"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", nargs="*", metavar="SWEEP=THRESHOLD")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--words", nargs="*", default=[""])
    parser.add_argument("--speed", action="store_true")
    options = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    if options.speed:
        print(f"{options.splits} splits of 1200 variants × 21 epochs × 64 exponents: {speed(options.splits):.0f} s")
        return
    sweeps = [read(one) for one in options.sweeps]
    for sweep in sweeps:
        by_stage(sweep, options.splits)
    print(
        f"\n{'mean over the measured epochs':48}" + "".join(f"{s.name[:11]:>12}" for s in sweeps) + "    mean       s"
    )
    for name, changes in CHOICES.items():
        if any(word in name for word in options.words):
            since = time.perf_counter()
            means = [100 * aucs(sweep, changes, max(options.splits // 4, 1))["AeLLE, plane"].mean() for sweep in sweeps]
            cells = "".join(f"{value:12.1f}" for value in means)
            print(f"{name:48}{cells}{np.mean(means):8.1f}{time.perf_counter() - since:8.0f}", flush=True)


def speed(splits: int, V: int = 1200, E: int = 21, M: int = 64) -> float:
    """Seconds of fitting one committee per split, after a first fit that imports what is needed."""
    random = np.random.default_rng(0)
    losses = random.lognormal(size=V)
    spectra = -losses[:, None, None] * np.linspace(0, 1, M) + 0.1 * random.standard_normal((V, E, M))
    AeLLE(1.0, max_steps=1).fit(spectra[:20, 0], losses[:20])
    samples = []
    for seed in range(splits):
        known = np.concatenate(stratified_parts(losses < 1, SPLIT_SHARES, seed)[:2])
        seen = SpectraSoFar.of(spectra[known], np.arange(E) / (E - 1))
        samples.append(Sample(seen, losses[known].repeat(E), known.repeat(E)))
    since = time.perf_counter()
    fit_side_by_side([AeLLE(1.0, seed=seed) for seed in range(splits)], samples)
    return time.perf_counter() - since


def by_stage(sweep: SweepTable, splits: int) -> None:
    found = linear(sweep, splits) | aucs(sweep, {}, splits)
    ahead = found["AeLLE, loss head"] - found["best linear model"]
    behind, most = int((ahead < -0.005).sum()), max(0.0, -100 * ahead.min())
    epochs = sweep.measured_epochs
    shown = sorted({min(epochs, key=lambda k: abs(k - share * sweep.epochs)) for share in STAGES})
    print(f"\n{sweep.name}: {len(sweep.losses)} variants; the loss head is {100 * ahead.mean():+.1f} on average")
    print(f"to the best linear model, more than 0.5 behind at {behind} of {len(ahead)} epochs, {most:.1f} at most")
    print(f"{'epoch':28}" + "".join(f"{k:>6}" for k in shown) + "   mean")
    for name, values in found.items():
        cells = "".join(f"{100 * values[epochs.index(k)]:6.1f}" for k in shown)
        print(f"{name:28}{cells}{100 * values.mean():7.1f}", flush=True)


def linear(sweep: SweepTable, splits: int) -> dict[str, np.ndarray]:
    """The mean ROC AUC per epoch of the linear model that turns out best at that epoch."""
    kinds, epochs = (LinearOnSpectrum, LinearOnRunningMean), sweep.measured_epochs
    found = np.zeros((splits, len(kinds), len(epochs)))
    for s in range(splits):
        train, validation, test = stratified_parts(sweep.low_error, SPLIT_SHARES, s)
        known, scored = sweep.take(np.union1d(train, validation)), sweep.take(test)
        for i, kind in enumerate(kinds):
            predictor = kind(known)
            found[s, i] = [roc_auc(scored.low_error, predictor.score(scored, k)) for k in epochs]
    return {"best linear model": found.mean(0).max(0)}


def aucs(sweep: SweepTable, changes: dict, splits: int) -> dict[str, np.ndarray]:
    """The mean ROC AUC per epoch of the loss head and of the plane. `views`: the committee's."""
    changes = dict(changes)
    views = changes.pop("views", COMMITTEE)
    parts = [stratified_parts(sweep.low_error, SPLIT_SHARES, seed) for seed in range(splits)]
    models = [AeLLE(sweep.threshold, **changes, seed=seed) for seed in range(splits)]
    with patch("aelle.model.fitting.COMMITTEE", tuple(views)):
        fit_side_by_side(models, [sweep_sample(sweep, np.union1d(*part[:2])) for part in parts])
    of = {"AeLLE, loss head": AeLLE.loss_decision_function, "AeLLE, plane": AeLLE.decision_function}
    found = {name: np.zeros((splits, len(sweep.measured_epochs))) for name in of}
    for s, (model, (_, _, test)) in enumerate(zip(models, parts, strict=True)):
        scored = sweep.take(test)
        for e, k in enumerate(sweep.measured_epochs):
            seen = scored.seen(k)
            for name, log_odds in of.items():
                scores = np.full(len(test), -np.inf)
                scores[seen.known] = log_odds(model, seen.take(seen.known))
                found[name][s, e] = roc_auc(scored.low_error, scores)
    return {name: values.mean(0) for name, values in found.items()}


if __name__ == "__main__":
    main()
