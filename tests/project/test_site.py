"""The documentation as a site: every public name and page is on it, and it needs no network."""

import inspect
import re
import shutil
import subprocess
import sys
from functools import cached_property
from html import unescape
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

import aelle
import aelle.data
import aelle.tasks
from sweeps import ROOT

DOCS = ROOT / "docs"
SETTINGS = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
FROM_ELSEWHERE = {"overview.md", "benchmarks.md", "security.md", "contributing.md"}


class Entry(NamedTuple):
    """An object of the reference, and the members that are shown with it."""

    path: str
    members: list[str]

    @property
    def value(self) -> Any:
        parts = self.path.split(".")
        for length in range(len(parts), 0, -1):
            if find(".".join(parts[:length])):
                value: Any = import_module(".".join(parts[:length]))
                for name in parts[length:]:
                    value = getattr(value, name)
                return value
        raise AssertionError(f"{self.path} cannot be imported")


def find(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def entries() -> list[Entry]:
    found = []
    for page in sorted((DOCS / "reference").glob("*.md")):
        for path, options in re.findall(r"^::: (\S+)\n((?:    .*\n)*)", page.read_text() + "\n", re.MULTILINE):
            options = (yaml.safe_load(options) or {}).get("options", {}) if options else {}
            found.append(Entry(path, options.get("members", [])))
    return found


ENTRIES = entries()


def documented() -> dict[str, tuple[Any, str]]:
    """Every object and member of the reference, with all that is said of it: by itself, and of a member, its class."""
    found = {}
    for entry in ENTRIES:
        value = entry.value
        own = inspect.getdoc(value) or "" if not isinstance(value, (dict, tuple)) else None
        if own is None:
            continue
        found[entry.path] = value, own
        for name in entry.members:
            member = inspect.getattr_static(value, name)
            member = (
                getattr(member, "fget", None) or getattr(member, "func", None) or getattr(member, "__func__", member)
            )
            found[f"{entry.path}.{name}"] = member, (inspect.getdoc(member) or "", own)
    return found
