"""Reads run folders. Every file in one is replaced atomically and has checksums and the run's fingerprint.

    config.yaml       resolved; its `fingerprint` is in status.json
    variants.parquet  a row per variant: number, hyperparameters, seeds, state, error
    epochs.parquet    a row per variant and epoch, epoch 0 = before training
    examples.parquet  a row per variant that was not pruned: its outputs after training, in the form of its task
    checkpoint.ckpt   the last epoch, for resuming (a zip archive with CRCs; read with weights_only=True)
    status.json       state, fingerprint, epoch, versions, device, lock, and a checksum of itself

The Parquet files have page checksums, and the fingerprint in their metadata.
"""

import hashlib
import json
import os
import re
import zipfile
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aelle.errors import in_one_line
from aelle.runs.format import check_complete, check_config, check_rows, check_status, check_table, parse_config
from aelle.runs.settings import fingerprint

FILES = ("config.yaml", "variants.parquet", "epochs.parquet", "examples.parquet", "checkpoint.ckpt", "status.json")

PACK = re.compile(r"^pack: (0|[1-9]\d*)$", re.MULTILINE)
"""The line of config.yaml with the number of the pack."""


class DamagedRunError(ValueError):
    """A file of a run folder does not parse, or does not match its checksum or fingerprint."""


@dataclass(frozen=True)
class Run:
    """The contents of a run folder, read and checked."""

    path: Path
    status: dict[str, Any]
    config: dict[str, Any]
    variants: pa.Table
    epochs: pa.Table

    @property
    def numbers(self) -> list[int]:
        return self.variants["variant"].to_pylist()

    @property
    def lock(self) -> Path:
        """The lock of the job that trains the run, or did."""
        return self.path.parent / self.status["lock"]

    @property
    def refused(self) -> bool:
        """Whether its networks cannot be built, so that it fails whenever it is started."""
        return self.status["state"] == "failed" and self.status.get("refused", False)

    @property
    def pruned(self) -> set[int]:
        """The numbers of the variants that were stopped early."""
        return set(self.variants.filter(pc.field("state") == "pruned")["variant"].to_pylist())


def read_run(path: Path) -> Run:
    """Read all but the checkpoint. Raises DamagedRunError, naming the file, if one is damaged."""
    status = read_status(path)
    config = read_config(path, status)
    columns = ("variant", "state", "error", *config["hyperparameters"])
    variants = _read_table(path / "variants.parquet", status, columns)
    if status["epoch"] == 0 and not (path / "epochs.parquet").exists():
        epochs = pa.table({"variant": pa.array([], pa.int64()), "epoch": pa.array([], pa.int64())})
    else:
        epochs = _read_table(path / "epochs.parquet", status, ("variant", "epoch", "val_loss"))
    run = Run(path, status, config, variants, epochs)
    try:
        check_rows(run.numbers, epochs)
        if status["state"] == "complete":
            check_complete(run.numbers, run.pruned, epochs, config["epochs"])
    except ValueError as error:
        raise DamagedRunError(str(error)) from error
    return run


def read_example(folder: Path, number: int) -> dict[str, Any]:
    """A variant's outputs after training, by name, in the form of its task. Raises DamagedRunError."""
    table = _read_table(folder / "examples.parquet", read_status(folder), ("variant",))
    rows = table.filter(pc.field("variant") == number).drop_columns("variant").to_pylist()
    if len(rows) != 1:
        raise DamagedRunError(f"examples.parquet: it has {len(rows)} rows of variant {number} instead of one")
    return rows[0]


def read_status(folder: Path) -> dict[str, Any]:
    try:
        status = json.loads((folder / "status.json").read_text())
        claimed = status.pop("checksum")
        if claimed != checksum(status):
            raise ValueError("its checksum does not match")
        check_status(status)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedRunError(f"status.json: {in_one_line(error)}") from error
    return status


def read_config(folder: Path, status: dict[str, Any]) -> dict[str, Any]:
    try:
        text = (folder / "config.yaml").read_text(encoding="utf-8")
        pack = PACK.search(text)
        config, its_fingerprint = _parsed(PACK.sub("pack: 0", text))
        if its_fingerprint != status["fingerprint"]:
            raise ValueError("it does not match the fingerprint in status.json")
        check_config(config)
    except Exception as error:
        raise DamagedRunError(f"config.yaml: {in_one_line(error)}") from error
    return deepcopy(config) | ({"pack": int(pack[1])} if pack else {})


@lru_cache
def _parsed(text: str) -> tuple[dict[str, Any], str]:
    """A configuration and its fingerprint. A sweep's runs differ only in their pack, so one is parsed for all."""
    config = parse_config(text)
    return config, fingerprint(config)


def _read_table(path: Path, status: dict[str, Any], needed: tuple[str, ...]) -> pa.Table:
    try:
        if not path.is_file():
            raise ValueError("it is missing")
        table = pq.ParquetFile(path, page_checksum_verification=True).read(use_threads=False)
        if (table.schema.metadata or {}).get(b"fingerprint") != status["fingerprint"].encode():
            raise ValueError("it belongs to another run: its fingerprint differs from that of status.json")
        check_table(table, needed)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise DamagedRunError(f"{path.name}: {in_one_line(error)}") from error
    return table


def read_checkpoint_epoch(path: Path) -> int:
    """The epochs completed at the checkpoint. The archive's CRCs are checked, which `torch.load` does not do."""
    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise ValueError(f"its entry {damaged} is damaged")
        return torch.load(path, map_location="meta", weights_only=True)["epoch"] + 1
    except Exception as error:
        raise DamagedRunError(f"{path.name}: {in_one_line(error)}") from error


def run_folders(sweep: Path) -> list[Path]:
    """Every folder of a sweep that a run has written to; those set aside as damaged are left out."""
    folders = sorted(sweep.iterdir()) if sweep.is_dir() else []
    return [
        folder
        for folder in folders
        if ".damaged-" not in folder.name and any(os.path.exists(folder / name) for name in FILES)
    ]


def checksum(status: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(status, sort_keys=True).encode()).hexdigest()
