"""Writes the report: an HTML file that opens offline, tables as CSV, and figures as PNG and SVG."""

import json
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
from aelle.files import refuse_unless, replace_atomically
from aelle.report.figures import FIGURES, IN_THE_PAGE, figures, side_by_side
from aelle.report.page import (
    SHOWN_ROWS,
    answer,
    architecture_sentences,
    best,
    early_table,
    first_cut,
    keep,
    left_out_rows,
    left_out_sentence,
    outside_sentences,
    savings_table,
    unfinished_in_words,
    weights_table,
)
from aelle.report.stills import write_stills
from aelle.report.style import note
from aelle.report.tables import tables, unfinished
from aelle.spreadsheets import write_csv


def write_report(folder: Path, found: Findings) -> Path:
    """Write `report.html`, or `report-NAME.html` of an analysis that has a name, into the sweep's folder; its tables
    and, in `figures/`, its figures into `results_folder`. Remove those of an earlier report that this one lacks."""
    sweep, complete, plane, early = found.sweep, found.complete, found.plane, found.early
    worth = savings(early, complete) if early is not None else None
    results = results_folder(folder, found.name)
    results.mkdir(exist_ok=True)
    for name, table in tables(found, worth, found.chances).items():
        path = results / f"{name}.csv"
        if table is None:
            path.unlink(missing_ok=True)
        else:
            _write_csv(path, table)
    drawn, texts = figures(found), Texts()
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
        results=results.name + "/" if found.name else "",
        keep=keep(found),
        best=best(found),
        varied=sweep.varied,
        shown_rows=SHOWN_ROWS,
        importance=found.importance,
        paper=PAPER.get(sweep.task),
        paper_on_features=PAPER_ON_FEATURES,
        rho_bound=1.96 / max(min((one.n for one in found.correlations), default=1) - 1, 1) ** 0.5,
        table=early_table(early, complete.epochs) if early else None,
        answer=answer(early, complete) if early else None,
        cut=first_cut(early, worth) if early and worth is not None else None,
        savings=savings_table(worth, early.stages(complete.epochs)) if worth is not None and early else [],
        elsewhere=transfer_table(found.elsewhere),
        left_out=left_out_rows(found.left_out, complete.epochs) if found.left_out else [],
        left_out_in_words=left_out_sentence(found.left_out) if found.left_out else "",
        left_out_stages=found.left_out.study.stages(complete.epochs) if found.left_out else [],
        architectures=architecture_sentences(found.architectures, complete.epochs),
        kept_share=KEPT_SHARE,
        splits=early.splits if early else 0,
        stages=early.stages(complete.epochs) if early else [],
        precision=PRECISION,
        outside=outside_sentences(found),
        weights=weights_table(early) if early else [],
        unfinished=(left := unfinished(sweep)),
        unfinished_in_words=unfinished_in_words(left),
        split_shares=found.split_shares,
        plane_shares=PLANE_SHARES,
        plotly=get_plotlyjs(),
        figures={name: _fragment(figure, texts) for name, figure in drawn.items()},
        texts=texts.script(),
        notes={name: note(figure) for name, figure in drawn.items()},
    )
    path = folder / f"report{'-' * bool(found.name)}{found.name}.html"
    replace_atomically(path, lambda file: file.write_text(html, "utf-8", "backslashreplace"))
    stills = {**drawn, **side_by_side(found)}
    assert not set(stills) - {*FIGURES, *IN_THE_PAGE}, f"FIGURES lacks some of {list(stills)}"
    write_stills(results / "figures", {name: stills.get(name) for name in FIGURES})
    return path


def refuse_links(folder: Path, name: str) -> None:
    """Raises UnwritableError for a link in the place of a folder that the analysis would write to."""
    results = results_folder(folder, name)
    for inner in ([results] if name else []) + [results / "model", results / "figures"]:
        refuse_unless(inner, "folder")


def results_folder(folder: Path, name: str) -> Path:
    """Where the tables, figures and model of an analysis are: in the sweep's folder, or below it if it has a name."""
    return folder / f"analysis-{name}" if name else folder


class Texts:
    """What is shown when the mouse is over a point, once for all figures: a variant is a point in tens of panels."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def numbered(self, figure: go.Figure) -> go.Figure:
        """A copy with the places of the texts in their stead; the page's script puts them back."""
        figure = go.Figure(figure)
        for trace in figure.select_traces(lambda trace: trace.type in ("scatter", "scatter3d")):
            if trace.text is not None and not isinstance(trace.text, str):
                trace.text = [self.places.setdefault(text, len(self.places)) for text in trace.text]
        return figure

    def script(self) -> str:
        """As JSON that can stand in a script: no text in it ends the script."""
        plain = json.dumps(list(self.places))
        return plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _fragment(figure: go.Figure, texts: Texts) -> str:
    options = {"displayModeBar": False, "responsive": True}
    return texts.numbered(figure).to_html(full_html=False, include_plotlyjs=False, config=options)


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    write_csv(path, table.replace([np.inf], np.nan), float_format="%.6g")
