"""What an option that Hydra does not know may have meant: a misspelt one, or one of another task."""

import sys
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

from aelle.commands.own_files import own_conf
from aelle.installation import CONF
from aelle.sweep.options import OPTIONS
from aelle.terminal import option, program

MIN_SIMILARITY = 0.8
"""Ratio of difflib below which two names are not taken for the same."""

Config = dict[str, Any]


def meaning(name: str) -> str:
    """`did you mean …? ` with the most similar option of the running program, or which hyperparameters the chosen task
    has, if only others have this one; empty if there is nothing to say."""
    if program() == "train":
        return _of_training(name, sys.argv[1:])
    if program() == "analyze":
        names = set(_dotted(_read(CONF / "analyze.yaml")))
        for file in (CONF / "aelle").glob("*.yaml"):
            names |= {f"aelle.{one}" for one in _dotted(_read(file))}
        return _nearest(name, names)
    return ""


def without_name() -> str | None:
    """What to say of an option that is chosen by a name, and is a number or a list of numbers instead; None if none
    is."""
    for word in sys.argv[1:]:
        name, is_option, value = word.lstrip("+").partition("=")
        if is_option and (CONF / name).is_dir() and not _are_names(value):
            names = sorted({file.stem for folder in _folders() for file in (folder / name).glob("*.yaml")})
            return f"{word}: {name} is chosen by its name; choose one of {', '.join(names)}"
    return None


def _are_names(value: str) -> bool:
    try:
        found = yaml.safe_load(value)
    except yaml.YAMLError:
        return True
    return all(isinstance(one, str) for one in (found if isinstance(found, list) else [found]))


def _of_training(name: str, words: list[str]) -> str:
    config = _composed(words)
    names = set(_dotted(config))
    files = [file for at in _folders() for group in ("task", "space") for file in (at / group).glob("*.yaml") if config]
    if name in {one for file in files for one in _dotted(_read(file))} - names:
        has = ", ".join(sorted(config.keys() - set(OPTIONS)))
        return f"task={config['task']['name']} does not have {name}, only other tasks do; it has {has}; "
    return _nearest(name, names)


def _folders() -> list[Path]:
    """Where configurations are: aelle's own, then the user's."""
    given = [Path(one).resolve() for one in _given_folders(sys.argv[1:])]
    return [CONF, *filter(None, [own_conf()]), *given]


def _composed(words: list[str]) -> Config:
    """What Hydra makes of the words that choose a task or an experiment; empty if that fails, too."""
    chosen = [word for word in words if word.lstrip("+").startswith(("task=", "experiment="))]
    searched = option("hydra.searchpath", [f"file://{folder}" for folder in _folders()[1:]])
    try:
        with initialize_config_dir(str(CONF), version_base=None):
            return OmegaConf.to_container(compose("train", [searched, *chosen]))  # pyright: ignore[reportReturnType]
    except HydraException:
        return {}


def _nearest(name: str, names: set[str]) -> str:
    others = sorted(names - {name})
    longer = [one for one in others if one.startswith(name)]
    near = longer or get_close_matches(name, others, 1, cutoff=MIN_SIMILARITY)
    return f"did you mean {near[0]}? " if near else ""


def _given_folders(words: list[str]) -> Iterator[str]:
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word in ("--config-dir", "-cd"):
            yield following
        elif word.startswith("--config-dir="):
            yield word.partition("=")[2]


def _read(file: Path) -> Config:
    return OmegaConf.to_container(OmegaConf.load(file))  # pyright: ignore[reportReturnType]


def _dotted(config: Config, prefix: str = "") -> Iterator[str]:
    for name, value in config.items():
        if name in ("defaults", "hydra"):
            continue
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
