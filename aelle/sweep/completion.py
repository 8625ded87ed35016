"""Which variants in a sweep's folder are complete, without reading unchanged runs again."""

import os
from pathlib import Path

from aelle.runs.reader import DamagedRunError, read_run, read_status, run_folders

DECIDING_FILES = ("status.json", "config.yaml", "variants.parquet", "epochs.parquet")
"""The files that decide whether a run is complete."""

State = tuple[tuple[int, int, int, int], ...]

_complete: dict[Path, tuple[State, str, frozenset[int]]] = {}
"""For each folder that was found complete: the state of its files, its fingerprint, and the numbers of its variants.

Other folders are read again each time: another process may be training there, and training twice is worse than reading.
"""


def complete_numbers(sweep: Path, fingerprint: str) -> set[int]:
    """The numbers of all variants in complete, undamaged runs of these settings."""
    found: set[int] = set()
    for folder in run_folders(sweep):
        found |= _complete_in(folder, fingerprint)
    return found


def _complete_in(folder: Path, fingerprint: str) -> frozenset[int]:
    try:
        # Taken before the files are read: if one is replaced meanwhile, the next call finds another state.
        state = _state(folder)
        known = _complete.get(folder)
        if known is None or known[0] != state:
            if read_status(folder)["state"] != "complete":
                return frozenset()
            run = read_run(folder)
            known = _complete[folder] = (state, run.status["fingerprint"], frozenset(run.numbers))
    except (OSError, DamagedRunError):
        return frozenset()
    return known[2] if known[1] == fingerprint else frozenset()


def _state(folder: Path) -> State:
    """Device, inode, time and size of each file: every write creates a new file, so a change shows in them."""
    stats = [os.stat(folder / name) for name in DECIDING_FILES]
    return tuple((s.st_dev, s.st_ino, s.st_mtime_ns, s.st_size) for s in stats)
