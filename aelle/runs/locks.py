"""Who trains a run: the lock that a job holds in its sweep's folder while it does."""

import fcntl
import re
from pathlib import Path


def lock_file(folder: Path) -> Path:
    """Of the job whose variants are trained in that run folder."""
    return folder.parent / f".{folder.name}.lock"


def is_held(folder: Path) -> bool:
    """Whether some process trains in that run folder, as far as the file system tells.

    A job keeps the lock of its own name where it trains in NAME-2 because another run has taken NAME. The lock is tried
    for sharing, which disturbs no other reader, and a job that comes at that very moment tries again.
    """
    original = folder.with_name(re.sub(r"-\d+$", "", folder.name))
    return _held(lock_file(folder)) or (original != folder and _held(lock_file(original)))


def _held(lock: Path) -> bool:
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        # No job has been here, or this file system knows no locks.
        return False
    return False
