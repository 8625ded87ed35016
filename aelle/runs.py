"""The run folder of one pack: every file is replaced atomically, carries checksums, and bears the run's fingerprint.

    config.yaml       resolved; its `fingerprint` stands in status.json
    variants.parquet  a row per variant: number, hyperparameters, seeds, state, error
    epochs.parquet    a row per variant and epoch, epoch 0 = before training
    examples.parquet  a row per variant: what it put out at the end of training, as its task has it
    checkpoint.ckpt   the last epoch, for resuming (a zip archive with CRCs; read with weights_only=True)
    status.json       state, fingerprint, epoch, versions, device, and a checksum of itself

The Parquet files have page checksums, and the fingerprint in their metadata.
"""

import hashlib
import json
import os
import platform
import re
import zipfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from omegaconf import OmegaConf

from aelle.errors import in_one_line
from aelle.stored import check_config, check_status, check_table, parse_config
from aelle.variants import Variant

FILES = ("config.yaml", "variants.parquet", "epochs.parquet", "examples.parquet", "checkpoint.ckpt", "status.json")

PACK = re.compile(r"^pack: (0|[1-9]\d*)$", re.MULTILINE)
"""A line of config.yaml."""


class DamagedRunError(ValueError):
    """A file of a run folder does not parse, or does not match its checksum or fingerprint."""


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """What determines a variant's results, its number apart. Where and how it runs, and how it is judged, does not."""
    task = json.loads(json.dumps(config["task"]))
    task.pop("threshold", None)
    task["data"].pop("root", None)
    trainer = {name: value for name, value in config["trainer"].items() if name not in ("accelerator", "devices")}
    space = {name: config[name] for name in config["hyperparameters"]}
    fixed = {name: config[name] for name in ("seed", "epochs", "lyapunov")}
    return {**space, **fixed, "trainer": trainer, "task": task}


