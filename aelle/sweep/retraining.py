"""The command lines that train some variants of a sweep to the end, or again in a sweep of their own.

They repeat the options that the sweep was started with, which Hydra keeps in its folder (`multirun.yaml`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from aelle.files import read_regular
from aelle.hyperparameters import not_read
from aelle.runs.format import MAX_CONFIG
from aelle.runs.reader import DamagedRunError, read_run
from aelle.sweep.table import SweepTable
from aelle.terminal import command, option
from aelle.variants import is_varied

RECORD = "multirun.yaml"
"""Hydra's record of the command, in the folder of a sweep started with -m."""

OF_A_COMMAND = ("pack", "variants", "hydra")
"""Options that say which variants a command trains and where, not what they are."""


@dataclass(frozen=True)
class Retraining:
    """`folder`: the sweep's. `options`: those that it was started with; None if no record of them can be read.
    `variants`: the sweep's table of them; `config`: that of one of its runs."""

    folder: Path
    options: list[str] | None
    variants: pd.DataFrame
    config: dict[str, Any]

    @property
    def sized(self) -> bool:
        """Whether the sweep's settings and a number say what a variant is; otherwise each run was started by options of
        its own, or a study has proposed the variants."""
        return self.config["size"] is not None and not self.searched

    @property
    def searched(self) -> bool:
        return self.config.get("search") is not None

    def to_the_end(self, numbers: Sequence[int]) -> str | None:
        """Trains those of the variants that are not complete, into the sweep. None where there is no such command."""
        if self.options is None or not self.sized:
            return None
        place = Path(self.config["outputs"]) / self.config["sweep"]
        moved = [] if place.resolve() == self.folder.resolve() else self._elsewhere(self.folder.resolve().name)
        return command("train", *_without(self.options, moved), *moved, _chosen(numbers))

    def again(self, numbers: Sequence[int], label: str) -> str | None:
        """Trains the variants from the beginning, in the sweep NAME-LABEL beside this one."""
        options = self.options
        if options is None or (not self.sized and len(numbers) != 1):
            return None
        if not self.sized:
            row = self.variants["variant"].tolist().index(numbers[0])
            numbers = [int(self.variants["number"].iloc[row])]
            try:
                options = (
                    self._proposed(options, row)
                    if self.searched
                    else _of_one_run(options, read_run(self.folder / self.variants["run"].iloc[row]).config)
                )
            except DamagedRunError:
                return None
        place = self._elsewhere(f"{self.folder.resolve().name}-{label}")
        return command("train", *_without(options, place), *place, _chosen(numbers))

    def _proposed(self, options: list[str], row: int) -> list[str]:
        """Without the search, and with the values that its study has proposed for the variant in this row."""
        varied = [name for name in self.config["hyperparameters"] if is_varied(self.config[name])]
        values = {name: self.variants[name].iloc[row] for name in varied}
        pinned = [option(name, _plain(value)) for name, value in values.items() if not not_read(value)]
        kept = [one for one in _without(options, pinned) if re.split(r"[./]", _name(one))[0] != "search"]
        return [*kept, *pinned]

    def _elsewhere(self, name: str) -> list[str]:
        """The options that make the sweep a folder of this name beside the present one."""
        # Not resolved: relative to where the analysis was started, as the user gave it.
        outputs = str(self.folder.parent)
        same = Path(outputs).resolve() == Path(self.config["outputs"]).resolve()
        return ([] if same else [option("outputs", outputs)]) + [option("sweep", name)]


def _plain(value: Any) -> Any:
    """A value of a table, whose numbers are NumPy's."""
    return value.item() if isinstance(value, np.generic) else value


def retraining(folder: Path, sweep: SweepTable) -> Retraining | None:
    """How variants of the sweep are trained; None if none of its runs can be read."""
    for run in dict.fromkeys(sweep.variants["run"]):
        try:
            config = read_run(folder / run).config
        except DamagedRunError:
            continue
        return Retraining(folder, _recorded(folder / RECORD), sweep.variants, config)
    return None


def _recorded(record: Path) -> list[str] | None:
    try:
        options = yaml.safe_load(read_regular(record, MAX_CONFIG))["hydra"]["overrides"]["task"]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        return None
    return [option for option in options if re.split(r"[./]", _name(option))[0] not in OF_A_COMMAND]


def _of_one_run(options: list[str], config: dict[str, Any]) -> list[str]:
    """With the values of that run in place of those swept over, and with all hyperparameters that it was given."""
    given = {_name(option): option for option in options}
    for name in given:
        value: Any = config
        for part in name.split("."):
            value = value.get(part, {}) if isinstance(value, dict) else {}
        if not isinstance(value, dict) and name not in ("task", "experiment", "logger"):
            given[name] = option(name, value)
    return [*given.values()]


def _name(option: str) -> str:
    return option.lstrip("+~").split("=")[0]


def _without(options: list[str], replaced: Sequence[str]) -> list[str]:
    names = {_name(option) for option in replaced}
    return [option for option in options if _name(option) not in names]


def _chosen(numbers: Sequence[int]) -> str:
    return option("variants", numbers[0] if len(numbers) == 1 else sorted(numbers))
