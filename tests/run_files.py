"""The files of a run, written without a training: a configuration, rows of epochs, and what damages files."""

import struct
from pathlib import Path

import pyarrow as pa
import torch

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
    torch.save({"epoch": 0, "weights": torch.full((3, 4), 1234.5)}, run.checkpoint)
    run.write_status("running", epoch=1, device="cpu")
    return run


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