def fingerprint(config: dict[str, Any]) -> str:
    text = json.dumps(settings(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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


class RunFolder:
    """One pack's folder, as the process that trains it writes it."""

    def __init__(self, path: Path, config: dict[str, Any]):
        self.path, self.config = path, config
        self.started = _now()

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.ckpt"

    def begin(self, variants: Sequence[Variant]) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        text = OmegaConf.to_yaml(OmegaConf.create(self.config))
        replace_atomically(self.path / "config.yaml", lambda file: file.write_text(text))
        self.write_variants(variants, ["running"] * len(variants))
        self.write_status("running", epoch=0)

    def write_variants(self, variants: Sequence[Variant], states: Sequence[str], error: str | None = None) -> None:
        columns: dict[str, Any] = {"variant": [v.number for v in variants]}
        columns |= {name: [v.hyperparameters[name] for v in variants] for name in variants[0].hyperparameters}
        columns |= {f"{purpose}_seed": [v.seeds[purpose] for v in variants] for purpose in variants[0].seeds}
        columns |= {"state": list(states), "error": pa.array([error] * len(variants), pa.string())}
        self._write_table("variants.parquet", pa.table(columns))

    def write_epochs(self, rows: pa.Table) -> None:
        self._write_table("epochs.parquet", rows)

    def write_examples(self, variants: Sequence[Variant], examples: dict[str, pa.Array]) -> None:
        self._write_table("examples.parquet", pa.table({"variant": [v.number for v in variants], **examples}))

    def write_status(self, state: str, *, epoch: int, device: str = "", error: str | None = None) -> None:
        # Seconds, for which who reads tables or asks for help need not wait.
        import pytorch_lightning
        import torch

        status = {
            "format": 1,
            "state": state,
            "fingerprint": fingerprint(self.config),
            "epoch": epoch,
            "epochs": self.config["epochs"],
            "started": self.started,
            "updated": _now(),
            "host": platform.node(),
            "process": os.getpid(),
            "device": device,
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "pytorch-lightning": pytorch_lightning.__version__,
            },
            "error": error,
        }
        status["checksum"] = _checksum(status)
        text = json.dumps(status, indent=2)
        replace_atomically(self.path / "status.json", lambda file: file.write_text(text))

    def write_failure(self, variants: Sequence[Variant], error: str) -> None:
        """Record an exception; what the run had written before stays, for the next start to go on from."""
        try:
            epoch = read_status(self.path)["epoch"]
        except DamagedRunError:
            epoch = 0
        self.write_variants(variants, ["failed"] * len(variants), error)
        self.write_status("failed", epoch=epoch, error=error)

    def _write_table(self, name: str, table: pa.Table) -> None:
        table = table.replace_schema_metadata({"fingerprint": fingerprint(self.config)})
        replace_atomically(
            self.path / name, lambda file: pq.write_table(table, file, write_page_checksum=True, compression="zstd")
        )


@dataclass(frozen=True)
class Run:
    """What a run folder holds, read and checked."""

    path: Path
    status: dict[str, Any]
    config: dict[str, Any]
    variants: pa.Table
    epochs: pa.Table

    @property
    def numbers(self) -> list[int]:
        return self.variants["variant"].to_pylist()


def read_run(path: Path) -> Run:
    """All but the checkpoint. Raises DamagedRunError, naming the file, where something is not as it was written."""
    status = read_status(path)
    config = read_config(path, status)
    columns = ("variant", "state", "error", *config["hyperparameters"])
    variants = _read_table(path / "variants.parquet", status, columns)
    if status["epoch"] == 0 and not (path / "epochs.parquet").exists():
        epochs = pa.table({"variant": pa.array([], pa.int64()), "epoch": pa.array([], pa.int64())})
    else:
        epochs = _read_table(path / "epochs.parquet", status, ("variant", "epoch", "val_loss"))
    run = Run(path, status, config, variants, epochs)
    pairs = set(zip(epochs["variant"].to_pylist(), epochs["epoch"].to_pylist(), strict=True))
    if len(set(run.numbers)) != len(run.numbers):
        raise DamagedRunError("variants.parquet: a variant stands in it twice")
    if len(pairs) != epochs.num_rows or not {number for number, _ in pairs} <= set(run.numbers):
        raise DamagedRunError("epochs.parquet: its rows are not one per variant and epoch")
    if status["state"] == "complete" and len(pairs) != len(run.numbers) * (config["epochs"] + 1):
        raise DamagedRunError("epochs.parquet: rows are missing, although the run is complete")
    return run


def read_example(folder: Path, number: int) -> dict[str, Any]:
    """What a variant put out in the end, by name, as its task has it. Raises DamagedRunError."""
    table = _read_table(folder / "examples.parquet", read_status(folder), ("variant",))
    rows = table.filter(pc.field("variant") == number).drop_columns("variant").to_pylist()
    if len(rows) != 1:
        raise DamagedRunError(f"examples.parquet: it has {len(rows)} rows of variant {number}")
    return rows[0]


def read_status(folder: Path) -> dict[str, Any]:
    try:
        status = json.loads((folder / "status.json").read_text())
        claimed = status.pop("checksum")
        if claimed != _checksum(status):
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
    """A configuration and its fingerprint. The runs of a sweep differ in their pack alone: one is parsed for all."""
    config = parse_config(text)
    return config, fingerprint(config)


def _read_table(path: Path, status: dict[str, Any], needed: tuple[str, ...]) -> pa.Table:
    try:
        if not path.is_file():
            raise ValueError("it is missing")
        table = pq.ParquetFile(path, page_checksum_verification=True).read(use_threads=False)
        if (table.schema.metadata or {}).get(b"fingerprint") != status["fingerprint"].encode():
            raise ValueError("it belongs to another run: its fingerprint is not that of status.json")
        check_table(table, needed)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise DamagedRunError(f"{path.name}: {in_one_line(error)}") from error
    return table


def read_checkpoint_epoch(path: Path) -> int:
    """The epochs that the checkpoint has behind it. The archive's CRCs are compared, which `torch.load` does not do."""
    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise ValueError(f"{damaged} inside it is damaged")
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


def _checksum(status: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(status, sort_keys=True).encode()).hexdigest()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
