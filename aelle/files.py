"""Atomic replacement of files, and the file names of a saved model."""

import os
from collections.abc import Callable
from pathlib import Path

MODEL_FILES = ("aelle.json", "arrays.npz")
"""The files of a saved AeLLE. `aelle.model.files` writes and reads them, but takes seconds to import."""


PREDICTOR_FILES = ("predictor.json", "predictor.npz")
"""The files of a saved EarlyPredictor, next to those of its AeLLE (`aelle.predictor.files`)."""


def replace_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` on a temporary file, then rename it to `path`: a reader sees the old or the new file, complete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        # If the disk is full, the operating system's error names no file.
        if error.errno is not None:
            error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
