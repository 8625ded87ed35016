"""Reads run folders. Every file in one is replaced atomically, and is read only if it is as it was written.

    config.yaml       resolved; its `fingerprint` is in status.json
    variants.parquet  a row per variant: number, hyperparameters, seeds, state, error
    epochs.parquet    a row per variant and epoch, epoch 0 = before training
    examples.parquet  a row per variant that was not pruned: its outputs after training, in the form of its task
    checkpoint.ckpt   the last epoch, for resuming (read with weights_only=True), with the fingerprint and the variants
    status.json       state, fingerprint, epoch, versions, device, lock; size and SHA-256 of every other file, and a
                      checksum of itself

The Parquet files have the fingerprint in their metadata.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aelle.errors import in_one_line
from aelle.files import check_regular, checksum, digest, read_regular
from aelle.runs.format import (
    FILES,
    MAX_STATUS,
    MAX_UNPACKED,
    MAX_WORDS,
    OTHER_COLUMNS,
    check_complete,
    check_config,
    check_rows,
    check_schema,
    check_size,
    check_status,
    check_values,
    longest,
    parse_config,
)
from aelle.runs.settings import fingerprint

CHANGED = "it has changed since it was written"

PACK = re.compile(r"^pack: (0|[1-9]\d*)$", re.MULTILINE)
"""The line of config.yaml with the number of the pack."""


Read = TypeVar("Read")


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
    return _read_whole(path, lambda status: _read_run(path, status))


def _read_run(path: Path, status: dict[str, Any]) -> Run:
    config = _read_config(path, status)
    columns = ("variant", "state", "error", *config["hyperparameters"])
    variants = _read_table(path / "variants.parquet", status, config, columns)
    if status["epoch"] == 0 and "epochs.parquet" not in status["files"]:
        epochs = pa.table({"variant": pa.array([], pa.int64()), "epoch": pa.array([], pa.int64())})
    else:
        epochs = _read_table(path / "epochs.parquet", status, config, ("variant", "epoch", "val_loss"))
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
    table = _read_whole(
        folder,
        lambda status: _read_table(folder / "examples.parquet", status, _read_config(folder, status), ("variant",)),
    )
    rows = table.filter(pc.field("variant") == number).drop_columns("variant").to_pylist()
    if len(rows) != 1:
        raise DamagedRunError(f"examples.parquet: it has {len(rows)} rows of variant {number} instead of one")
    return rows[0]


def _read_whole(folder: Path, read: Callable[[dict[str, Any]], Read]) -> Read:
    """What `read` makes of the files that belong to a status: again if another status has been written meanwhile."""
    while True:
        status = read_status(folder)
        try:
            return read(status)
        except DamagedRunError:
            if read_status(folder) == status:
                raise


def read_status(folder: Path) -> dict[str, Any]:
    if folder.is_symlink():
        raise DamagedRunError("it is a link, which is not followed")
    try:
        status = json.loads(read_regular(folder / "status.json", MAX_STATUS))
        claimed = status.pop("checksum")
        if claimed != checksum(status):
            raise ValueError("its checksum does not match")
        check_status(status)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedRunError(f"status.json: {in_one_line(error)}") from error
    return status


def _read_config(folder: Path, status: dict[str, Any]) -> dict[str, Any]:
    try:
        text = _read_file(folder / "config.yaml", status).decode()
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


def _read_table(path: Path, status: dict[str, Any], config: dict[str, Any], needed: tuple[str, ...]) -> pa.Table:
    try:
        file = pa.BufferReader(_read_file(path, status))
        metadata = pq.read_metadata(file)
        rows = config.get("pack_size") or config["size"] or metadata.num_rows
        rows *= config["epochs"] + 1 if path.name == "epochs.parquet" else 1
        check_size(path.name, metadata, rows, len(config["hyperparameters"]) + OTHER_COLUMNS)
        schema = pq.read_schema(file)
        if (schema.metadata or {}).get(b"fingerprint") != status["fingerprint"].encode():
            raise ValueError("it belongs to another run: its fingerprint differs from that of status.json")
        check_schema(path.name, schema, needed, config["hyperparameters"])
        table = _unpacked(file, schema)
        check_values(path.name, table, needed)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise DamagedRunError(f"{path.name}: {in_one_line(error)}") from error
    return table


def _unpacked(file: pa.BufferReader, schema: pa.Schema) -> pa.Table:
    """Words are stored once each, and may be long."""
    words = [field.name for field in schema if pa.types.is_string(field.type)]
    table = pq.ParquetFile(file, read_dictionary=words).read(use_threads=False)
    for name in words:
        column = table[name].combine_chunks()
        if longest(column.dictionary, "binary_length") * len(column) > MAX_WORDS:
            raise ValueError(f"its column {name} has words that would take more than {MAX_WORDS / 1e6:.0f} MB")
        table = table.set_column(table.column_names.index(name), name, column.dictionary_decode())
    return table


def check_contents(path: Path, status: dict[str, Any]) -> None:
    """Raises ValueError or OSError unless the file is as it was written."""
    known = _known(path, status)
    size = check_regular(path, max(size for size, _ in known))
    if size not in [size for size, _ in known] or [size, digest(path)] not in known:
        raise ValueError(CHANGED)


def _read_file(path: Path, status: dict[str, Any]) -> bytes:
    known = _known(path, status)
    contents = read_regular(path, min(max(size for size, _ in known), MAX_UNPACKED))
    if [len(contents), hashlib.sha256(contents).hexdigest()] not in known:
        raise ValueError(CHANGED)
    return contents


def _known(path: Path, status: dict[str, Any]) -> list[list[Any]]:
    if not os.path.lexists(path):
        raise ValueError("it is missing")
    if path.name not in status["files"]:
        raise ValueError("status.json does not know it")
    return status["files"][path.name]


def run_folders(sweep: Path) -> list[Path]:
    """Every folder of a sweep that a run has written to; those set aside as damaged are left out."""
    folders = sorted(sweep.iterdir()) if sweep.is_dir() else []
    return [
        folder
        for folder in folders
        if ".damaged-" not in folder.name and any(os.path.lexists(folder / name) for name in FILES)
    ]
