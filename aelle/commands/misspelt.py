"""What may have been meant by an option that does not exist."""

import sys
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

ALIKE = 0.8
"""Of difflib's ratio, below which two names are different words."""


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
    longer = [one for one in sorted(names) if one.startswith(name)]
    near = longer or get_close_matches(name, sorted(names), 1, cutoff=ALIKE)
    return f"did you mean {near[0]}? " if near else ""


def _names(file: Path, prefix: str) -> Iterator[str]:
    config: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(file)) if file.exists() else {}  # pyright: ignore[reportAssignmentType]
    options = {name: value for name, value in config.items() if name not in ("defaults", "hydra")}
    return _dotted(options, prefix)


def _dotted(config: dict[str, Any], prefix: str) -> Iterator[str]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
