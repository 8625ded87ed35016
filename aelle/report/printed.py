"""What an analysis prints: early prediction as a table, shares, correlations, and what carries over."""

import numpy as np

from aelle.analysis.early import Study
from aelle.analysis.findings import Findings
from aelle.analysis.generalisation import Transfer, transfer_table
from aelle.analysis.shares import PAPER, PAPER_ON_FEATURES
from aelle.terminal import count

FEW = 8
"""Fewer variants have no rank correlations worth printing."""


def print_table(early: Study, epochs: int) -> None:
    """Recall, precision and area of each predictor at the report's stages of training."""
    summary = early.summary
    names = list(summary["predictor"].unique())
    width = max(map(len, names))
    stages = early.stages(epochs)
    print("\nrecall % / precision % / area under the ROC curve × 100")
    print(f"(test variants of {count(early.splits, 'split')}, which no predictor has seen)\n")
    print(f"{'of training':{width}}" + "".join(f"{100 * k / epochs:>14.0f} %" for k in stages))
    for name in names:
        rows = summary[summary["predictor"] == name].set_index("epoch")
        cells = ["/".join(_percent(rows[part][k]) for part in ("recall", "precision", "auc")) for k in stages]
        print(f"{name:{width}}" + "".join(f"{cell:>16}" for cell in cells))
    print()


def print_elsewhere(elsewhere: list[Transfer]) -> None:
    """The area of AeLLE's ranking of what is unlike the variants that it has learned from."""
    for row in transfer_table(elsewhere):
        areas = ", ".join(f"{100 * cell.area:.0f} ({100 * cell.training:.0f} %)" for cell in row["cells"])
        print(f"AeLLE learned from {row['learned']}, on {row['scored']}: area {areas}")


def print_shares(found: Findings) -> None:
    """The share of low-error variants per hyperparameter, and the features' correlations, with the paper's words."""
    paper = PAPER.get(found.sweep.task)
    if len(found.ended.losses) == 0:
        return
    print(f"low-error: {_percent(found.ended.low_error.mean())} %" + (f"; the paper: {paper.of_all}" if paper else ""))
    for name, groups in found.shares.items():
        print(f"  {name} " + ", ".join(f"{g.label}: {100 * g.low / g.variants:.0f} % of {g.variants}" for g in groups))
        if paper and name in paper.of_hyperparameter:
            print(f"    the paper: {paper.of_hyperparameter[name]}")
    known = [one for one in found.correlations if np.isfinite(one.rho)]
    n = min((one.n for one in known), default=0)
    if n >= FEW:
        cells = [f"{one.feature} {one.rho:+.2f}" for one in known]
        print(f"rank correlation of the final loss with {', '.join(cells)}")
        print(f"    (of {n} variants; chance alone gives up to {1.96 / (n - 1) ** 0.5:.2f} in 95 of 100 sweeps)")
        if paper:
            print(f"    the paper: {PAPER_ON_FEATURES}")
        print()


def _percent(share: float) -> str:
    return "   –" if np.isnan(share) else f"{100 * share:4.0f}"
