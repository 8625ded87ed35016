"""The files of a run, written without a training: a configuration, rows of epochs, and what damages files."""

import json
import os
import struct
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from aelle.files import checksum, digest
from aelle.runs.checkpoint import IDENTITY, identity
from aelle.runs.settings import fingerprint
from aelle.runs.writer import RunFolder
from aelle.sweep.plan import Plan

CONFIG = {
    "task": {"name": "digits", "threshold": 0.5, "data": {"root": "here"}},
    "hyperparameters": ["hidden_size", "p"],
    "hidden_size": 8,
    "p": "uniform(2, 3)",
    "seed": 0,
    "repeats": 1,
    "reference": None,
    "size": 3,
    "epochs": 2,
    "lyapunov": {"over": "hidden"},
    "trainer": {"accelerator": "cpu", "devices": 1, "gradient_clip_val": None},
}


def epoch_rows(epochs: int, variants: int = 2) -> pa.Table:
    pairs = [(v, e) for e in range(epochs + 1) for v in range(variants)]
    return pa.table({"variant": [v for v, _ in pairs], "epoch": [e for _, e in pairs], "val_loss": [1.0] * len(pairs)})


def stopped_run(plan: Plan) -> RunFolder:
    """A run of variants 0 and 1, stopped after the first of two epochs."""
    run = RunFolder(plan.folder / "pack-0000", CONFIG)
    run.begin([plan.variant(n) for n in range(2)])
    run.write_epochs(epoch_rows(epochs=1))
    run.write_checkpoint(lambda file: torch.save(checkpoint_of(CONFIG, [0, 1]), file))
    run.write_status("running", epoch=1, device="cpu")
    return run


def checkpoint_of(config: dict, variants: list[int], epoch: int = 0) -> dict:
    """As Lightning saves them, with few weights."""
    weights = {"network.weight_hh_l0": torch.full((len(variants), 3, 4), 1234.5)}
    return {"epoch": epoch, "state_dict": weights, IDENTITY: identity(fingerprint(config), variants)}


def endorse(folder: Path, **changes: object) -> None:
    """Let the status know the files as they are now, as another program could that knows how it is made."""
    status = json.loads((folder / "status.json").read_text())
    for name in status["files"]:
        if (folder / name).is_file():
            status["files"][name] = [[(folder / name).stat().st_size, digest(folder / name)]]
    write_status(folder, {**status, **changes})


def write_status(folder: Path, status: object) -> None:
    """Any document, with the checksum that belongs to it."""
    if isinstance(status, dict):
        status = {name: value for name, value in status.items() if name != "checksum"}
        status["checksum"] = checksum(status)
    (folder / "status.json").write_text(json.dumps(status))


def on_replacing(monkeypatch, before=lambda path, times: None, after=lambda path, times: None) -> None:
    """Call these around every file that is put into its place, with how many times it has been, this one included."""
    replace, times = os.replace, Counter[str]()

    def replaced(source, target):
        name = Path(target).name
        times[name] += 1
        before(Path(target), times[name])
        replace(source, target)
        after(Path(target), times[name])

    monkeypatch.setattr(os, "replace", replaced)


def killed_before_its_last_status(monkeypatch, run: RunFolder, *args, **options) -> None:
    """Write a status, and be killed when all other files are in place."""

    def killed(path, times):
        if (path.name, times) == ("status.json", 2):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        on_replacing(patched, before=killed)
        with pytest.raises(KeyboardInterrupt):
            run.write_status(*args, **options)


def damage(file: Path, how: str) -> None:
    whole = file.read_bytes()
    file.unlink()
    if how == "empty":
        file.write_bytes(b"")
    elif how == "truncated":
        file.write_bytes(whole[: len(whole) // 2])
    elif how == "flipped":
        # A checkpoint's archive holds padding, where a flipped bit changes nothing: aim at the weights.
        at = whole.index(struct.pack("<f", 1234.5)) if file.suffix == ".ckpt" else len(whole) // 3
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
    elif how == "folder":
        file.mkdir()
