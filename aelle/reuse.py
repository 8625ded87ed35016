"""A model that was fitted to one sweep, saved beside its report, and the chances that it gives the variants of another.

Axes: V variant, E epoch, M point of the model's spectra.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from aelle.early import sample
from aelle.evaluation import score
from aelle.files import replace_atomically
from aelle.lyapunov import curve
from aelle.model import AeLLE
from aelle.table import SweepTable

BEST = 8
"""Variants that are named at the screen."""


def fit_to_all(ended: SweepTable, model: AeLLE) -> AeLLE:
    """A copy of `model`, fitted to every variant that has ended; a fifth of them sets the classifier."""
    rows = sample(ended, model.history, np.arange(len(ended.losses)))
    return AeLLE(**model.get_params()).fit(rows.spectra, rows.losses, groups=rows.groups)


def chances(model: AeLLE, sweep: SweepTable, epochs: Sequence[int] | None = None) -> Float[np.ndarray, "V E"]:
    """The chance of low error after each epoch, or after those given; NaN where no spectrum was measured. Spectra of
    another length are first brought to the model's."""
    found = np.full(sweep.losses.shape, np.nan)
    at_length = replace(sweep, spectra=curve(sweep.spectra, model.n_features_in_), test_spectra=None)
    seen = at_length.seen(model.history)
    for k in sweep.measured_epochs if epochs is None else epochs:
        found[:, k] = chances_of(model, seen[:, k])
    return found


def chances_of(model: AeLLE, seen: Float[np.ndarray, "V M"]) -> Float[np.ndarray, "V"]:
    """The chance of low error of what the model is to see of each variant; NaN where that is not finite."""
    found, known = np.full(len(seen), np.nan), np.isfinite(seen).all(1)
    if known.any():
        found[known] = model.predict_proba(seen[known])[:, 1]
    return found


def score_sweep(folder: Path, sweep: SweepTable, model: AeLLE) -> Path:
    """Print what the model says of a sweep's variants and write all of it to `chances.csv` in `folder`."""
    found = chances(model, sweep)
    measured = np.isfinite(found)
    last = np.where(measured.any(1), measured.shape[1] - 1 - measured[:, ::-1].argmax(1), 0)
    now = found[np.arange(len(found)), last]
    order = np.argsort(-np.nan_to_num(now, nan=-1), kind="stable")
    best = [f"{sweep.variants['variant'][v]} ({100 * now[v]:.0f} %)" for v in order[:BEST] if np.isfinite(now[v])]
    said = ", ".join(best) or "none measured"
    print(f"chance of a final validation loss below {model.threshold}, highest first: {said}")
    ended = sweep.ended()
    low = ended.final_loss < model.threshold
    if low.any() and not low.all():
        areas = []
        for k in ended.measured_epochs:
            chance = np.nan_to_num(found[sweep.variants["ended"].to_numpy(bool), k])
            areas.append(f"{score(low, chance, chance > 0.5).auc:.2f} ({k})")
        print(f"area under the ROC curve, by epoch, of the {len(low)} that have ended: {', '.join(areas)}")
    table = sweep.variants[["variant", "run", "state", *sweep.hyperparameters]].copy()
    for k in sweep.measured_epochs:
        table[f"chance_epoch_{k}"] = found[:, k]
    path = folder / "chances.csv"
    replace_atomically(path, lambda file: pd.DataFrame(table).to_csv(file, index=False, float_format="%.6g"))
    return path
