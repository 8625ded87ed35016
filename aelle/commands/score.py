"""A saved model's predictions for a sweep, printed and as a table."""

from pathlib import Path

import numpy as np
import pandas as pd

from aelle.analysis.scores import score
from aelle.files import replace_atomically
from aelle.model.chances import chances, unlike
from aelle.model.estimator import AeLLE
from aelle.sweep.table import SweepTable

SHOWN_VARIANTS = 8
"""Variants that are listed on the terminal."""


def score_sweep(folder: Path, sweep: SweepTable, model: AeLLE) -> Path:
    """Print the chances that the model predicts for a sweep's variants; write all of them to `folder`/chances.csv."""
    said = unlike(model, sweep.task, sweep.epochs, sweep.threshold)
    if sweep.spectra.shape[2] != model.n_features_in_:
        said.append(
            f"the model was fitted to spectra of {model.n_features_in_} exponents; these have {sweep.spectra.shape[2]}"
        )
    for one in said:
        print(f"warning: {one}")
    found = chances(model, sweep)
    measured = np.isfinite(found)
    last = np.where(measured.any(1), measured.shape[1] - 1 - measured[:, ::-1].argmax(1), 0)
    now = found[np.arange(len(found)), last]
    order = np.argsort(-np.nan_to_num(now, nan=-1), kind="stable")
    best = [
        f"{sweep.variants['variant'][v]} ({100 * now[v]:.0f} %)" for v in order[:SHOWN_VARIANTS] if np.isfinite(now[v])
    ]
    said_of_best = ", ".join(best) or "none measured"
    more = int(np.isfinite(now).sum()) - len(best)
    said_of_best += f", and {more} more" if more > 0 else ""
    print(f"chance of a final validation loss below {model.threshold:.4g}, highest first: {said_of_best}")
    complete = sweep.complete()
    low = complete.final_loss < model.threshold
    if low.any() and not low.all():
        aucs = []
        for k in complete.measured_epochs:
            chance = np.nan_to_num(found[sweep.variants["complete"].to_numpy(bool), k])
            aucs.append(f"{score(low, chance, chance > 0.5).auc:.2f} ({k})")
        print(
            f"ROC AUC (epoch) over the {len(low)} complete variants, {int(low.sum())} of them below "
            f"{model.threshold:.4g}: {', '.join(aucs)}"
        )
    table = sweep.variants[["variant", "run", "state", *sweep.hyperparameters]].copy()
    for k in sweep.measured_epochs:
        table[f"chance_epoch_{k}"] = found[:, k]
    path = folder / "chances.csv"
    replace_atomically(path, lambda file: pd.DataFrame(table).to_csv(file, index=False, float_format="%.6g"))
    return path
