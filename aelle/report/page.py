"""The contents of the report's page, as its template takes them: the first lines, and the tables."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from aelle.analysis.architectures import FOLDS, ArchitectureAccuracy
from aelle.analysis.baselines import LossAgainstFinalThreshold, TunedLoss
from aelle.analysis.early import Study
from aelle.analysis.findings import Findings
from aelle.analysis.left_out import SHOWN, LeftOut
from aelle.analysis.predictors import RECOMMENDED
from aelle.analysis.savings import HALVING, NO_CUT
from aelle.hyperparameters import not_read
from aelle.predictor.members import HYPERPARAMETERS_ONLY
from aelle.report.style import short
from aelle.sweep.table import SweepTable
from aelle.terminal import count

SHOWN_ROWS = 10
"""Rows of a table of variants that are seen at once."""

MAX_ROWS = 200
"""Rows of a table of variants; all of them are in variants.csv."""


def answer(early: Study, complete: SweepTable) -> dict:
    """Scores of the recommended predictor after the first epoch, and their difference from the best one without
    spectra."""
    k, ours = early.first_epoch, RECOMMENDED
    at = early.summary.set_index(["epoch", "predictor"]).loc[k]
    best = early.best_without_spectra(k)
    gain, low, high = early.gain(k, ours, best)
    return {
        "epoch": k,
        "name": ours,
        "ours": dict(at.loc[ours]),
        "best": {"name": best, **at.loc[best]},
        "gain": gain,
        "overtaken": early.overtaken(ours),
        "low": low,
        "high": high,
        "base_rate": complete.low_error.mean(),
    }


def chosen_predictors(early: Study) -> list[str]:
    """The five rows that are printed: the recommended predictor, the best others without and with spectra, the paper's
    baseline, and the hyperparameters alone (without any, the tuned loss). Best is the mean ROC AUC over the epochs
    before the last."""
    before = early.scores[early.scores["epoch"] < early.end]
    means = (before if len(before) else early.scores).groupby("predictor", sort=False)["auc"].mean()
    names = [str(name) for name in means.sort_values(ascending=False, kind="stable").index]
    ours = RECOMMENDED
    without = [name for name in names if name in early.without_spectra]
    others = [name for name in names if name not in without and name != ours]
    alone = HYPERPARAMETERS_ONLY if HYPERPARAMETERS_ONLY in without else TunedLoss.name
    chosen = [ours, *without[:1], *others[:1], LossAgainstFinalThreshold.name, alone]
    # One of them may be the best without spectra.
    distinct = [name for name in dict.fromkeys([*chosen, TunedLoss.name, *without]) if name in names]
    return distinct[: len(chosen)]


class Row(NamedTuple):
    """A variant in a table: `chance` and `final_loss` are NaN where unknown; `command` trains it again, if known."""

    number: int
    values: list[str]
    chance: float
    final_loss: float
    diverged: bool
    command: str | None


class Keep(NamedTuple):
    """The `recommended` variants, of which `rows` has the best; `complete`: how many of them are already; `command`
    trains the others, or, where there are none, all of them again. `outside`: how many variants are unlike all known
    ones; `outside_command` trains those that are not complete. `none`: why no variant is recommended, or ""."""

    rows: list[Row]
    recommended: int
    complete: int
    command: str | None
    outside: int = 0
    outside_command: str | None = None
    none: str = ""

    @property
    def outside_in_words(self) -> str:
        """Of the variants of which nothing is known; "" for none."""
        if not self.outside:
            return ""
        are, them = ("is", "it") if self.outside == 1 else ("are", "them")
        said = f"{self.outside}{' more' if self.rows else ''} {are} unlike all known ones: nothing is known of {them}"
        return f"{said}; to train {them}{' too' if self.rows else ''}" if self.outside_command else said


def keep(found: Findings) -> Keep:
    """The variants whose chance of low error is above one half after the first epoch; apart from them those of which
    the predictor knows nothing."""
    early, sweep, make = found.early, found.sweep, found.retraining
    if early is None or found.chances is None:
        return Keep([], 0, 0, None)
    chance, outside = (values[:, early.first_epoch] for values in found.chances)
    known = np.isfinite(chance) & ~outside
    complete = sweep.variants["complete"].to_numpy(bool)
    # Nothing is left to decide of those that were stopped.
    stopped = sweep.over & ~complete
    now = np.where(known & ~stopped, chance, 0.0)
    order = np.argsort(-now, kind="stable")[: int((now > 0.5).sum())]
    numbers, left = (
        [int(n) for n in sweep.variants["variant"].iloc[which]]
        for which in (order, np.flatnonzero(outside & ~sweep.over))
    )
    command = None
    if make is not None and numbers:
        command = make.again(numbers, "again") if complete[order].all() else make.to_the_end(numbers)
    none = "" if numbers else f"no {'other ' if outside.any() else ''}chance is above 50 %"
    if outside.any() and not known.any():
        none = "every variant with a chance is unlike all known ones"
    return Keep(
        rows(found, order[:MAX_ROWS], now),
        len(numbers),
        int(complete[order].sum()),
        command,
        int(outside.sum()),
        make.to_the_end(left) if make is not None and left else None,
        none,
    )


def best(found: Findings) -> list[Row]:
    """The variants of the lowest final losses."""
    loss = np.where(found.sweep.variants["complete"], found.sweep.final_loss, np.nan)
    order = np.argsort(loss, kind="stable")[: int(np.isfinite(loss).sum())]
    return rows(found, order[:SHOWN_ROWS])


def rows(found: Findings, order: Int[np.ndarray, "n"], chance: Float[np.ndarray, "V"] | None = None) -> list[Row]:
    sweep, again = found.sweep, found.retraining
    names, result = sweep.varied, []
    for v in order:
        variant = sweep.variants.iloc[v]
        number, over = int(variant["variant"]), bool(variant["complete"])
        result.append(
            Row(
                number,
                ["–" if not_read(variant[name]) else short(variant[name]) for name in names],
                np.nan if chance is None else float(chance[v]),
                float(sweep.final_loss[v]) if over else np.nan,
                over and not np.isfinite(sweep.final_loss[v]),
                again and again.again([number], f"variant-{number}"),
            )
        )
    return result


def first_cut(early: Study, worth: pd.DataFrame) -> dict | None:
    """The savings and cost of pruning after the first epoch by the recommended predictor; None where it is the last."""
    rows = worth[(worth["rule"] == RECOMMENDED) & (worth["epoch"] == early.first_epoch)]
    return dict(rows.iloc[0]) if len(rows) else None


def early_table(early: Study, epochs: int) -> list[dict]:
    """A row per predictor; a cell per stage of training, with the metrics and their intervals."""
    summary = early.summary.set_index(["predictor", "epoch"])
    rows = []
    for name in summary.index.unique("predictor"):
        cells = [dict(summary.loc[(name, k)]) for k in early.stages(epochs)]
        rows.append({"name": name, "spectra": name not in early.without_spectra, "cells": cells})
    return rows


def weights_table(early: Study) -> list[dict]:
    """A row per member of the recommended predictor; a cell per stage of training before the last: its mean weight over
    the splits. The last row is the share of those that see spectra."""
    weights = early.weights
    epochs = [k for k in early.stages(early.end) if k in weights.index]
    if not epochs:
        return []
    at = weights.loc[epochs]
    seeing = [name for name in at.columns if name not in early.without_spectra]
    share = at[seeing].sum(axis=1) / at.sum(axis=1).clip(lower=1e-9)
    rows = [{"name": name, "spectra": name in seeing, "cells": at[name].tolist()} for name in at.columns]
    return [{"epochs": epochs}, *rows, {"name": "share of those that see spectra", "cells": share.tolist()}]


def savings_table(worth: pd.DataFrame, stages: list[int]) -> list[dict]:
    """A row per pruning rule; a cell per stage of training. Successive halving has one cell."""
    at = worth.set_index(["rule", "epoch"])
    rules = [rule for rule in at.index.unique("rule") if rule not in (HALVING, NO_CUT)]
    if not rules:
        return []
    epochs = [k for k in stages if k in at.loc[rules[0]].index]
    rows = [{"rule": rule, "cells": [dict(at.loc[(rule, k)]) for k in epochs]} for rule in rules]
    return [{"epochs": epochs}, *rows, {"rule": HALVING, "cells": [dict(at.loc[HALVING].iloc[0])]}]


def left_out_rows(found: LeftOut, epochs: int) -> list[dict]:
    """A row per shown predictor; a cell per stage of training."""
    at = found.table[found.table["epoch"].isin(found.study.stages(epochs))]
    cells = {str(name): part.to_dict("records") for name, part in at.groupby("predictor")}
    return [{"name": name, "cells": cells[name]} for name in SHOWN if name in cells]


def left_out_sentence(found: LeftOut) -> str:
    """What was learned from what, what spectra add there, and what could not be tested."""
    noun = "intervals" if found.intervals else "values"
    said = (
        f"learned from {found.known} of {found.values} {noun} of {found.name}, tested on the others: "
        f"{found.gain.in_words('losses and the other hyperparameters')}; "
        f"{100 * found.study.share_outside:.0f} % of the tested variants were unlike all known ones"
    )
    needed = "low-error and high-error variants with spectra are needed on both sides"
    if found.untested:
        said += f"; not tested: {', '.join(found.untested)} ({needed})"
    if found.missing:
        said += f"; {count(found.missing, 'split')} of {found.study.splits + found.missing} not possible ({needed})"
    return said


def architecture_sentences(found: Sequence[ArchitectureAccuracy], epochs: int) -> list[str]:
    """How well spectra predict the architecture, by epoch, and which architectures are left out."""
    said = []
    for one in found:
        when = f"after {100 * one.epoch / epochs:.0f} % of the training"
        when = "before training" if one.epoch == 0 else "after training" if one.epoch == epochs else when
        of = f"{one.n} networks" if one.n == one.measured else f"a sample of {one.n} of {one.measured} networks"
        said.append(
            f"{when}, the architecture (one of {len(one.names)}) is predicted correctly from spectra for "
            f"{100 * one.accuracy:.0f} % of {of} ({100 * one.low:.0f} to {100 * one.high:.0f} %); "
            f"chance level {100 * one.chance_level:.0f} %"
        )
    too_few = sorted({name for one in found for name in one.too_few})
    if too_few:
        said.append(f"architectures with fewer than {FOLDS} networks with spectra are left out: {', '.join(too_few)}")
    return said


def unfinished_in_words(unfinished: list[dict[str, Any]]) -> str:
    """`3 failed, 2 diverged`."""
    return ", ".join(f"{len(row['numbers'])} {row['state']}" for row in unfinished)


def outside_sentences(found: Findings) -> list[str]:
    """How many variants were taken for unlike all known ones, and why: of the test variants, and of those that are not
    complete."""
    early, said = found.early, []
    if early is not None and any(marked.any() for marked in early.outside):
        said.append(
            f"outside: {100 * early.share_outside:.1f} % of the test variants were unlike all that the predictor had "
            f"learned from; their chance is the share of low error, {100 * found.complete.low_error.mean():.0f} %"
        )
    if found.outside:
        number, why = next(iter(found.outside.items()))
        said.append(f"outside: {count(len(found.outside), 'unfinished variant')}, e.g. {number}: {why}")
    return said
