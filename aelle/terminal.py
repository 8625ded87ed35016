"""Numbers and durations in words, and a line that counts, for a person at a terminal."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")

REFRESH_SECONDS = 0.5
"""Seconds between the numbers of a live line."""


def counted(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Go through the items; where it takes long and a person watches, a live line says how many are done."""
    live, said = sys.stdout.isatty(), time.perf_counter()
    shown = False
    for done, item in enumerate(items):
        if live and time.perf_counter() - said > REFRESH_SECONDS:
            print(f"\r{what}: {done}", end="", flush=True)
            said, shown = time.perf_counter(), True
        yield item
    if shown:
        print("\r\x1b[K", end="", flush=True)


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
