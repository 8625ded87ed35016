"""What may have been meant by an option that does not exist."""

import sys
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf


def nearest(name: str) -> str:
    """`did you mean …? `, of the options of the program that runs; empty where none is alike."""
    program = Path(sys.argv[0]).resolve()
    groups = {"train": ("task", ""), "analyze": ("aelle", "aelle.")}
    if program.stem not in groups:
        return ""
    group, prefix = groups[program.stem]
    conf = program.parent / "conf"
    names = set(_names(conf / f"{program.stem}.yaml", ""))
    for file in (conf / group).glob("*.yaml"):
        names |= set(_names(file, prefix))
    near = get_close_matches(name, sorted(names), 1)
    return f"did you mean {near[0]}? " if near else ""


def _names(file: Path, prefix: str) -> Iterator[str]:
    config = OmegaConf.to_container(OmegaConf.load(file)) if file.exists() else {}
    return _dotted(config, prefix)


def _dotted(config: Any, prefix: str) -> Iterator[str]:
    for name, value in config.items() if isinstance(config, dict) else ():
        yield f"{prefix}{name}"
        yield from _dotted(value, f"{prefix}{name}.")
