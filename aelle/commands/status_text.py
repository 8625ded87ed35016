"""A sweep's status as lines for a terminal of 80 columns."""

import math
import textwrap
from collections.abc import Iterator
from typing import Any

from aelle.errors import printable
from aelle.runs.reader import Run
from aelle.sweep.status import STATES, PackStatus, Reached, Status, silence
from aelle.terminal import command, count, duration, option

WIDTH = 80
MAX_LISTED_PACKS = 6
"""Packs of one state that are listed."""


def status_lines(status: Status) -> Iterator[str]:
    packs, variants = status.packs, status.variants
    yield _clipped(
        f"{status.folder.name}: {_networks(status)} in {count(len(packs), 'pack')}, "
        f"{count(status.epochs, 'epoch')} each"
    )
    states = [pack.state for pack in packs]
    yield "packs     " + ", ".join(f"{states.count(state)} {state}" for state in STATES)
    done = f"{variants['complete']} complete, {variants['diverged']} diverged"
    done += f", {variants['pruned']} pruned" if variants["pruned"] else ""
    yield f"variants  {done}, {variants['running'] + variants['failed']} in progress, {variants['missing']} not started"
    yield f"time      {_time(status)}"
    for state in ("running", "stale", "failed"):
        yield from _packs(state, [pack for pack in packs if pack.state == state])
    for problem in status.problems:
        yield from _wrapped(f"damaged   {problem}")
    if status.best:
        yield ""
        yield from _best(status)
    failed = [pack.run for pack in packs if pack.state == "failed" and pack.run]
    if failed:
        first = min(failed, key=lambda run: run.status["updated"])
        yield ""
        yield f"first error, in {first.path}:"
        # Its lines are indented: none of them can pass for one of aelle's.
        yield from (f"    {line}" for line in (first.status["error"] or "").rstrip().splitlines())
    yield ""
    refused = [pack.run is not None and pack.run.refused for pack in packs]
    if any(pack.state not in ("complete", "running") and not no for pack, no in zip(packs, refused, strict=True)):
        yield "next: run the command that started the sweep again to train what is missing"
    yield f"next: {command('analyze', option('sweep', status.folder))}"


def _time(status: Status) -> str:
    if not math.isfinite(status.spent):
        return "unknown"
    spent = f"{duration(status.spent)} of training"
    if status.left == 0:
        return spent
    if status.left is None or not math.isfinite(status.left):
        return f"{spent}; the time left is known after the first epoch"
    return f"{spent}, about {duration(status.left)} left with {count(status.workers, 'pack')} at a time"


def _packs(state: str, packs: list[PackStatus]) -> Iterator[str]:
    for pack in packs[:MAX_LISTED_PACKS]:
        yield _clipped(f"{state:10}{pack.name}  {_word(state, pack.run) if pack.run else 'starting'}")
    if len(packs) > MAX_LISTED_PACKS:
        yield f"{'':10}and {len(packs) - MAX_LISTED_PACKS} more"


def _word(state: str, run: Run) -> str:
    """The run's progress, with its error or the time since it last wrote."""
    status = run.status
    if state == "failed":
        lines = (status["error"] or "").strip().splitlines() or ["no error is recorded"]
        return f"epoch {status['epoch']} of {status['epochs']}, {lines[-1]}"
    ago = duration(silence(run))
    return f"epoch {status['epoch']} of {status['epochs']}, written {ago} ago on {status['host']}"


def _best(status: Status) -> Iterator[str]:
    yield "lowest validation losses so far"
    by_hand = len({one.number for one in status.best}) < len(status.best)
    names = ["variant", "loss", "epoch", *(["run"] if by_hand else map(printable, status.varied))]
    runs = [[printable(one.run)] if by_hand else _values(one, status.varied) for one in status.best]
    cells = [names, *([*_cells(one), *rest] for one, rest in zip(status.best, runs, strict=True))]
    widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
    for row in cells:
        yield _clipped("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)))
    if status.fixed and not by_hand:
        fixed = ", ".join(f"{name} {_short(value)}" for name, value in status.fixed.items())
        yield from _wrapped(f"the same for all: {fixed}")


def _networks(status: Status) -> str:
    compared = f" and {status.reference} for reference" if status.reference else ""
    return count(status.size - status.reference, "variant") + compared


def _cells(one: Reached) -> list[str]:
    return [str(one.number), f"{one.loss:.4g}", str(one.epoch)]


def _values(one: Reached, names: list[str]) -> list[str]:
    return [_short(one.hyperparameters.get(name)) for name in names]


def _short(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))


def _wrapped(line: str) -> list[str]:
    """No word of the line comes to stand where a line begins."""
    return textwrap.wrap(printable(line), WIDTH, subsequent_indent=" " * 10)


def _clipped(line: str) -> str:
    line = printable(line)
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"
