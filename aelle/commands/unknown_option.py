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

from aelle.sweep.options import OPTIONS
from aelle.terminal import option

MIN_SIMILARITY = 0.8
"""Ratio of difflib below which two names are not taken for the same."""

Config = dict[str, Any]


def meaning(name: str) -> str:
    """`did you mean …? ` with the most similar option of the running program, or which hyperparameters the chosen task
    has, if only others have this one; empty if there is nothing to say."""
    program = Path(sys.argv[0]).resolve()
    conf = program.parent / "conf"
    if program.stem == "train":
        return _of_training(name, conf, sys.argv[1:])
    if program.stem == "analyze":
        names = set(_dotted(_read(conf / "analyze.yaml")))
        for file in (conf / "aelle").glob("*.yaml"):
            names |= {f"aelle.{one}" for one in _dotted(_read(file))}
        return _nearest(name, names)
    return ""


def without_name() -> str | None:
    """What to say of an option that is chosen by a name, and is a number or a list of numbers instead; None if none
    is."""
    conf = Path(sys.argv[0]).resolve().parent / "conf"
    for word in sys.argv[1:]:
        name, is_option, value = word.lstrip("+").partition("=")
        if is_option and (conf / name).is_dir() and not _are_names(value):
            names = sorted(file.stem for file in (conf / name).glob("*.yaml"))
            return f"{word}: {name} is chosen by its name; choose one of {', '.join(names)}"
    return None


def _are_names(value: str) -> bool:
    try:
        found = yaml.safe_load(value)
    except yaml.YAMLError:
        return True
    return all(isinstance(one, str) for one in (found if isinstance(found, list) else [found]))


def _of_training(name: str, conf: Path, words: list[str]) -> str:
    folders = [Path(one).resolve() for one in _config_folders(words)]
    config = _composed(conf, folders, words)
    names = set(_dotted(config))
    files = [
        file for at in (conf, *folders) for group in ("task", "space") for file in (at / group).glob("*.yaml") if config
    ]
    if name in {one for file in files for one in _dotted(_read(file))} - names:
        has = ", ".join(sorted(config.keys() - set(OPTIONS)))
        return f"task={config['task']['name']} does not have {name}, only other tasks do; it has {has}; "
    return _nearest(name, names)


def _composed(conf: Path, folders: list[Path], words: list[str]) -> Config:
    """What Hydra makes of the words that choose a task or an experiment; empty if that fails, too."""
    chosen = [word for word in words if word.lstrip("+").startswith(("task=", "experiment="))]
    searched = option("hydra.searchpath", [f"file://{folder}" for folder in folders])
    try:
        with initialize_config_dir(str(conf), version_base=None):
            return OmegaConf.to_container(compose("train", [searched, *chosen]))  # pyright: ignore[reportReturnType]
    except HydraException:
        return {}


def _nearest(name: str, names: set[str]) -> str:
    others = sorted(names - {name})
    longer = [one for one in others if one.startswith(name)]
    near = longer or get_close_matches(name, others, 1, cutoff=MIN_SIMILARITY)
    return f"did you mean {near[0]}? " if near else ""


def _config_folders(words: list[str]) -> Iterator[str]:
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
