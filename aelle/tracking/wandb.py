"""A Weights & Biases run per variant, grouped by sweep."""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import wandb

from aelle.errors import UserError, in_one_line
from aelle.terminal import say
from aelle.tracking.tracker import TIME, Analysis, Outcome, Pack, Picture, Row
from aelle.variants import Variant

EXIT_CODES = {"complete": 0, "diverged": 0, "pruned": 0, "failed": 1, "stopped": 255, "running": 255}
"""Exit codes of runs; Weights & Biases shows 0 as finished, 1 as failed and 255 as killed."""

CLASS = "class"
"""The entry of a run's configuration by which the workspace groups curves: panels cannot group by a summary."""

SERVER_TIMEOUT_SECONDS = 60
"""How long to wait for a server at the start and the end of a run. Unsent data stay in the run's folder."""

SETTINGS = {
    "console": "off",
    "save_code": False,
    "disable_git": True,
    "disable_job_creation": True,
    "silent": True,
    "symlink": False,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
    "init_timeout": SERVER_TIMEOUT_SECONDS,
    "finish_timeout": SERVER_TIMEOUT_SECONDS,
    "finish_timeout_raises": True,
}
"""Only what the pack reports: no console, code, git state or machine statistics for every variant."""


class WandbRuns:
    """A run for each of the pack's variants, all open from the pack's start to its end.

    A run's id follows from sweep, variant and settings, so a resumed pack continues its runs: epochs that the server
    has are not sent again. Offline there is no server to ask, and the new folder contains the run from its first epoch.
    """

    def __init__(self, project: str, entity: str | None, mode: str):
        self.place: dict[str, Any] = {"project": project, "entity": entity, "mode": mode}
        self.times: dict[int, float] = {}
        check_access(mode)

    def start(self, pack: Pack) -> None:
        def begin(variant: Variant) -> wandb.Run:
            return self._begin(
                pack.folder.parent,
                group=pack.sweep,
                job_type="variant",
                name=f"{pack.sweep}-{variant.number}",
                id=run_id(pack, variant),
                resume="allow" if pack.resumed else None,
                config=pack.hyperparameters(variant),
            )

        _set_up()
        runs = _at_once(begin, pack.variants)
        self.runs = {variant.number: run for variant, run in zip(pack.variants, runs, strict=True)}
        if self.place["mode"] == "online":
            _write_workspace(runs[0].entity, runs[0].project, pack)

    def epoch(self, rows: Sequence[Row]) -> None:
        self.times |= {int(row["variant"]): row[TIME] for row in rows if TIME in row}
        for row in rows:
            run = self.runs[int(row["variant"])]
            if row["epoch"] >= run.starting_step:
                run.log({name: value for name, value in row.items() if name != "variant"}, step=int(row["epoch"]))

    def pictures(self, pictures: Iterable[Picture]) -> None:
        for picture in pictures:
            run = self.runs[picture.variant]
            # A run may have been stopped between its last epoch and its picture, or be older than pictures.
            if picture.epoch >= run.starting_step or run.summary.get(picture.name) is None:
                step = max(picture.epoch, run.starting_step)
                # A step has the time of what was logged last.
                time = {TIME: self.times[picture.variant]} if picture.variant in self.times else {}
                run.log({picture.name: wandb.Image(picture.pixels), **time}, step=step)

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        def end(run: wandb.Run, outcome: Outcome) -> None:
            run.summary.update(outcome)
            run.config.update({CLASS: class_of(outcome)}, allow_val_change=True)
            run.finish(exit_code=EXIT_CODES[outcome["state"]])

        _at_once(end, list(self.runs.values()), outcomes)

    def analysis(self, analysis: Analysis) -> None:
        """A separate run, next to those of the sweep's variants."""
        _set_up()
        name = _allowed(analysis.sweep)
        run = self._begin(analysis.folder, group=analysis.sweep, job_type="analysis", name=f"{name}-analysis")
        run.log(
            {f"tables/{table}": wandb.Table(dataframe=pd.read_csv(path)) for table, path in analysis.tables.items()}
        )
        run.log({f"figures/{figure}": wandb.Plotly(drawn) for figure, drawn in analysis.figures.items()})
        run.summary.update(analysis.summary)
        report = wandb.Artifact(f"{name}-report", type="report")
        for path in (analysis.report, *analysis.tables.values()):
            report.add_file(str(path))
        run.log_artifact(report)
        if analysis.model is not None:
            model = wandb.Artifact(f"{name}-model", type="model")
            for path in sorted(analysis.model.iterdir()):
                model.add_file(str(path))
            run.log_artifact(model)
        run.finish()

    def _begin(self, folder: Path, **options: Any) -> wandb.Run:
        return wandb.init(**self.place, **options, dir=folder, reinit="create_new", settings=wandb.Settings(**SETTINGS))


def class_of(outcome: Outcome) -> str:
    """`low-error` or `high-error`; of a variant whose training has not ended, its state."""
    if "low_error" in outcome:
        return "low-error" if outcome["low_error"] else "high-error"
    return outcome["state"]


_with_workspace: set[tuple[str, str, str]] = set()
"""Entity, project and sweep of those whose workspace this process has written or seen."""


def _write_workspace(entity: str, project: str, pack: Pack) -> None:
    """Once the project exists, that is, after a run has begun. Training does not depend on it."""
    key = (entity, project, pack.sweep)
    if key in _with_workspace:
        return
    _with_workspace.add(key)
    try:
        from aelle.tracking.workspace import write_workspace

        if url := write_workspace(entity, project, pack):
            say(f"workspace: {url}")
    except ImportError:
        # One pack says so for all: others may be trained in other processes.
        if any(variant.number == 0 for variant in pack.variants):
            say("no workspace is written to Weights & Biases: for one, run pip install wandb-workspaces")
    except Exception as error:
        say(f"warning: the workspace was not written to Weights & Biases ({in_one_line(error)})")


def run_id(pack: Pack, variant: Variant) -> str:
    """The same whenever exactly this variant is trained."""
    digest = hashlib.sha256(pack.key(variant).encode()).hexdigest()[:8]
    return f"{_allowed(pack.sweep)[:40]}-{variant.number}-{digest}"


def check_access(mode: str) -> None:
    """Raises UserError for an unknown mode, and if Weights & Biases would ask for a login."""
    if mode not in ("online", "offline", "disabled"):
        raise UserError(f"logger.mode={mode}: choose online, offline or disabled")
    if mode == "online":
        _set_up()
        known = wandb.login(prompt=False, verify=False)
        # Otherwise jobs on other machines would look, through the environment, for the service that login has started.
        wandb.teardown()
        if not known:
            raise UserError("logger=wandb finds no login: run wandb login, or set logger.mode=offline")


def _set_up() -> None:
    """Set up what all runs of this process share; otherwise each would print where its login comes from."""
    wandb.setup(wandb.Settings(silent=True))


def _allowed(name: str) -> str:
    """Without the characters that Weights & Biases forbids in ids and names."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)


def _at_once(do: Callable, *of_each: Sequence) -> list:
    """In parallel: one after the other, waiting for the server would take seconds."""
    with ThreadPoolExecutor(len(of_each[0])) as pool:
        return list(pool.map(do, *of_each))
