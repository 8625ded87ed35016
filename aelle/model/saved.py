"""A saved model: what it is as JSON, its arrays as NPZ. Nothing that could run code when it is read, and nothing that
is read unless it is as it was written."""

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from aelle.errors import UserError, in_one_line, reason
from aelle.files import checksum, read_regular
from aelle.npz import read_npz

MAX_DESCRIPTION, MAX_ARRAYS = 20_000_000, 1 << 28
"""Bytes."""


def write_saved(folder: Path, names: tuple[str, str], description: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write the description, with digests of itself and of the arrays, and the arrays, into a new folder."""
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **arrays)
    (folder / names[1]).write_bytes(packed.getbuffer())
    # Numbers of NumPy's are written as Python's.
    plain = json.loads(json.dumps({**description, "arrays": digest(packed.getvalue())}, default=lambda v: v.item()))
    (folder / names[0]).write_text(json.dumps({**plain, "checksum": checksum(plain)}, indent=2))


def read_saved(folder: Path, names: tuple[str, str], version: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What was written. Raises ValueError, OSError, or what the readers of JSON and NPZ raise."""
    description = json.loads(read_regular(folder / names[0], MAX_DESCRIPTION), parse_constant=_refuse)
    if description["format"] != version:
        raise ValueError(f"its format is {description['format']}, and this version reads format {version}")
    if description.pop("checksum") != checksum(description):
        raise ValueError(f"{names[0]} has changed since it was written")
    packed = read_regular(folder / names[1], MAX_ARRAYS)
    if digest(packed) != description["arrays"]:
        raise ValueError("its files do not belong together")
    return description, read_npz(io.BytesIO(packed), 8 * len(packed))


def check_finite(arrays: dict[str, np.ndarray], *exempt: str) -> None:
    """Raises ValueError for NaN and infinity in any array but those whose names begin with `exempt`."""
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not name.startswith(exempt) and not np.isfinite(array).all():
            raise ValueError(f"{name} contains NaN or infinity")


def check_learned_from(learned_from: Any) -> None:
    if not isinstance(learned_from, dict) or not all(isinstance(one, (str, int)) for one in learned_from.values()):
        raise ValueError("learned_from must have a text or a whole number for each name")


def digest(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"it contains {word}")


@contextmanager
def reading(folder: Path, description: str, what: str) -> Iterator[None]:
    """Any error becomes a UserError of one line. `description`: the file by which a folder of `what` is known."""
    try:
        yield
    except OSError as error:
        if not folder.exists():
            raise UserError(f"{folder} does not exist") from error
        inner = folder / "model"
        meant = f"; did you mean {inner}?" if (inner / description).exists() else ""
        missing = f"{Path(error.filename or folder).name}: {reason(error)}"
        raise UserError(f"{folder} contains no complete {what} ({missing}{meant})") from error
    except Exception as error:
        raise UserError(f"{folder} contains no complete {what}: {in_one_line(error)}") from error
