"""Files that are written whole or not at all, and that are read only if they are ordinary files of a known size."""

import ctypes
import fcntl
import glob
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

from aelle.errors import UnwritableError, UserError

MODEL_FILES = ("aelle.json", "arrays.npz")
"""The files of a saved AeLLE. `aelle.model.files` writes and reads them, but takes seconds to import."""


PREDICTOR_FILES = ("predictor.json", "predictor.npz")
"""The files of a saved EarlyPredictor, next to those of its AeLLE (`aelle.predictor.files`)."""

SAVED_FILES = (*MODEL_FILES, *PREDICTOR_FILES)

LEFTOVER = re.compile(r"\..+\.[0-9a-f]+\.tmp")
"""The name of a temporary file or folder."""

AT_CWD, RENAME_EXCHANGE = -100, 2
"""Of Linux' renameat2."""

BLOCK = 1 << 20
"""Bytes that are read at once."""


class UnfitFileError(ValueError):
    """A link, a pipe, or a file that is larger than it may be; the message follows the file's name."""


@contextmanager
def temporary(path: Path) -> Iterator[Path]:
    """A new, empty file beside `path`, to be written and renamed; removed at the end if it is still there.

    Its name cannot be foreseen, so that nobody can have put a link there. It is locked as long as it is in use: what a
    killed process has left is not, and is removed by the next one that writes the same file.
    """
    _remove_leftovers(path)
    while True:
        file = _beside(path)
        opened = os.open(file, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_RDWR | os.O_CLOEXEC, 0o666)
        _lock(opened)
        # Another process may have taken it for a leftover before it was locked.
        if file.exists():
            break
        os.close(opened)
    try:
        yield file
    finally:
        os.close(opened)
        file.unlink(missing_ok=True)


def replace_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` on a temporary file, then rename it to `path`: a reader sees the old or the new file, complete."""
    with naming(path), temporary(path) as file:
        write(file)
        sync(file)
        os.replace(file, path)


def replace_folder(path: Path, write: Callable[[Path], object], names: Collection[str]) -> None:
    """Call `write` on a new folder, then rename it to `path`: a reader sees the old or the new files, all of one kind.

    Raises UserError if `path` is no folder, or contains anything but files of these `names`, which would be lost.
    """
    refuse_unless(path, "folder")
    strangers = [name for name in sorted(os.listdir(path)) if name not in names] if path.exists() else []
    if strangers := [name for name in strangers if not LEFTOVER.fullmatch(name)]:
        raise UserError(f"{path} contains {strangers[0]}, which would be lost: give a folder of its own")
    path.parent.mkdir(parents=True, exist_ok=True)
    new, old = _beside(path), _beside(path)
    with naming(path):
        new.mkdir()
        lock = os.open(new, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _lock(lock)
            write(new)
            for file in new.iterdir():
                sync(file)
            if not (path.exists() and _exchanged(new, path)):
                if path.exists():
                    os.rename(path, old)
                os.rename(new, path)
        except BaseException:
            if old.exists() and not path.exists():
                os.rename(old, path)
            shutil.rmtree(new, ignore_errors=True)
            raise
        finally:
            os.close(lock)
    _remove_leftovers(path)


def refuse_unless(path: Path, *kinds: str) -> None:
    """Raises UnwritableError if something else is there than a "file" or a "folder", whichever is allowed, in a folder
    that may be foreign: a link could lead anywhere, and a pipe blocks."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    tests = {"link": stat.S_ISLNK, "folder": stat.S_ISDIR, "file": stat.S_ISREG}
    kind = next((kind for kind, is_one in tests.items() if is_one(mode)), "pipe or device")
    if kind not in kinds:
        raise UnwritableError(f"{path} is a {kind}, where only a {' or a '.join(kinds)} can be: remove it")


def _exchanged(one: Path, other: Path) -> bool:
    """Let two folders take each other's name in one instant, where the system and the file system can (Linux)."""
    exchange = getattr(ctypes.CDLL(None), "renameat2", None)
    names = (os.fsencode(one.absolute()), os.fsencode(other.absolute()))
    return exchange is not None and exchange(AT_CWD, names[0], AT_CWD, names[1], RENAME_EXCHANGE) == 0


def make_folder(path: Path) -> None:
    """Make a folder within one that may be foreign. Raises UnwritableError for what is none, and for a link to one."""
    refuse_unless(path, "folder")
    path.mkdir(parents=True, exist_ok=True)


def read_regular(path: Path, limit: int, *, follow: bool = False) -> bytes:
    """The contents of an ordinary file. Raises UnfitFileError for anything else, and beyond `limit` bytes; OSError.

    `follow` links only if the user has given the path.
    """
    with _open_regular(path, limit, follow) as opened:
        return opened.read(limit)


@contextmanager
def _open_regular(path: Path, limit: int, follow: bool = False) -> Iterator[BufferedReader]:
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    with os.fdopen(file, "rb") as opened:
        _check(os.fstat(file), limit)
        yield opened


def check_regular(path: Path, limit: int, *, follow: bool = False) -> int:
    """The size of an ordinary file, without reading it. Raises UnfitFileError as `read_regular` does; OSError."""
    return _check(os.stat(path, follow_symlinks=follow), limit)


def _check(status: os.stat_result, limit: int) -> int:
    if stat.S_ISLNK(status.st_mode):
        raise UnfitFileError("it is a link, which is not followed")
    if not stat.S_ISREG(status.st_mode):
        raise UnfitFileError("it is not an ordinary file")
    if status.st_size > limit:
        raise UnfitFileError(f"it has {status.st_size} bytes, more than {limit}")
    return status.st_size


def checksum(contents: dict[str, Any]) -> str:
    """Of what is written as JSON, by which it is known whole."""
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def digest(path: Path, limit: int = sys.maxsize) -> str:
    """The SHA-256 of an ordinary file's contents, in hexadecimal. Raises as `read_regular` does."""
    found = hashlib.sha256()
    with _open_regular(path, limit) as opened:
        while block := opened.read(BLOCK):
            found.update(block)
    return found.hexdigest()


def sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the operating system name `path`: of a full disk they name no file, or the temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and (error.filename is None or LEFTOVER.fullmatch(Path(error.filename).name)):
            error.filename = str(path)
        raise


def _beside(path: Path) -> Path:
    """A name that nobody can foresee."""
    return path.with_name(f".{_start(path)}.{secrets.token_hex(8)}.tmp")


def _start(path: Path) -> str:
    """File systems allow 255 bytes."""
    return path.name[:50]


def _lock(opened: int) -> None:
    with suppress(OSError):  # Some file systems have no locks.
        fcntl.flock(opened, fcntl.LOCK_EX)


def _remove_leftovers(path: Path) -> None:
    """What killed processes have left beside `path` of writing it. What another process still writes is locked."""
    for file in path.parent.glob(f".{glob.escape(_start(path))}.*.tmp"):
        with suppress(OSError):
            opened = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if file.is_dir():
                    shutil.rmtree(file)
                else:
                    file.unlink()
            finally:
                os.close(opened)
