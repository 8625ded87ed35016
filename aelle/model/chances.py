"""A model that was fitted to a whole sweep, and the chances that it gives the variants of another.

Axes: V variant, E epoch, M point of the model's spectra.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from aelle.lyapunov.spectrum import curve
from aelle.model.estimator import AeLLE
from aelle.model.samples import sweep_sample
from aelle.sweep.arrays import ARRAYS
from aelle.sweep.table import SweepTable


def fit_to_all(ended: SweepTable, model: AeLLE) -> AeLLE:
    """A copy of `model`, fitted to every variant that has ended; a fifth of them sets the classifier."""
    rows = sweep_sample(ended, model.running_mean, np.arange(len(ended.losses)))
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
    seen = at_length.seen(model.running_mean)
    for k in sweep.measured_epochs if epochs is None else epochs:
        found[:, k] = chances_of(model, seen[:, k])
    return found


def chances_of(model: AeLLE, seen: Float[np.ndarray, "V M"]) -> Float[np.ndarray, "V"]:
    """The chance of low error of what the model is to see of each variant; NaN where that is not finite."""
    found, known = np.full(len(seen), np.nan), np.isfinite(seen).all(1)
    if known.any():
        found[known] = model.predict_proba(seen[known])[:, 1]
    return found
