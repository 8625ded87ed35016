"""What analyze.py prints: the verdict, early prediction, variants to keep, shares of low error, and generalisation."""

import numpy as np

from aelle.analysis.early import Study
from aelle.analysis.findings import Findings
from aelle.analysis.generalisation import Transfer, transfer_table
from aelle.analysis.left_out import LeftOut
from aelle.analysis.shares import PAPER, PAPER_ON_FEATURES
from aelle.report.page import (
    SHOWN_ROWS,
    architecture_sentences,
    chosen_predictors,
    keep,
    left_out_rows,
    left_out_sentence,
    outside_sentences,
    weights_table,
)
from aelle.sweep.table import SweepTable
from aelle.terminal import count, say

MIN_VARIANTS = 8
"""Rank correlations of fewer variants are not printed."""


SHOWN_NUMBERS = 100
"""Variants that a printed command names at most."""


def print_findings(found: Findings, details: bool) -> None:
    """The verdict; the sweep and what is wrong with it; the table of early prediction, all of it with `details`; the
    weights of the recommended predictor; the variants to keep; shares of low error; generalisation."""
    say(found.verdict)
    print_sweep(found.sweep)
    print_warnings(found.sweep)
    if found.early is None:
        print_median(found.complete)
    else:
        print_table(found.early, found.complete.epochs, details)
        print_weights(found.early, found.complete.epochs, details)
        print_keep(found, found.early.first_epoch)
        for line in outside_sentences(found):
            say(line)
    print_shares(found)
    print_elsewhere(found.elsewhere)
    for line in architecture_sentences(found.architectures, found.complete.epochs):
        say(line)
    if found.left_out is not None:
        print_left_out(found.left_out, found.complete.epochs)


def print_sweep(sweep: SweepTable) -> None:
    """Without the number of low-error variants where there is no threshold: arrays have none of their own."""
    complete = sweep.complete()
    low = f"{int(complete.low_error.sum())} low-error (final validation loss below {sweep.threshold})"
    told = [count(sweep.size, "variant"), f"{len(complete.losses)} complete", *([low] if sweep.threshold > 0 else [])]
    say(f"{sweep.name}: {', '.join(told)}")
    if sweep.reference is not None:
        low, high = sweep.reference.losses[[0, -1]]
        spread = f"the median of {len(sweep.reference.losses)} from {low:.3g} to {high:.3g}"
        say(f"for comparison, {sweep.reference}: final loss {sweep.reference.median:.3g}, {spread}")
    if sweep.pruned:
        say(f"{count(sweep.pruned, 'variant')} pruned: only the others are used for fitting and scoring")


def print_warnings(sweep: SweepTable) -> None:
    for warning in sweep.warnings:
        say(f"warning: {warning}")


def print_median(complete: SweepTable) -> None:
    """The threshold that would give both classes."""
    finite = complete.final_loss[np.isfinite(complete.final_loss)]
    if len(finite):
        low, middle, high = np.quantile(finite, [0, 0.5, 1])
        say(f"final losses range from {low:.3g} to {high:.3g}; to split them at the median, set threshold={middle:.3g}")


def print_table(early: Study, epochs: int, details: bool) -> None:
    """Recall, precision and ROC AUC of predictors at the report's stages of training."""
    summary = early.summary
    every = list(summary["predictor"].unique())
    names = every if details else chosen_predictors(early)
    width = max(map(len, names))
    stages = early.stages(epochs)
    of = f"(on held-out test variants, mean over {count(early.splits, 'split')})"
    say("", "recall % / precision % / ROC AUC × 100", of, "")
    say(f"{'share of training':{width}}" + "".join(f"{100 * k / epochs:>14.0f} %" for k in stages))
    for name in names:
        rows = summary[summary["predictor"] == name].set_index("epoch")
        cells = ["/".join(_percent(rows[part][k]) for part in ("recall", "precision", "auc")) for k in stages]
        say(f"{name:{width}}" + "".join(f"{cell:>16}" for cell in cells))
    if len(names) < len(every):
        say(f"{len(names)} of {len(every)} predictors; details=true prints all of them, as does the report")
    say()


