"""Files that are replaced whole, and the names of those that only a late import knows how to read."""

import os
from collections.abc import Callable
from pathlib import Path

MODEL_FILES = ("aelle.json", "arrays.npz")
"""What a saved AeLLE consists of; `aelle.model.files` writes and reads them."""


def replace_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in its place: a reader sees the old or the new one, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        # Of a full disk the system names no file.
        if error.errno is not None:
            error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
