"""Who trains a run: the lock that a job holds in its sweep's folder while it does.

A job keeps one lock, named after the run folder that it was started for, also where it trains in NAME-2 because another
run has taken NAME. The run's `status.json` names that lock.
"""

import fcntl
from pathlib import Path


def lock_file(folder: Path) -> Path:
    """Of the job that was started for that run folder."""
    return folder.parent / f".{folder.name}.lock"


def is_held(lock: Path) -> bool:
    """Whether some process holds it, as far as the file system can say.

    The lock is tried for sharing, which disturbs no other reader, and a job that comes at that very moment tries again.
    """
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        # No job has been here, or this file system knows no locks.
        return False
    return False
