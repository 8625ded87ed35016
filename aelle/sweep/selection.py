"""Which runs of a folder make up one sweep, and which run counts for a variant that is in several."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aelle.errors import UserError, printable
from aelle.runs.reader import DamagedRunError, Run, read_run, run_folders
from aelle.runs.settings import settings
from aelle.terminal import count, counted

RANK = {"complete": 0, "running": 1, "failed": 2}
"""Of a variant's runs, the one of lowest rank counts."""


@dataclass(frozen=True)
class Selection:
    """The runs with the settings that most variants have; for each, the `rows` of its variants that count; and
    `problems`: what could not be read or does not belong to the sweep, a line each. `threshold`: of most variants."""

    runs: list[Run]
    rows: list[list[int]]
    problems: list[str]
    threshold: float


def select(folder: Path, reduced: Callable[[Run], Run] = lambda run: run) -> Selection:
    """Read every run of a folder; each is passed through `reduced`.

    Raises UserError if the folder does not exist, or is that of a single run.
    """
    if not folder.is_dir():
        named = Path("outputs") / folder
        hint = f"did you mean {named}?" if named.is_dir() else "give the folder of a sweep, e.g. outputs/digits"
        raise UserError(f"sweep={folder} does not exist: {hint}")
    runs, problems = [], []
    folders = run_folders(folder)
    if not folders and (folder / "status.json").exists():
        raise UserError(f"{folder} is a single run: give the folder of its sweep, {folder.parent}")
    for path in counted(folders, f"reading {count(len(folders), 'run')}"):
        try:
            # It would be in every table.
            path.name.encode()
            runs.append(reduced(read_run(path)))
        except UnicodeEncodeError:
            problems.append(f"{printable(path.name)} is left out: its name is not UTF-8; rename it")
        except DamagedRunError as error:
            problems.append(f"{path.name} is left out: {error}")
    identities = [_identity(run) for run in runs]
    counts: Counter[str] = Counter()
    for run, identity in zip(runs, identities, strict=True):
        counts[identity] += len(run.numbers)
    wanted = counts.most_common(1)[0][0] if counts else None
    alike = [run for run, identity in zip(runs, identities, strict=True) if identity == wanted]
    problems += [
        f"{run.path.name} is left out: its settings differ from those of {alike[0].path.name}"
        for run, identity in zip(runs, identities, strict=True)
        if identity != wanted
    ]
    threshold, others = _threshold(alike)
    return Selection(alike, _rows_that_count(alike), [*problems, *others], threshold)


def _threshold(runs: list[Run]) -> tuple[float, list[str]]:
    """The threshold of most variants, and the runs that have another, a line each: it may be changed on resuming."""
    counts: Counter[float] = Counter()
    for run in runs:
        counts[run.config["task"]["threshold"]] += len(run.numbers)
    usual = counts.most_common(1)[0][0] if counts else float("nan")
    others = [(run.path.name, run.config["task"]["threshold"]) for run in runs]
    return usual, [
        f"{name}: its threshold {own:g} does not count, but that of most variants, {usual:g}"
        for name, own in others
        if own != usual
    ]


def _identity(run: Run) -> str:
    """What the runs of a sweep share: all settings; of runs started one by one, all but hyperparameters and seed."""
    config = run.config
    if config["size"] is not None:
        # A search can be continued with a larger size.
        size = None if config.get("search") else config["size"]
        return f"{run.status['fingerprint']} {size}"
    shared = settings({**config, "hyperparameters": [], "seed": 0})
    return json.dumps([sorted(config["hyperparameters"]), shared], sort_keys=True)


def _rows_that_count(runs: list[Run]) -> list[list[int]]:
    chosen: dict[Any, tuple[int, int, int]] = {}
    for r, run in enumerate(runs):
        for row, number in enumerate(run.numbers):
            key = number if run.config["size"] is not None else (r, number)
            place = (RANK[run.status["state"]], r, row)
            chosen[key] = min(chosen.get(key, place), place)
    rows: list[list[int]] = [[] for _ in runs]
    for _, r, row in chosen.values():
        rows[r].append(row)
    return [sorted(some) for some in rows]
