"""One job many times over, on all cores."""

import ctypes
import multiprocessing
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import torch
from joblib import cpu_count
from threadpoolctl import threadpool_limits

from aelle.errors import UserError

T = TypeVar("T")

PR_SET_PDEATHSIG = 1
"""Linux sends a process a signal when its parent ends."""

_job: Callable | None = None
"""Of this process, which is a child."""


def on_all_cores(job: Callable[[int], T], count: int) -> list[T]:
    """What `job` returns for 0 to `count` − 1, each on a core of its own; on Linux only: elsewhere, and where no
    process can be started, one after the other.

    The jobs are many small steps of Python, which threads would do one at a time. Forked processes have all that the
    job refers to, without a copy. What a job returns should hold arrays, since torch would pass every tensor as a file.
    An error of a job is raised here; UserError if a process is killed.
    """
    cores = min(cpu_count(), count)
    if cores < 2 or sys.platform != "linux" or multiprocessing.current_process().daemon:
        return [job(n) for n in range(count)]
    try:
        return _forked(job, count, cores)
    except BrokenProcessPool as error:
        raise UserError(
            f"one of {cores} processes was killed, perhaps for want of memory: give it more, or fewer cores, "
            "e.g. taskset --cpu-list 0 python …"
        ) from error
    except OSError:
        return [job(n) for n in range(count)]


def _forked(job: Callable[[int], T], count: int, cores: int) -> list[T]:
    context = multiprocessing.get_context("fork")
    with warnings.catch_warnings(), ProcessPoolExecutor(cores, context, _begin, (job,)) as pool:
        # As for torch's data loaders: a child with one thread waits for none of its parent's.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        return list(pool.map(_run, range(count)))


def _begin(job: Callable) -> None:
    global _job
    _job = job
    # Neither Ctrl-C nor the end of the parent leaves a child at work.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threadpool_limits(1)
    torch.set_num_threads(1)


def _run(n: int) -> Any:
    assert _job is not None
    try:
        return _job(n)
    except UserError:
        raise
    except Exception:
        # The error itself may not survive the way to the parent.
        raise RuntimeError(f"job {n} failed:\n{traceback.format_exc()}") from None
