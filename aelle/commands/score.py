"""A saved predictor's chances for the variants of a sweep, printed and as a table.

Axes: V variant, E epoch.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from aelle.analysis.scores import score
from aelle.predictor.differences import differences, outside_in_words
from aelle.predictor.early_predictor import EarlyPredictor
from aelle.predictor.observed import observed
from aelle.spreadsheets import write_csv
from aelle.sweep.table import SweepTable
from aelle.terminal import say

SHOWN_VARIANTS = 8
"""Variants that are listed on the terminal."""


def score_sweep(folder: Path, sweep: SweepTable, predictor: EarlyPredictor) -> Path:
    """Print the chances that the predictor gives to a sweep's variants; write all of them to `folder`/chances.csv."""
    exponents = sweep.spectra.shape[2] if sweep.measured_epochs else 0
    of_sweep = (sweep.task, sweep.epochs, sweep.threshold, sweep.hyperparameters, exponents)
    for one in differences(predictor, *of_sweep):
        say(f"warning: {one}")
    found, outside = predicted(predictor, sweep)
    told = np.isfinite(found)
    last = np.where(told.any(1), told.shape[1] - 1 - told[:, ::-1].argmax(1), 0)
    now = found[np.arange(len(found)), last]
    order = np.argsort(-np.nan_to_num(now, nan=-1), kind="stable")
    best = [
        f"{sweep.variants['variant'][v]} ({100 * now[v]:.0f} %)" for v in order[:SHOWN_VARIANTS] if np.isfinite(now[v])
    ]
    said_of_best = ", ".join(best) or "none measured"
    more = int(np.isfinite(now).sum()) - len(best)
    said_of_best += f", and {more} more" if more > 0 else ""
    say(f"chance of a final validation loss below {predictor.threshold:.4g}, highest first: {said_of_best}")
    if line := outside_in_words(np.full(len(found), predictor.base_rate_), outside):
        say(line)
    epochs = np.flatnonzero(told.any(0)).tolist()
    _print_scores(sweep, predictor.threshold, found, [k for k in epochs if k < sweep.epochs])
    table = sweep.variants[["variant", "run", "state", *sweep.hyperparameters]].copy()
    for k in epochs:
        table[f"chance_epoch_{k}"] = found[:, k]
    table["outside"] = outside
    path = folder / "chances.csv"
    write_csv(path, pd.DataFrame(table), float_format="%.6g")
    return path


def predicted(predictor: EarlyPredictor, sweep: SweepTable) -> tuple[Float[np.ndarray, "V E"], list[str]]:
    """The chance of low error after each epoch, NaN where neither a loss nor a spectrum was measured; and what lies
    outside of what the predictor knows after a variant's last epoch but the final one, in words, or ""."""
    found, outside = np.full(sweep.losses.shape, np.nan), [""] * len(sweep.losses)
    for k in range(sweep.epochs + 1):
        rows = _measured(sweep, k)
        if rows.any():
            prediction = predictor.predict(observed(sweep, k))
            found[rows, k] = prediction.chance[rows]
            for v in np.flatnonzero(rows) if k < sweep.epochs else ():
                outside[v] = prediction.outside[v]
    return found, outside


def _measured(sweep: SweepTable, k: int) -> Bool[np.ndarray, "V"]:
    return np.isfinite(sweep.losses[:, k]) | np.isfinite(sweep.spectra[:, k]).any(1)


def _print_scores(sweep: SweepTable, threshold: float, found: Float[np.ndarray, "V E"], epochs: list[int]) -> None:
    """After the last epoch, the final loss is known."""
    complete = sweep.variants["complete"].to_numpy(bool)
    low = sweep.complete().final_loss < threshold
    if low.any() and not low.all():
        aucs = []
        for k in epochs:
            chance = np.nan_to_num(found[complete, k])
            aucs.append(f"{score(low, chance, chance > 0.5).auc:.2f} ({k})")
        say(
            f"ROC AUC (epoch) over the {len(low)} complete variants, {int(low.sum())} of them below "
            f"{threshold:.4g}: {', '.join(aucs)}"
        )
