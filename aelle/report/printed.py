"""What analyze.py prints: the table of early prediction, shares of low error, correlations, and generalisation."""

import numpy as np

from aelle.analysis.early import Study
from aelle.analysis.findings import Findings
from aelle.analysis.generalisation import Transfer, transfer_table
from aelle.analysis.shares import PAPER, PAPER_ON_FEATURES
from aelle.terminal import count

MIN_VARIANTS = 8
"""Rank correlations of fewer variants are not printed."""


def print_table(early: Study, epochs: int) -> None:
    """Recall, precision and ROC AUC of each predictor at the report's stages of training."""
    summary = early.summary
    names = list(summary["predictor"].unique())
    width = max(map(len, names))
    stages = early.stages(epochs)
    print("\nrecall % / precision % / ROC AUC × 100")
    print(f"(on held-out test variants, mean over {count(early.splits, 'split')})\n")
    print(f"{'share of training':{width}}" + "".join(f"{100 * k / epochs:>14.0f} %" for k in stages))
    for name in names:
        rows = summary[summary["predictor"] == name].set_index("epoch")
        cells = ["/".join(_percent(rows[part][k]) for part in ("recall", "precision", "auc")) for k in stages]
        print(f"{name:{width}}" + "".join(f"{cell:>16}" for cell in cells))
    print()


def print_elsewhere(elsewhere: list[Transfer]) -> None:
    """ROC AUC of AeLLE on variants unlike those that it was trained on."""
    for row in transfer_table(elsewhere):
        aucs = ", ".join(f"{100 * cell.auc:.0f} (at {100 * cell.progress:.0f} %)" for cell in row["cells"])
        print(f"AeLLE trained on {row['trained_on']}, scored on {row['scored_on']}: ROC AUC × 100 {aucs}")


def print_shares(found: Findings) -> None:
    """The share of low-error variants per hyperparameter, the features' correlations, and what the paper reports."""
    paper = PAPER.get(found.sweep.task)
    if len(found.complete.losses) == 0:
        return
    print(
        f"low-error: {_percent(found.complete.low_error.mean())} %" + (f"; the paper: {paper.of_all}" if paper else "")
    )
    for name, groups in found.shares.items():
        print(f"  {name} " + ", ".join(f"{g.label}: {100 * g.low / g.variants:.0f} % of {g.variants}" for g in groups))
        if paper and name in paper.of_hyperparameter:
            print(f"    the paper: {paper.of_hyperparameter[name]}")
    known = [one for one in found.correlations if np.isfinite(one.rho)]
    n = min((one.n for one in known), default=0)
    if n >= MIN_VARIANTS:
        cells = [f"{one.feature} {one.rho:+.2f}" for one in known]
        print(f"rank correlation with the final loss: {', '.join(cells)}")
        print(f"    ({n} variants; without association, 95 % of sweeps stay within ±{1.96 / (n - 1) ** 0.5:.2f})")
        if paper:
            print(f"    the paper: {PAPER_ON_FEATURES}")
        print()


def _percent(share: float) -> str:
    return "   –" if np.isnan(share) else f"{100 * share:4.0f}"
