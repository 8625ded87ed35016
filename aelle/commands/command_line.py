"""What the command line prints about errors: one line for each that the user can fix."""

import errno
import gc
import io
import os
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from types import TracebackType

import yaml
from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from aelle.commands.launchers import INSTALL, lost_job
from aelle.commands.unknown_option import meaning, without_name
from aelle.errors import UserError, reason
from aelle.terminal import command, complain, program

UNWRITABLE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ELOOP),
)
"""Errors of a full disk, an exceeded quota, a limit of file sizes, a protected location, a file in the place of a
folder or the reverse, and a link in the place of either."""

SHOWN_LETTERS = 60
"""Of a name that is too long."""


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Around a `hydra.main`: an error that the user can fix ends the program with one line on stderr and exit code 2.

    Also around what it calls, because Hydra would print exceptions in its own format. A lost job is one line too, with
    exit code 1. Any other exception is a bug of ours and keeps its traceback. SIGTERM, with which Slurm and others stop
    a job, is handled like Ctrl-C.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    sys.excepthook = print_traceback
    stopped_by = signal.SIGINT

    def stop(number: int, frame: object) -> None:
        nonlocal stopped_by
        stopped_by = signal.Signals(number)
        raise KeyboardInterrupt

    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if in_main else None
    try:
        yield
    except KeyboardInterrupt:
        # The terminal has echoed ^C on this line.
        start = [""] if sys.stderr.isatty() else []
        complain(*start, "interrupted: finished work is saved; run the same command again to resume")
        sys.exit(128 + stopped_by)
    except BrokenPipeError:
        # The reader, e.g. head, has closed the pipe, and Python's flush at exit would fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if lost := lost_job(error):
            complain(f"error: {lost}")
            sys.exit(1)
        line = _line(error)
        if line is None:
            raise
        complain(f"error: {line}")
        sys.exit(2)
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """As Python does, but nothing in it controls the terminal."""
    complain(*"".join(traceback.format_exception(kind, error, trace)).splitlines())


@contextmanager
def swift_imports() -> Iterator[None]:
    """Import without garbage collection: none of Lightning's thousands of modules is garbage, and searching them again
    and again takes a fifth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def count_cores_quietly() -> None:
    """Ask joblib for the number of physical cores, as scikit-learn will: without `lscpu`, the first call in a process
    prints a traceback, and only the first."""
    # Late: --help does not need it.
    from joblib import cpu_count

    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        cpu_count(only_physical_cores=True)


def _line(error: BaseException) -> str | None:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            return str(cause)
        if isinstance(cause, OSError) and cause.errno == errno.ENAMETOOLONG:
            return f"{str(cause.filename)[:SHOWN_LETTERS]}… is too long a name for this file system: give a shorter one"
        if isinstance(cause, OSError) and cause.errno in UNWRITABLE:
            what = f"{cause.filename or 'a file'} cannot be written ({reason(cause)})"
            return f"{what}: fix that and try again; what was written before is intact"
        # Hydra and OmegaConf wrap what is raised while they compose a configuration.
        cause = cause.__cause__ if isinstance(cause, (HydraException, OmegaConfBaseException)) else None
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        if group == "hydra/launcher" and name in INSTALL:
            return f"hydra/launcher={name} is not installed: run pip install {INSTALL[name]}"
        options = ", ".join(sorted(error.options or []))
        return f"{group}={name} does not exist: choose one of {options}" if group else str(error)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}: {error.problem}; correct the YAML there"
    if resolved := re.match(r"UserError raised while resolving interpolation: (.*)", str(error)):
        return resolved.group(1)
    if isinstance(error, (TypeError, ValueError)) and _is_of_hydra(error):
        return without_name()
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        lines = [line.strip().rstrip(".") for line in str(error).splitlines()]
        # Hydra's advice to append with + does not help with a misspelt name.
        return "; ".join(line for line in lines if line and "+" not in line) + _remedy(str(error))
    return None


def _is_of_hydra(error: BaseException) -> bool:
    """Whether Hydra's own code raised it."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return bool(frames) and frames[-1][0].f_globals.get("__name__", "").startswith("hydra.")


def _remedy(message: str) -> str:
    """How to fix a command line that Hydra rejects with this message."""
    if "Could not append to config" in message:
        return " (leave out the +)"
    if "missing EQUAL" in message:
        return " (options are given as name=value, e.g. sweep=outputs/digits)"
    if found := re.search(r"Unknown function '(\w+)'", message):
        word = found.group(1)
        return f" (quote a distribution twice on the command line: 'p=\"{word}(2.0, 2.5)\"')"
    unknown = re.search(r"Could not override '([\w./]+)'", message)
    meant = meaning(unknown.group(1)) if unknown else ""
    return f" ({meant}{command(program(), '--help')} shows every option)"
