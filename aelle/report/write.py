"""Writes the report: an HTML file that opens offline, tables as CSV, and figures as PNG and SVG."""

from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, select_autoescape
from plotly.offline import get_plotlyjs

from aelle.analysis.findings import Findings
from aelle.analysis.generalisation import transfer_table
from aelle.analysis.plane import PLANE_SHARES
from aelle.analysis.savings import KEPT_SHARE, savings
from aelle.analysis.scores import PRECISION
from aelle.analysis.shares import PAPER, PAPER_ON_FEATURES
from aelle.files import replace_atomically
from aelle.report.figures import FIGURES, TURNING, figures, side_by_side
from aelle.report.page import answer, early_table, first_cut, recommended, savings_table
from aelle.report.stills import write_stills
from aelle.report.tables import tables, unfinished


def write_report(folder: Path, found: Findings) -> Path:
    """Write `report.html`, its tables and, in `figures/`, its figures into the sweep's folder. Remove those of an
    earlier report that this one lacks."""
    sweep, complete, plane, early = found.sweep, found.complete, found.plane, found.early
    worth = savings(early, complete) if early is not None else None
    chances = early.chances(complete, sweep) if early is not None else None
    for name, table in tables(found, worth, chances).items():
        path = folder / f"{name}.csv"
        if table is None:
            path.unlink(missing_ok=True)
        else:
            _write_csv(path, table)
    drawn = figures(found)
    template = Environment(
        loader=PackageLoader("aelle.report", "."), autoescape=select_autoescape(default=True, default_for_string=True)
    ).get_template("report.html.j2")
    html = template.render(
        found=found,
        sweep=sweep,
        complete=complete,
        low=int(complete.low_error.sum()),
        better_than_reference=(complete.final_loss < sweep.reference.median).mean() if sweep.reference else None,
        plane=plane,
        reason=found.reason,
        paper=PAPER.get(sweep.task),
        paper_on_features=PAPER_ON_FEATURES,
        rho_bound=1.96 / max(min((one.n for one in found.correlations), default=1) - 1, 1) ** 0.5,
        table=early_table(early, complete.epochs) if early else None,
        answer=answer(early, complete) if early else None,
        recommended=recommended(early, sweep, chances) if early and chances is not None else [],
        cut=first_cut(early, worth) if early and worth is not None else None,
        savings=savings_table(worth, early.stages(complete.epochs)) if worth is not None and early else [],
        elsewhere=transfer_table(found.elsewhere),
        kept_share=KEPT_SHARE,
        splits=early.splits if early else 0,
        stages=early.stages(complete.epochs) if early else [],
        precision=PRECISION,
        unfinished=unfinished(sweep),
        split_shares=found.split_shares,
        plane_shares=PLANE_SHARES,
        plotly=get_plotlyjs(),
        figures={name: _fragment(figure) for name, figure in drawn.items()},
    )
    path = folder / "report.html"
    replace_atomically(path, lambda file: file.write_text(html, encoding="utf-8"))
    stills = {**drawn, **side_by_side(found)}
    assert not set(stills) - {*FIGURES, TURNING}, f"FIGURES lacks some of {list(stills)}"
    write_stills(folder / "figures", {name: stills.get(name) for name in FIGURES})
    return path


def _fragment(figure: go.Figure) -> str:
    return figure.to_html(full_html=False, include_plotlyjs=False, config={"displayModeBar": False, "responsive": True})


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    replace_atomically(
        path, lambda file: table.replace([np.inf], np.nan).to_csv(file, index=False, float_format="%.6g")
    )
