"""The workspace of a sweep in Weights & Biases: the panels by which to read it, ready to become a report."""

import hashlib
import re
from typing import Any

import wandb_workspaces.reports.v2 as wr  # pyright: ignore[reportMissingImports]
import wandb_workspaces.workspaces as ws  # pyright: ignore[reportMissingImports]
from wandb_workspaces.workspaces import internal  # pyright: ignore[reportMissingImports]

from aelle.tracking import heat_map
from aelle.tracking.tracker import Pack
from aelle.tracking.wandb import CLASS
from aelle.variants import is_varied

MAX_RUNS = 100
"""Drawn in one panel."""


def write_workspace(entity: str, project: str, pack: Pack) -> str | None:
    """The address of the sweep's workspace, or None if the project has one: it may have been changed by hand."""
    name = view_name(pack.sweep)
    if _exists(entity, project, name):
        return None
    made = workspace(entity, project, pack)
    made._internal_name = f"nw-{name}-v"
    return made.save().url


def view_name(sweep: str) -> str:
    """The name of the workspace's address, the same for every process and machine that trains the sweep."""
    return hashlib.sha256(sweep.encode()).hexdigest()[:11]


def workspace(entity: str, project: str, pack: Pack) -> Any:
    """Sections of panels over the runs of the sweep's variants, those with the lowest loss first."""
    return ws.Workspace(
        entity=entity,
        project=project,
        name=re.sub(r"[^\w .,-]", "-", pack.sweep),
        sections=_sections(pack.config),
        settings=ws.WorkspaceSettings(max_runs=MAX_RUNS),
        runset_settings=ws.RunsetSettings(
            filters=f"Metric('Group') == '{_quoted(pack.sweep)}' and Metric('JobType') == 'variant'",
            order=[ws.Ordering(ws.Summary("final_loss"), ascending=True)],
            pinned_columns=[
                *(f"summary:{name}" for name in ("state", "final_loss", "low_error")),
                *(f"config:{name}.value" for name, _ in varied(pack.config)),
            ],
        ),
    )


def varied(config: dict[str, Any]) -> list[tuple[str, bool]]:
    """The hyperparameters that differ between variants, and whether on a logarithmic scale; of runs that were started
    one by one, all that are given."""
    space = {name: config.get(name) for name in config["hyperparameters"]}
    differ = {name: spec for name, spec in space.items() if is_varied(spec)}
    given = {name: spec for name, spec in space.items() if spec is not None}
    return [(name, str(spec).startswith("log_uniform")) for name, spec in (differ or given).items()]


def _sections(config: dict[str, Any]) -> list[Any]:
    axes = [_axis(wr.Config(name), name, log) for name, log in varied(config)]
    axes += [_axis(wr.SummaryMetric(name), name) for name in ("lyapunov/maximum", "lyapunov/mean")]
    axes.append(_axis(wr.SummaryMetric("final_loss"), "final_loss", log=True))
    losses = [
        *(_by_class(name, log_y=True) for name in ("val_loss", "train_loss")),
        _each("val_loss", log_y=True),
        wr.ScatterPlot(
            title="final loss against the mean exponent",
            x=wr.SummaryMetric("lyapunov/mean"),
            y=wr.SummaryMetric("final_loss"),
            log_y=True,
        ),
        wr.ParameterImportancePlot(with_respect_to="final_loss"),
    ]
    spectra = [_by_class(f"lyapunov/{name}") for name in ("maximum", "mean", "share_above_zero")]
    sections = [
        _wide("Parallel coordinates", wr.ParallelCoordinatesPlot(title="a line per variant", columns=axes)),
        _section("Loss curves by class", losses),
        _wide("Spectra over epochs", wr.MediaBrowser(media_keys=[heat_map.NAME], num_columns=4)),
        _section("Spectra by class", spectra),
    ]
    predicts = (config.get("prediction") or {}).get("model") is not None
    if predicts or (config.get("search") or {}).get("prune") == "aelle":
        chances = [_by_class("chance", range_y=(0, 1)), _each("chance", range_y=(0, 1))]
        sections.append(_section("Chances of low error", chances))
    return sections


def _section(name: str, panels: list[Any], columns: int = 3, rows: int = 2) -> Any:
    return ws.Section(
        name=name, panels=panels, is_open=True, layout_settings=ws.SectionLayoutSettings(columns=columns, rows=rows)
    )


def _wide(name: str, panel: Any) -> Any:
    return _section(name, [panel], columns=1, rows=1)


def _axis(metric: Any, name: str, log: bool = False) -> Any:
    return wr.ParallelCoordinatesPlotColumn(metric, display_name=name, log=log or None)


def _by_class(metric: str, **options: Any) -> Any:
    return wr.LinePlot(
        title=f"{metric} by class: median, lowest and highest",
        y=[metric],
        title_x="epoch",
        groupby=wr.Config(CLASS),
        groupby_aggfunc="median",
        groupby_rangefunc="minmax",
        **options,
    )


def _each(metric: str, **options: Any) -> Any:
    return wr.LinePlot(title=f"{metric} of each variant", y=[metric], title_x="epoch", **options)


def _quoted(text: str) -> str:
    """For a filter, which the library reads as Python after it has replaced signs in it, even within a name."""
    return "".join(c if c.isalnum() else f"\\U{ord(c):08x}" for c in text)


def _exists(entity: str, project: str, name: str) -> bool:
    try:
        internal.get_view_dict(entity, project, name)
    except ValueError as error:
        if "not found in project" in str(error):
            return False
        raise
    return True
