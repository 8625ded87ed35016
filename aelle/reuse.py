"""A model that was fitted to one sweep, saved beside its report, and the chances that it gives the variants of another.

Axes: V variant, E epoch, M point of the model's spectra.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from aelle.arrays import ARRAYS
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
    fitted = AeLLE(**model.get_params()).fit(rows.spectra, rows.losses, groups=rows.groups)
    fitted.learned_from_ = {"task": ended.task, "epochs": ended.epochs, "variants": len(ended.losses)}
    return fitted


def unlike(model: AeLLE, task: str, epochs: int, threshold: float) -> list[str]:
    """In what a sweep differs from the one that the model has learned from, in words; what nobody knows differs not."""
    said, learned = [], model.learned_from_
    if ARRAYS not in (task, learned.get("task")) and learned.get("task", task) != task:
        said.append(f"it has learned from the task {learned['task']}, and this is {task}")
    if learned.get("epochs", epochs) != epochs:
        said.append(f"it tells what becomes of trainings of {learned['epochs']} epochs, and here they have {epochs}")
    if learned.get("pruned"):
        said.append("it has learned from what a pruned sweep left, and knows few poor variants: do not prune by it")
    if np.isfinite(threshold) and not np.isclose(model.threshold, threshold, rtol=1e-9):
        said.append(
            f"its chances are of a loss below {model.threshold:.4g}, and low-error here is below {threshold:.4g}"
        )
    return said


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
    said = unlike(model, sweep.task, sweep.epochs, sweep.threshold)
    if sweep.spectra.shape[2] != model.n_features_in_:
        said.append(f"its spectra have {model.n_features_in_} exponents, and those here {sweep.spectra.shape[2]}")
    for one in said:
        print(f"warning: the model: {one}")
    found = chances(model, sweep)
    measured = np.isfinite(found)
    last = np.where(measured.any(1), measured.shape[1] - 1 - measured[:, ::-1].argmax(1), 0)
    now = found[np.arange(len(found)), last]
    order = np.argsort(-np.nan_to_num(now, nan=-1), kind="stable")
    best = [f"{sweep.variants['variant'][v]} ({100 * now[v]:.0f} %)" for v in order[:BEST] if np.isfinite(now[v])]
    said_of_best = ", ".join(best) or "none measured"
    more = int(np.isfinite(now).sum()) - len(best)
    said_of_best += f", and {more} more" if more > 0 else ""
    print(f"chance of a final validation loss below {model.threshold:.4g}, highest first: {said_of_best}")
    ended = sweep.ended()
    low = ended.final_loss < model.threshold
    if low.any() and not low.all():
        areas = []
        for k in ended.measured_epochs:
            chance = np.nan_to_num(found[sweep.variants["ended"].to_numpy(bool), k])
            areas.append(f"{score(low, chance, chance > 0.5).auc:.2f} ({k})")
        print(
            f"area under the ROC curve, by epoch, of the {len(low)} that have ended, {int(low.sum())} of them below "
            f"{model.threshold:.4g}: {', '.join(areas)}"
        )
    table = sweep.variants[["variant", "run", "state", *sweep.hyperparameters]].copy()
    for k in sweep.measured_epochs:
        table[f"chance_epoch_{k}"] = found[:, k]
    path = folder / "chances.csv"
    replace_atomically(path, lambda file: pd.DataFrame(table).to_csv(file, index=False, float_format="%.6g"))
    return path
