"""The runs of a sweep's folder, sent to a dashboard afterwards."""

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException, MissingConfigException
from omegaconf import OmegaConf

from aelle.commands.own_files import check_own_conf, find_own_conf, import_from, own_conf
from aelle.errors import UserError
from aelle.files import refuse_unless
from aelle.installation import CONF
from aelle.runs.reader import DamagedRunError, read_run
from aelle.sweep.plan import WRITTEN_BY_OTHERS
from aelle.sweep.selection import select
from aelle.sweep.status import run_state
from aelle.terminal import complain, count, counted, say


def send(folder: Path, overrides: list[str]) -> bool:
    """Send every variant of a sweep to the logger of these overrides. Returns whether nothing had to be left out.

    What is left out is reported on stderr. One run folder is read and sent at a time. A run that is being trained with
    the same logger sends itself. Raises UserError if there is nothing to send, or the logger fails.
    """
    logger = logger_of(overrides)
    from aelle.tracking.stored import SendingError, send_run
    from aelle.tracking.tracker import tracker_of

    tracker_of(logger)
    for name in WRITTEN_BY_OTHERS:
        refuse_unless(folder / name, "file", "folder")
    found = select(folder, lambda run: replace(run, epochs=run.epochs.schema.empty_table()))
    if not found.runs:
        for problem in found.problems:
            complain(f"warning: {problem}")
        raise UserError(f"{folder} contains no run that can be read: give the folder of a sweep, e.g. outputs/digits")
    chosen = [(run, rows) for run, rows in zip(found.runs, found.rows, strict=True) if rows]
    sent, variants = 0, 0
    for run, rows in counted(chosen, f"sending {count(len(chosen), 'run')}"):
        try:
            run = read_run(run.path)
            running = run_state(run) == "running"
            if running and _target(run.config.get("logger")) == logger["_target_"]:
                say(f"{run.path.name} is being trained, and sends itself")
                continue
            send_run(run, rows, logger, found.threshold, "running" if running else "stopped")
        except DamagedRunError as error:
            found.problems.append(f"{run.path.name} is left out: {error}")
            continue
        except SendingError as error:
            done = f"{sent} of {count(len(chosen), 'run')} sent"
            raise UserError(f"{error}; {done}: run the same command again, it sends nothing twice") from error
        sent, variants = sent + 1, variants + len(rows)
    for problem in found.problems:
        complain(f"warning: {problem}")
    left_out = f"; incomplete: {count(len(found.problems), 'warning')} above" if found.problems else ""
    say(f"{folder}: {count(variants, 'variant')} of {count(sent, 'run')} sent{left_out}")
    return not found.problems


def logger_of(overrides: list[str]) -> dict[str, Any]:
    """The configuration of the logger that overrides choose as in training: one of aelle's, or one in the folder
    conf/logger of the working directory, whose modules can then be imported. Raises UserError."""
    files = _files()
    names = sorted(files)
    for word in overrides:
        name, _, value = word.partition("=")
        if name != "logger":
            continue
        if value not in names:
            raise UserError(f"{word} does not exist: choose one of {', '.join(names)}")
        check_own_conf({"logger": value})
        if files[value].parent != CONF / "logger":
            import_from(os.getcwd())
    find_own_conf()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            config = compose("send", overrides)
        except MissingConfigException:
            raise
        except ConfigCompositionException as error:
            unknown = re.search(r"Could not override '([\w./]+)'", str(error))
            if unknown is None:
                raise
            raise UserError(f"{unknown[1]} is not an option here: {_remedy(overrides)}") from error
    logger = OmegaConf.to_container(config, resolve=True)["logger"]  # pyright: ignore[reportArgumentType, reportCallIssue, reportIndexIssue, reportOptionalSubscript]
    if logger is None:
        raise UserError(f"logger=null: choose where to send the runs, logger=NAME with one of {', '.join(names)}")
    return logger  # pyright: ignore[reportReturnType]


def _files() -> dict[str, Path]:
    """The loggers' configurations by name."""
    folders = [folder / "logger" for folder in (own_conf(), CONF) if folder is not None]
    return {file.stem: file for folder in folders for file in folder.glob("*.yaml")}


def _remedy(overrides: list[str]) -> str:
    """Which options there are: those of the logger that was chosen."""
    for word in overrides:
        if word.startswith("logger="):
            options = OmegaConf.load(_files()[word.removeprefix("logger=")])
            names = [f"logger.{name}" for name in options if name != "_target_"]
            return f"choose one of {', '.join(names)}" if names else f"{word} has no options"
    return "choose where to send the runs, logger=NAME"


def _target(logger: Any) -> Any:
    return logger.get("_target_") if isinstance(logger, dict) else None
