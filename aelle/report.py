"""Writes the report: one HTML file that opens offline, its tables as CSV, and its figures as PNG and SVG."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float
from jinja2 import Environment, PackageLoader, select_autoescape
from plotly.offline import get_plotlyjs

from aelle import early_figures, trained_figures
from aelle.comparison import Comparison
from aelle.early import Study
from aelle.evaluation import PRECISION
from aelle.example_figures import example_figure
from aelle.examples import Example
from aelle.features import Correlation
from aelle.generalisation import Transfer, as_table
from aelle.markup import escaped_examples, escaped_plane, escaped_study, escaped_sweep
from aelle.plane import SHARES as PLANE_SHARES
from aelle.plane import TrainedPlane
from aelle.predictors import COMBINED
from aelle.runs import replace_atomically
from aelle.savings import HALVING, KEPT, NO_CUT, savings
from aelle.shares import PAPER, PAPER_ON_FEATURES, Group
from aelle.space_figure import plane_in_space
from aelle.stills import write_stills
from aelle.table import SweepTable
from aelle.tables import agreements_table, features_table, problems_table, shares_table, unfinished

FIGURES = (
    "distribution",
    "losses",
    "spectra",
    "features",
    "plane",
    "embeddings",
    "planes",
    "curves",
    "calibration",
    "examples",
)
"""All that a report can have, but for one."""

TURNING = "space"
"""The plane's three components; on paper its flat picture stands for them."""

ENOUGH = 10
"""Splits, to tell a difference from their spread."""


@dataclass(frozen=True)
class Findings:
    """All that a report tells. `ended`: the variants of `sweep` whose training is over; `correlations` and `shares` of
    those; `plane`, with the `comparison` of embeddings, and `early` are None where there is no classification, for the
    `reason` or `no_plane` given. `parts`: the shares of training, validation and test variants; `elsewhere`: how AeLLE
    ranks other inputs, networks, tasks."""

    sweep: SweepTable
    ended: SweepTable
    shares: dict[str, list[Group]]
    correlations: list[Correlation]
    examples: list[Example]
    plane: TrainedPlane | None
    comparison: Comparison | None
    no_plane: str
    early: Study | None
    reason: str
    elsewhere: list[Transfer]
    parts: list[float]
    settings: str


def write_report(folder: Path, found: Findings) -> Path:
    """Write `report.html`, its tables and, into `figures/`, its figures into the sweep's folder; what an earlier report
    left of those that this one lacks is removed."""
    sweep, ended, plane, early = found.sweep, found.ended, found.plane, found.early
    worth = savings(early, ended) if early is not None else None
    chances = early.chances(ended, sweep) if early is not None else None
    for name, table in _tables(found, worth, chances).items():
        path = folder / f"{name}.csv"
        if table is None:
            path.unlink(missing_ok=True)
        else:
            _write_csv(path, table)
    figures = _figures(_escaped(found))
    template = Environment(
        loader=PackageLoader("aelle", "."), autoescape=select_autoescape(default=True, default_for_string=True)
    ).get_template("report.html.j2")
    html = template.render(
        found=found,
        sweep=sweep,
        ended=ended,
        low=int(ended.low_error.sum()),
        plane=plane,
        reason=found.reason,
        paper=PAPER.get(sweep.task),
        paper_on_features=PAPER_ON_FEATURES,
        by_chance=1.96 / max(min((one.n for one in found.correlations), default=1) - 1, 1) ** 0.5,
        table=early_table(early, ended.epochs) if early else None,
        answer=answer(early, ended) if early else None,
        keep=keep(early, sweep, chances) if early and chances is not None else [],
        cut=first_cut(early, worth) if early and worth is not None else None,
        savings=savings_table(worth, early.stages(ended.epochs)) if worth is not None and early else [],
        elsewhere=transfer_table(found.elsewhere),
        kept=KEPT,
        splits=early.splits if early else 0,
        stages=early.stages(ended.epochs) if early else [],
        precision=PRECISION,
        unfinished=unfinished(sweep),
        shares=found.parts,
        plane_shares=PLANE_SHARES,
        plotly=get_plotlyjs(),
        figures={name: _fragment(figure) for name, figure in figures.items()},
    )
    path = folder / "report.html"
    replace_atomically(path, lambda file: file.write_text(html, encoding="utf-8"))
    if early is not None:
        # A page without a slider shows several epochs side by side.
        figures["planes"] = early_figures.planes_over_training(ended, early)
    write_stills(folder / "figures", {name: figures.pop(name, None) for name in FIGURES})
    assert not set(figures) - {TURNING}, f"FIGURES lacks {list(figures)}"
    return path


def _tables(
    found: Findings, worth: pd.DataFrame | None, chances: Float[np.ndarray, "V E"] | None
) -> dict[str, pd.DataFrame | None]:
    """By the names of their CSV files; None for one that this report lacks."""
    early = found.early
    return {
        "early_prediction": early.summary if early else None,
        "savings": worth,
        "generalisation": as_table(found.elsewhere) if found.elsewhere else None,
        "embeddings": agreements_table(found.comparison) if found.comparison else None,
        "variants": variants_table(found.sweep, early, chances),
        "shares": shares_table(found.shares),
        "features": features_table(found.correlations),
        "problems": problems_table(found.sweep),
    }


