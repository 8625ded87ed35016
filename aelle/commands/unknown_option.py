"""What an option that Hydra does not know may have meant: a misspelt one, or one of another task."""

import sys
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from aelle.sweep.options import OPTIONS

MIN_SIMILARITY = 0.8
"""Ratio of difflib below which two names are not taken for the same."""

Config = dict[str, Any]


def meaning(name: str) -> str:
    """`did you mean …? ` with the most similar option of the running program, or which hyperparameters the chosen task
    has, if only others have this one; empty if there is nothing to say."""
    program = Path(sys.argv[0]).resolve()
    if program.stem == "train":
        task = _Chosen(program.parent / "conf", sys.argv[1:])
        if name in task.names_of_others():
            return f"{task} does not have {name}, only other tasks do; it has {', '.join(task.hyperparameters)}; "
        return _nearest(name, task.names())
    if program.stem == "analyze":
        conf = program.parent / "conf"
        names = set(_dotted(_read(conf / "analyze.yaml")))
        for file in (conf / "aelle").glob("*.yaml"):
            names |= {f"aelle.{one}" for one in _dotted(_read(file))}
        return _nearest(name, names)
    return ""


def _nearest(name: str, names: set[str]) -> str:
    others = sorted(names - {name})
    longer = [one for one in others if one.startswith(name)]
    near = longer or get_close_matches(name, others, 1, cutoff=MIN_SIMILARITY)
    return f"did you mean {near[0]}? " if near else ""


class _Chosen:
    """The task of a command line of train.py, and the files of its configuration, with those of `--config-dir`."""

    def __init__(self, conf: Path, words: list[str]):
        self.folders = [conf, *map(Path, _config_folders(words))]
        given = dict(word.lstrip("+~").split("=", 1) for word in words if "=" in word and not word.startswith("-"))
        train, experiment = _read(conf / "train.yaml"), given.get("experiment")
        self.configs = [train]
        self.task: str = next(one["task"] for one in train["defaults"] if "task" in one)
        if experiment is not None:
            self._include("experiment", experiment)
        self.task = given.get("task") or self.task
        self._include("task", self.task)

    def __str__(self) -> str:
        return f"task={self.task}"

    def names(self) -> set[str]:
        return {name for config in self.configs for name in _dotted(config)}

    def names_of_others(self) -> set[str]:
        """Options that other tasks have, and this one does not."""
        files = [
            file for folder in self.folders for group in ("task", "space") for file in (folder / group).glob("*.yaml")
        ]
        return {name for file in files for name in _dotted(_read(file))} - self.names()

    @property
    def hyperparameters(self) -> list[str]:
        return sorted({name for config in self.configs for name in _own(config)} - set(OPTIONS))

    def _include(self, group: str, name: str) -> None:
        """A file of that group, and those that it names as its defaults."""
        found = next((file for at in self.folders if (file := at / group / f"{name}.yaml").is_file()), None)
        config = {} if found is None else _read(found)
        self.configs.append(config)
        for default in config.get("defaults", ()):
            if isinstance(default, dict):
                for key, value in default.items():
                    other = key.removeprefix("override ").lstrip("/")
                    if other == "task":
                        self.task = value
                    elif isinstance(value, str):
                        self._include(other, value)
            elif default != "_self_":
                self._include(group, default)


def _config_folders(words: list[str]) -> Iterator[str]:
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word in ("--config-dir", "-cd"):
            yield following
        elif word.startswith("--config-dir="):
            yield word.partition("=")[2]


def _read(file: Path) -> Config:
    return OmegaConf.to_container(OmegaConf.load(file)) if file.exists() else {}  # pyright: ignore[reportReturnType]


def _own(config: Config) -> Config:
    return {name: value for name, value in config.items() if name not in ("defaults", "hydra")}


def _dotted(config: Config, prefix: str = "") -> Iterator[str]:
    for name, value in _own(config).items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
