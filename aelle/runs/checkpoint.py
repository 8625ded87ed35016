"""Reads the checkpoint of a run: whose it is, and what it contains."""

import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from aelle.errors import in_one_line
from aelle.runs.reader import DamagedRunError, check_contents, read_status

IDENTITY = "run"
"""The key of a checkpoint under which it says whose it is."""


MAX_STRUCTURE = 10_000_000
"""Bytes of what a checkpoint holds beside tensors: some kilobytes in those of aelle."""


class Checkpoint(NamedTuple):
    """`epoch`: how many are completed; `variants`: the numbers of those in it, in their order; `contents`: as Lightning
    saved them, with tensors on the given device."""

    epoch: int
    variants: list[int]
    contents: dict[str, Any]


def identity(fingerprint: str, variants: list[int]) -> dict[str, Any]:
    return {"fingerprint": fingerprint, "variants": variants}


def read_checkpoint(folder: Path, device: str = "meta") -> Checkpoint:
    """Raises DamagedRunError if it is not as it was written, or not the run's."""
    import torch

    path = folder / "checkpoint.ckpt"
    status = read_status(folder)
    try:
        check_contents(path, status)
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("it is compressed, which no checkpoint of aelle is")
            # Python's objects take many times the memory of what they are stored as; weights are stored beside them.
            if any(e.file_size > MAX_STRUCTURE for e in archive.infolist() if e.filename.endswith(".pkl")):
                raise ValueError("it holds more than weights and a few numbers")
        contents = torch.load(path, map_location=device, mmap=device == "cpu", weights_only=True)
        mine = contents[IDENTITY]
        if mine["fingerprint"] != status["fingerprint"]:
            raise ValueError("it is of a run with other settings")
        epoch, variants = contents["epoch"] + 1, list(mine["variants"])
        if not all(type(one) is int for one in (epoch, *variants)):
            raise ValueError("its epoch and variants are not whole numbers")
    except Exception as error:
        raise DamagedRunError(f"{path.name}: {in_one_line(error)}") from error
    return Checkpoint(epoch, variants, contents)


def misfit(checkpoint: Checkpoint, state: dict[str, Any]) -> str:
    """The tensor of a module's state that the checkpoint lacks or has in another shape, with how it differs; or ""."""
    saved = checkpoint.contents.get("state_dict")
    if not isinstance(saved, dict):
        return "it contains no weights"
    for name, tensor in state.items():
        there = getattr(saved.get(name), "shape", None)
        if there != tensor.shape:
            found = "missing" if there is None else f"of shape {list(there)}"
            return f"{name} is {found}, and {list(tensor.shape)} is needed"
    return ""