def print_weights(early: Study, epochs: int, details: bool) -> None:
    """How much spectra count in the recommended predictor, and with `details` how much each of its members does."""
    table = weights_table(early)
    if not table:
        return
    head, *rows = table
    share = ", ".join(
        f"{_percent(cell).strip()} % (at {100 * k / epochs:.0f} %)"
        for k, cell in zip(head["epochs"], rows[-1]["cells"], strict=True)
    )
    say(f'weight of spectra in "recommended": {share}')
    if details:
        width = max(len(row["name"]) for row in rows)
        for row in rows[:-1]:
            say(f"    {row['name']:{width}}" + "".join(f"{cell:8.2f}" for cell in row["cells"]))
    say()


def print_keep(found: Findings, epoch: int) -> None:
    """The first of the variants to keep, how many are unlike all known ones, and the commands that train them."""
    kept = keep(found)
    shown = [f"{row.number} ({_percent(row.chance).strip()} %)" for row in kept.rows[:SHOWN_ROWS]]
    more = f" and {kept.recommended - len(shown)} more" if kept.recommended > len(shown) else ""
    say(f"keep after epoch {epoch} (chance of low error): {', '.join(shown) or f'none, {kept.none}'}{more}")
    if kept.command is not None:
        again = "all are complete; to train them again" if kept.complete == kept.recommended else "to train them"
        say(f"    {again}: {_command(kept.command, kept.recommended)}")
    if kept.outside:
        command = f": {_command(kept.outside_command, kept.outside)}" if kept.outside_command else ""
        say(f"{kept.outside_in_words}{command}")
    say()


def _command(command: str, variants: int) -> str:
    return command if variants <= SHOWN_NUMBERS else "the command is in the report"


def print_elsewhere(elsewhere: list[Transfer]) -> None:
    """ROC AUC of AeLLE on variants unlike those that it was trained on."""
    for row in transfer_table(elsewhere):
        aucs = ", ".join(f"{100 * cell.auc:.0f} (at {100 * cell.progress:.0f} %)" for cell in row["cells"])
        say(f"AeLLE trained on {row['trained_on']}, scored on {row['scored_on']}: ROC AUC × 100 {aucs}")


def print_left_out(found: LeftOut, epochs: int) -> None:
    """ROC AUC on variants with values of a hyperparameter that the predictors have not seen."""
    stages = found.study.stages(epochs)
    say("", left_out_sentence(found), f"ROC AUC × 100 (mean over {count(found.study.splits, 'split')})")
    rows = left_out_rows(found, epochs)
    width = max(len("share of training"), *(len(row["name"]) for row in rows))
    say(f"{'share of training':{width}}" + "".join(f"{100 * k / epochs:>6.0f} %" for k in stages))
    for row in rows:
        say(f"{row['name']:{width}}" + "".join(f"{100 * cell['auc']:8.0f}" for cell in row["cells"]))
    say()


def print_shares(found: Findings) -> None:
    """The share of low-error variants per hyperparameter, the features' correlations, and what the paper reports."""
    paper = PAPER.get(found.sweep.task)
    if len(found.complete.losses) == 0:
        return
    say(f"low-error: {_percent(found.complete.low_error.mean())} %" + (f"; the paper: {paper.of_all}" if paper else ""))
    for name, groups in found.shares.items():
        say(f"  {name} " + ", ".join(f"{g.label}: {100 * g.low / g.variants:.0f} % of {g.variants}" for g in groups))
        if paper and name in paper.of_hyperparameter:
            say(f"    the paper: {paper.of_hyperparameter[name]}")
    known = [one for one in found.correlations if np.isfinite(one.rho)]
    n = min((one.n for one in known), default=0)
    if n >= MIN_VARIANTS:
        cells = [f"{one.feature} {one.rho:+.2f}" for one in known]
        say(f"rank correlation with the final loss: {', '.join(cells)}")
        say(f"    ({n} variants; without association, 95 % of sweeps stay within ±{1.96 / (n - 1) ** 0.5:.2f})")
        if paper:
            say(f"    the paper: {PAPER_ON_FEATURES}")
        say()


def _percent(share: float) -> str:
    return "   –" if np.isnan(share) else f"{100 * share:4.0f}"
