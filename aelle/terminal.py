"""What the commands print: lines, live counters, counts, durations and commands to paste.

Every print of aelle goes through `say` and `complain`: names, values and errors of a foreign sweep are printed, too.
"""

import re
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from aelle.errors import printable
from aelle.installation import IN_CLONE

Item = TypeVar("Item")

REFRESH_SECONDS = 0.5
"""Seconds between updates of the live counter."""

PLAIN = re.compile(r"([A-Za-z_/]|\.+/)[\w./+-]*", re.ASCII)
SCRIPTS = ("train", "analyze")
"""The commands that have a script in a clone."""

NOT_PLAIN = ("null", "true", "false", "nan", "inf")
"""Words that Hydra takes for another value."""


CLEAR = "\r\x1b[K"
"""Erases the line of a terminal."""


def say(*lines: str) -> None:
    """Print each of the lines, an empty one without any. Whatever is in a line, it stays one line (`printable`)."""
    print("\n".join(map(printable, lines)), flush=True)


def complain(*lines: str) -> None:
    """`say` on stderr."""
    print("\n".join(map(printable, lines)), file=sys.stderr, flush=True)


def show(line: str) -> None:
    """On a terminal, a line over the previous one that was shown, until `erase` is called."""
    if sys.stdout.isatty():
        print(f"{CLEAR}{printable(line)}", end="", flush=True)


def erase() -> None:
    """On a terminal, erase the line that is shown."""
    if sys.stdout.isatty():
        print(CLEAR, end="", flush=True)


def counted(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Iterate over the items; on a terminal, a live line shows how many are done if that takes long."""
    said, shown = time.perf_counter(), False
    for done, item in enumerate(items):
        if time.perf_counter() - said > REFRESH_SECONDS:
            show(f"{what}: {done}")
            said, shown = time.perf_counter(), True
        yield item
    if shown:
        erase()


@contextmanager
def announced(what: str) -> Iterator[None]:
    """On a terminal, show what is being done until it is done; the line is then erased."""
    show(f"{what} …")
    try:
        yield
    finally:
        erase()


def duration(seconds: float) -> str:
    """`7.3 s`, `4 min 20 s`, `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    if hours:
        return f"{hours} h {m} min"
    return f"{m} min {s} s" if m else f"{s} s"


def count(n: int, noun: str) -> str:
    """`1 variant`, `3 variants`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def command(name: str, *words: str) -> str:
    """The line of a shell that starts `train`, `analyze`, `status` or another command of aelle in the way in which the
    running one was started; options of the first two are given as Hydra reads them (`option`)."""
    started = Path(sys.argv[0]).name.split()
    if started[:1] == ["aelle"]:
        return pasted("aelle", name, *words)
    if IN_CLONE and name in SCRIPTS:
        return pasted("python", f"{name}.py", *words)
    return pasted("python", "-m", "aelle", name, *words)


def program() -> str:
    """The command that runs: `train`, started as `train.py` or as `aelle train`."""
    # `aelle` puts the command behind its own name.
    return Path(sys.argv[0]).name.split(" ")[-1].removesuffix(".py")


def pasted(*words: str) -> str:
    """Words of a command line, quoted for a shell."""
    return " ".join(map(shlex.quote, words))


def option(name: str, value: Any) -> str:
    """`name=value` as Hydra reads it, e.g. `sweep="outputs/my sweep"`."""
    return f"{name}={_in_hydra(value)}"


def _in_hydra(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_in_hydra, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    text = str(value)
    if PLAIN.fullmatch(text) and text.lower() not in NOT_PLAIN:
        return text
    # A backslash means something only before an interpolation, before a quote, and at the end.
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    return '"' + re.sub(r'(\\*)("|\Z)', lambda found: 2 * found[1] + '\\"' * bool(found[2]), text) + '"'
