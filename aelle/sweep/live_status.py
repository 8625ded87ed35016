"""A sweep's progress in one line of a terminal, while its packs train in other processes: from its folder alone."""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc

from aelle.runs.reader import DamagedRunError, read_run, read_status, run_folders
from aelle.runs.settings import fingerprint
from aelle.sweep.plan import Plan
from aelle.terminal import count, duration
from aelle.variants import cost

SECONDS_BETWEEN_LOOKS = 1.0
LOOKING_SHARE = 0.02
"""Of a core's time, at most, is spent on looking."""

SHOWN_EPOCHS = 4

LIKELY = 0.5
"""Variants with a higher chance of low error are counted."""


class _Seen(NamedTuple):
    """What a run has written: the `stamp` of its status, its state and, until it is complete, its epoch, its variants,
    those of them that were stopped early, and the last chances of the others."""

    stamp: tuple[int, ...]
    state: str
    epoch: int = 0
    numbers: frozenset[int] = frozenset()
    pruned: frozenset[int] = frozenset()
    chances: tuple[float, ...] = ()


class LiveStatus:
    """`line` looks at the sweep's folder from time to time; of the runs, it reads those that have written since.

    What a run had before this was made is not counted as trained: from what is trained since then, and how long that
    took, follows the time left.
    """

    def __init__(self, plan: Plan):
        self.plan, self.fingerprint, self.wanted = plan, fingerprint(plan.config), plan.wanted()
        # Of a search, neither packs nor variants are known beforehand.
        packs = [] if plan.searched else plan.packs()
        self.costs = dict.fromkeys(self.wanted, 1.0) | {v.number: cost(v) for pack in packs for v in pack}
        self.packs = [{v.number for v in pack} & self.wanted for pack in packs]
        self.whole = float(plan.config["epochs"] * sum(self.costs[number] for number in self.wanted))
        self.runs: dict[Path, _Seen] = {}
        self._look()
        self.at_start = self.done
        self.there = {path: run.stamp for path, run in self.runs.items()}
        self.since = self.looked

    def line(self) -> str:
        if time.perf_counter() - self.looked > max(SECONDS_BETWEEN_LOOKS, self.took / LOOKING_SHARE):
            with suppress(OSError):
                self._look()
        written = [run for path, run in self.runs.items() if self.there.get(path) != run.stamp]
        if not written:
            # What workers need to start does not count.
            self.since = self.looked
        running = [run for run in written if run.state == "running"]
        failed = sum(run.state == "failed" for run in written)
        return joined(
            self._packs(),
            _epochs([run.epoch for run in running], self.plan.config["epochs"]),
            f"{failed} failed" if failed else "",
            self._left(time.perf_counter()),
            chances_in_words([chance for run in running for chance in run.chances]),
            stopped_in_words(sum(len(run.pruned) for run in running)),
            f"{len(self.complete)} of {count(len(self.wanted), 'variant')}",
        )

    def _packs(self) -> str:
        done = sum(pack <= self.complete for pack in self.packs)
        return f"{done} of {count(len(self.packs), 'pack')}" if self.packs else ""

    def _left(self, now: float) -> str:
        """By the last look: of a pack between two epochs, nothing more is known."""
        if not self.at_start < self.done < self.whole:
            return ""
        left = (self.looked - self.since) * (self.whole - self.done) / (self.done - self.at_start)
        return left_in_words(left - (now - self.looked))

    def _look(self) -> None:
        begun = time.thread_time()
        self.complete = self.plan.complete() & self.wanted
        for path in run_folders(self.plan.folder):
            try:
                stamp = _stamp(path / "status.json")
                if path not in self.runs or self.runs[path].stamp != stamp:
                    self.runs[path] = self._seen(path, stamp)
            except (OSError, DamagedRunError):
                # Not begun, moved away, or of another sweep.
                self.runs.pop(path, None)
        epochs = self.plan.config["epochs"]
        reached = {number: epochs for number in self.complete}
        for run in self.runs.values():
            for number in run.numbers & self.wanted - self.complete:
                reached[number] = max(epochs if number in run.pruned else run.epoch, reached.get(number, 0))
        self.done = sum(self.costs[number] * epoch for number, epoch in reached.items())
        self.looked = time.perf_counter()
        self.took = time.thread_time() - begun

    def _seen(self, path: Path, stamp: tuple[int, ...]) -> _Seen:
        status = read_status(path)
        if status["state"] == "complete" or status["fingerprint"] != self.fingerprint:
            return _Seen(stamp, "complete")
        run = read_run(path)
        chances: list[float] = []
        if "chance" in run.epochs.column_names:
            last = run.epochs.filter(pc.field("epoch") == run.status["epoch"])
            chances = [chance for chance in last["chance"].to_pylist() if chance is not None]
        numbers = frozenset(run.numbers)
        return _Seen(stamp, run.status["state"], run.status["epoch"], numbers, frozenset(run.pruned), tuple(chances))


def joined(*parts: str) -> str:
    """The parts of a live line, without those that have nothing to say."""
    return " · ".join(part for part in parts if part)


def chances_in_words(chances: Sequence[float]) -> str:
    known = np.asarray(chances, dtype=float)
    known = known[np.isfinite(known)]
    if not len(known):
        return ""
    likely = int((known > LIKELY).sum())
    return f"{likely} of {len(known)} above {LIKELY:.0%}, best {known.max():.0%}".replace("%", " %")


def left_in_words(seconds: float) -> str:
    return "under 10 s left" if seconds < 10 else f"{duration(seconds)} left"


def stopped_in_words(variants: int) -> str:
    return f"{variants} stopped" if variants else ""


def _epochs(reached: list[int], epochs: int) -> str:
    if not reached:
        return ""
    shown = [str(epoch) for epoch in sorted({*reached})]
    if len(shown) == 1:
        return f"epoch {shown[0]} of {epochs}"
    few = len(shown) <= SHOWN_EPOCHS
    several = f"{', '.join(shown[:-1])} and {shown[-1]}" if few else f"{shown[0]} to {shown[-1]}"
    return f"epochs {several} of {epochs}"


def _stamp(file: Path) -> tuple[int, ...]:
    stat = os.stat(file, follow_symlinks=False)
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
