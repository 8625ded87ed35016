"""Which process trains a run: the lock that a job holds in its sweep's folder while it trains.

A job keeps one lock, named after the run folder that it was started for, even if it trains in NAME-2 because another
run uses NAME. The run's `status.json` names that lock.
"""

import fcntl
import os
from pathlib import Path

from aelle.files import refuse_unless


def lock_file(folder: Path) -> Path:
    """The lock of the job that was started for this run folder."""
    return folder.parent / f".{folder.name}.lock"


def is_held(lock: Path) -> bool:
    """Whether a process holds the lock, as far as the file system can tell. A link is no lock, and is not followed.

    This takes the lock as shared for a moment, which does not disturb other readers; a job that wants it then retries.
    """
    try:
        file = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        # No job has been started here.
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        # The file system has no locks.
        return False
    finally:
        os.close(file)
    return False


def check_lock(lock: Path) -> None:
    """Raises UserError for a lock that no job can hold: a link could lead to a file of somebody else's."""
    refuse_unless(lock, "file")