def _escaped(found: Findings) -> Findings:
    return replace(
        found,
        ended=escaped_sweep(found.ended),
        plane=found.plane and escaped_plane(found.plane),
        early=found.early and escaped_study(found.early),
        examples=escaped_examples(found.examples),
    )


def _figures(found: Findings) -> dict[str, go.Figure]:
    shown, ended = {}, found.ended
    measured = ended.measured_at_the_end()
    if np.isfinite(ended.final_loss).any():
        shown["distribution"] = trained_figures.loss_distribution(ended)
        if ended.hyperparameters:
            shown["losses"] = trained_figures.losses_over_hyperparameters(ended)
    if len(measured.losses):
        shown["spectra"] = trained_figures.spectra_by_loss(measured)
        shown["features"] = trained_figures.features_against_loss(measured, found.correlations)
    if found.plane is not None:
        shown["plane"] = trained_figures.trained_plane_figure(found.plane)
        if found.plane.points.shape[1] > 2:
            shown[TURNING] = plane_in_space(found.plane)
    if found.plane is not None and found.comparison is not None:
        shown["embeddings"] = trained_figures.embeddings(found.plane, found.comparison.embeddings)
    if found.early is not None:
        shown["planes"] = early_figures.plane_over_epochs(ended, found.early)
        shown["curves"] = early_figures.scores_over_epochs(found.early)
        shown["calibration"] = early_figures.calibration(found.early, found.early.first_epoch)
    examples = example_figure(found.examples)
    return shown if examples is None else {**shown, "examples": examples}


def variants_table(sweep: SweepTable, early: Study | None, chances: Float[np.ndarray, "V E"] | None) -> pd.DataFrame:
    """A row per variant: hyperparameters, state, final loss, and the chance of low error as AeLLE saw it per epoch."""
    table = sweep.variants[["variant", "run", "state", *sweep.hyperparameters]].copy()
    table["final_loss"] = np.where(sweep.variants["ended"], sweep.final_loss, np.nan)
    table["low_error"] = pd.Series(sweep.low_error, dtype="boolean").where(sweep.variants["ended"])
    if early is not None and chances is not None:
        for k in early.epochs:
            table[f"chance_epoch_{k}"] = chances[:, k]
    return table


def keep(early: Study, sweep: SweepTable, chances: Float[np.ndarray, "V E"]) -> list[dict]:
    """The variants to keep after the first epoch, those of the highest chance first."""
    now = np.nan_to_num(chances[:, early.first_epoch])
    order = np.argsort(-now, kind="stable")
    return [{"number": sweep.variants["variant"][v], "chance": now[v]} for v in order[: int((now > 0.5).sum())]]


def first_cut(early: Study, worth: pd.DataFrame) -> dict | None:
    """What a cut after the first epoch saves and costs by the recommendation; None where there is no such cut."""
    rows = worth[(worth["way"] == COMBINED) & (worth["epoch"] == early.first_epoch)]
    return dict(rows.iloc[0]) if len(rows) else None


def early_table(early: Study, epochs: int) -> list[dict]:
    """A row per predictor, a cell of metrics with their intervals per stage of training."""
    summary = early.summary.set_index(["predictor", "epoch"])
    rows = []
    for name in summary.index.unique("predictor"):
        cells = [dict(summary.loc[(name, k)]) for k in early.stages(epochs)]
        rows.append({"name": name, "spectra": name not in early.without_spectra, "cells": cells})
    return rows


def savings_table(worth: pd.DataFrame, stages: list[int]) -> list[dict]:
    """A row per way to cut, a cell per stage of training at which it can; one for successive halving."""
    at = worth.set_index(["way", "epoch"])
    ways = [way for way in at.index.unique("way") if way not in (HALVING, NO_CUT)]
    if not ways:
        return []
    epochs = [k for k in stages if k in at.loc[ways[0]].index]
    rows = [{"way": way, "cells": [dict(at.loc[(way, k)]) for k in epochs]} for way in ways]
    return [{"epochs": epochs}, *rows, {"way": HALVING, "cells": [dict(at.loc[HALVING].iloc[0])]}]


def transfer_table(elsewhere: list[Transfer]) -> list[dict]:
    """A row per pair of what was learned from and what was scored, a cell per stage of training."""
    rows: dict[tuple[str, str], list[Transfer]] = {}
    for one in elsewhere:
        rows.setdefault((one.learned, one.scored), []).append(one)
    return [{"learned": learned, "scored": scored, "cells": cells} for (learned, scored), cells in rows.items()]


def answer(early: Study, ended: SweepTable) -> dict:
    """The report's first sentences: the combination's choice after the first epoch, and what it gains on what one has
    without spectra."""
    k = early.first_epoch
    at = early.summary.set_index(["epoch", "predictor"]).loc[k]
    best = early.best_without_spectra(k)
    gain, low, high = early.gain(k, COMBINED, best)
    return {
        "epoch": k,
        "ours": dict(at.loc[COMBINED]),
        "best": {"name": best, **at.loc[best]},
        "gain": gain,
        "last": early.overtaken(COMBINED),
        "from": low,
        "to": high,
        "base": ended.low_error.mean(),
        "verdict": early.splits >= ENOUGH,
    }


def _fragment(figure: go.Figure) -> str:
    return figure.to_html(full_html=False, include_plotlyjs=False, config={"displayModeBar": False, "responsive": True})


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    replace_atomically(
        path, lambda file: table.replace([np.inf], np.nan).to_csv(file, index=False, float_format="%.6g")
    )
