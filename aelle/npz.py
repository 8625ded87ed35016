"""NPZ files, read without running code and without unpacking more than they may hold."""

import math
import zipfile
from io import BufferedIOBase

import numpy as np
from numpy.lib import format as npy

MAX_ARRAYS = 10_000

HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
"""Readers of the header of an array, by the version of the format; later ones are for arrays of records."""


def check_npz(file: BufferedIOBase, limit: int) -> list[str]:
    """The names of its arrays. Raises ValueError if they would take more than `limit` bytes, by its directory alone, or
    if an array is not of the size that its header says; `zipfile.BadZipFile`, OSError."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_ARRAYS:
            raise ValueError(f"it contains {len(entries)} arrays, more than {MAX_ARRAYS}")
        # As they are stored first: to look into an array unpacks a part of it.
        sizes = [entry.file_size for entry in entries]
        if sum(sizes) <= limit:
            sizes = [_size(archive, entry) for entry in entries]
        if (unpacked := sum(sizes)) > limit:
            raise ValueError(
                f"its arrays take {unpacked / 1e6:.0f} MB, more than the {limit / 1e6:.0f} MB that it may hold"
            )
    file.seek(0)
    return [entry.filename.removesuffix(".npy") for entry in entries]


def read_npz(file: BufferedIOBase, limit: int) -> dict[str, np.ndarray]:
    """All of its arrays. Raises as `check_npz` does, and ValueError for arrays of Python objects."""
    names = check_npz(file, limit)
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in names}


def _size(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> int:
    """Of an array in double precision, in which it is used. Raises ValueError if its size is not what its header
    says."""
    with archive.open(entry) as opened:
        version = npy.read_magic(opened)
        if version not in HEADERS:
            raise ValueError(f"{entry.filename} is of version {version}, and not an array of numbers or words")
        shape, _, kind = HEADERS[version](opened)
        if not kind.hasobject and math.prod(shape) * kind.itemsize != entry.file_size - opened.tell():
            raise ValueError(f"{entry.filename} has not the size that its shape {list(shape)} says")
    return max(entry.file_size, 8 * math.prod(shape))
