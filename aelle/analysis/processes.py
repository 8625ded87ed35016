"""One job many times over, on all cores."""

import multiprocessing
import pickle
import signal
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import torch
from joblib import cpu_count
from threadpoolctl import threadpool_limits

from aelle.errors import UserError

T = TypeVar("T")

_job: Callable | None = None
"""Of this process, which is a child."""


def on_all_cores(job: Callable[[int], T], count: int) -> list[T]:
    """What `job` returns for 0 to `count` − 1, each on a core of its own. Where processes cannot be forked, one after
    the other.

    The jobs are many small steps of Python, which threads would do one at a time. Forked processes have all that the
    job refers to, without a copy. Raises UserError if one of them is killed.
    """
    cores = min(cpu_count(), count)
    if cores < 2 or sys.platform != "linux" or multiprocessing.current_process().daemon:
        return [job(n) for n in range(count)]
    context = multiprocessing.get_context("fork")
    with warnings.catch_warnings(), ProcessPoolExecutor(cores, context, _begin, (job,)) as pool:
        # As for torch's data loaders: a child with one thread waits for none of its parent's.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        try:
            return [pickle.loads(found) for found in pool.map(_pickled, range(count))]
        except BrokenProcessPool as error:
            raise UserError(
                f"one of {cores} processes was killed, perhaps for want of memory: give it more, or fewer cores, "
                "e.g. taskset --cpu-list 0 python …"
            ) from error


def _begin(job: Callable) -> None:
    global _job
    _job = job
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threadpool_limits(1)
    torch.set_num_threads(1)


def _pickled(n: int) -> bytes:
    """By pickle itself: torch would pass every tensor as a file."""
    assert _job is not None
    return pickle.dumps(_job(n))
