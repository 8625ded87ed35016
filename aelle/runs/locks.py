"""Which process trains a run: the lock that a job holds in its sweep's folder while it trains.

A job keeps one lock, named after the run folder that it was started for, even if it trains in NAME-2 because another
run uses NAME. The run's `status.json` names that lock.
"""

import fcntl
from pathlib import Path


def lock_file(folder: Path) -> Path:
    """The lock of the job that was started for this run folder."""
    return folder.parent / f".{folder.name}.lock"


def is_held(lock: Path) -> bool:
    """Whether a process holds the lock, as far as the file system can tell.

    This takes the lock as shared for a moment, which does not disturb other readers; a job that wants it then retries.
    """
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        # No job has been started here, or the file system has no locks.
        return False
    return False
