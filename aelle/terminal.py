"""What the commands print: lines, one live line below them, counts, durations and commands to paste.

Every print of aelle goes through `say` and `complain`: names, values and errors of a foreign sweep are printed, too.
"""

import atexit
import multiprocessing
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from aelle.errors import printable
from aelle.installation import IN_CLONE

if TYPE_CHECKING:
    from rich.live import Live

Item = TypeVar("Item")

UPDATES_PER_SECOND = 3
"""Of the live line."""

PLAIN = re.compile(r"([A-Za-z_/]|\.+/)[\w./+-]*", re.ASCII)
SCRIPTS = ("train", "analyze")
"""The commands that have a script in a clone."""

NOT_PLAIN = ("null", "true", "false", "nan", "inf")
"""Words that Hydra takes for another value."""


CLEAR = "\r\x1b[K"
"""Erases the line of a terminal."""

_shown: list[Callable[[], str]] = []
"""What makes the live line of this process; the last one is shown."""

_live: "Live | None" = None


def say(*lines: str) -> None:
    """Print each of the lines, an empty one without any. Whatever is in a line, it stays one line (`printable`)."""
    _print(lines, sys.stdout)


def complain(*lines: str) -> None:
    """`say` on stderr."""
    _print(lines, sys.stderr)


def _print(lines: Sequence[str], file: Any) -> None:
    text = "\n".join(map(printable, lines))
    if _live is not None and file.isatty():
        _live.console.out(text, highlight=False)
    else:
        # On a terminal, the live line may be that of the process that started this one: one write replaces it.
        print(f"{CLEAR}{text}\n" if _rewritable(file) else f"{text}\n", end="", file=file, flush=True)


def shows_live_lines() -> bool:
    """Whether standard output is a terminal whose last line can be rewritten."""
    return _rewritable(sys.stdout)


def _rewritable(file: Any) -> bool:
    return file.isatty() and os.environ.get("TERM", "dumb").lower() not in ("dumb", "unknown")


def show(line: Callable[[], str]) -> None:
    """On a terminal, keep a line below all that is printed, made anew a few times a second, until `erase` is called. It
    is cut at the terminal's width. Its thread costs what `line` does. A worker process shows none: the one that started
    it does."""
    global _live
    if not shows_live_lines() or multiprocessing.parent_process() is not None:
        return
    _shown.append(line)
    if _live is None:
        # Not at the top: only a terminal needs it.
        from rich.console import Console
        from rich.live import Live

        console = Console(file=sys.stdout, force_terminal=True, force_interactive=True)
        _live = Live(
            get_renderable=_line,
            console=console,
            transient=True,
            refresh_per_second=UPDATES_PER_SECOND,
            redirect_stderr=sys.stderr.isatty(),
        )
        _live.start(refresh=True)
        # A process that is killed cannot bring back a hidden cursor.
        console.show_cursor(True)
        atexit.register(_end)
    else:
        _live.refresh()


def erase() -> None:
    """Erase the line of the last `show`; the one before it is shown again."""
    if _shown:
        _shown.pop()
    if not _shown:
        _end()


def _end() -> None:
    global _live
    if _live is not None:
        _live.stop()
        _live = None
        _shown.clear()
        atexit.unregister(_end)


def _line() -> Any:
    from rich.text import Text

    last = _shown[-1:]
    text = Text(printable(last[0]()) if last else "", no_wrap=True)
    if _live is not None:
        # A terminal echoes ^C behind it, which must not begin another line.
        text.truncate(max(_live.console.width - len("^C") - 1, 1), overflow="ellipsis")
    return text


@contextmanager
def live(line: Callable[[], str]) -> Iterator[None]:
    """`show` the line, and `erase` it at the end."""
    before = len(_shown)
    show(line)
    try:
        yield
    finally:
        if len(_shown) > before:
            erase()


def counted(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Iterate over the items; on a terminal, a live line shows how many are done."""
    done = 0
    with live(lambda: f"{what}: {done}"):
        for item in items:
            yield item
            done += 1


@contextmanager
def announced(what: str) -> Iterator[None]:
    """On a terminal, show what is being done until it is done."""
    with live(lambda: f"{what} …"):
        yield


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
