"""The run folder of one pack: written whole at every epoch, each file replaced atomically, each with a checksum.

config.yaml       resolved; its `fingerprint` stands in status.json
variants.parquet  a row per variant: number, hyperparameters, seeds, state, error
epochs.parquet    a row per variant and epoch, epoch 0 = before training (Parquet's page checksums)
checkpoint.ckpt   the last epoch, for resuming (a zip archive with CRCs; read with weights_only=True)
status.json       state, fingerprint, epoch, versions, device, and a checksum of itself
"""

import hashlib
import json
import os
import platform
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytorch_lightning
import torch
from omegaconf import OmegaConf

from aelle.variants import Variant, draw


class DamagedRunError(ValueError):
    """A file of a run folder does not parse or does not match its checksum or fingerprint."""


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """What determines a variant's results, its number apart. Where and how it runs does not count."""
    task = json.loads(json.dumps(config["task"]))
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
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class StoppedRun:
    """A run that can go on: its variants, and their rows up to its checkpoint."""

    variants: list[Variant]
    rows: pa.Table


class RunFolder:
    """One pack's folder, as the process that trains it sees it."""

    def __init__(self, path: Path, config: dict[str, Any]):
        self.path, self.config = path, config
        self.started = _now()

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.ckpt"

    def write_config(self) -> None:
        text = OmegaConf.to_yaml(OmegaConf.create(self.config))
        replace_atomically(self.path / "config.yaml", lambda file: file.write_text(text))

    def write_variants(self, variants: Sequence[Variant], states: Sequence[str], error: str | None = None) -> None:
        columns: dict[str, Any] = {"variant": [v.number for v in variants]}
        columns |= {name: [v.hyperparameters[name] for v in variants] for name in variants[0].hyperparameters}
        columns |= {f"{purpose}_seed": [v.seeds[purpose] for v in variants] for purpose in variants[0].seeds}
        columns |= {"state": list(states), "error": pa.array([error] * len(variants), pa.string())}
        self._write_table("variants.parquet", pa.table(columns))

    def write_epochs(self, rows: pa.Table) -> None:
        self._write_table("epochs.parquet", rows)

    def write_status(self, state: str, *, variants: int, epoch: int, device: str, error: str | None = None) -> None:
        status = {
            "format": 1,
            "state": state,
            "fingerprint": fingerprint(self.config),
            "variants": variants,
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
        self.write_status("failed", variants=len(variants), epoch=epoch, device="", error=error)

    def _write_table(self, name: str, table: pa.Table) -> None:
        replace_atomically(
            self.path / name, lambda file: pq.write_table(table, file, write_page_checksum=True, compression="zstd")
        )

    def is_complete(self) -> bool:
        try:
            return read_status(self.path)["state"] == "complete"
        except DamagedRunError:
            return False

    def stopped(self, missing: Sequence[Variant]) -> StoppedRun | None:
        """The run to go on with, where the folder holds a whole one of these settings that covers `missing`."""
        try:
            if read_status(self.path)["fingerprint"] != fingerprint(self.config):
                return None
            numbers = read_table(self.path / "variants.parquet")["variant"].to_pylist()
            epoch = read_checkpoint_epoch(self.checkpoint)
            rows = read_table(self.path / "epochs.parquet")
            rows = rows.filter(pc.field("epoch") <= epoch)
            expected = {(n, e) for n in numbers for e in range(epoch + 1)}
            found = set(zip(rows["variant"].to_pylist(), rows["epoch"].to_pylist(), strict=True))
        except (DamagedRunError, KeyError):
            return None
        if found != expected or not {v.number for v in missing} <= set(numbers):
            return None
        space = {name: self.config[name] for name in self.config["hyperparameters"]}
        return StoppedRun([draw(space, self.config["seed"], n) for n in numbers], rows)

    def set_aside_damaged(self) -> bool:
        """Where a run got as far as a checkpoint and yet cannot go on, rename its folder: nothing is lost."""
        if not self.checkpoint.exists():
            return False
        aside = next(p for n in count(1) if not (p := self.path.with_name(f"{self.path.name}.damaged-{n}")).exists())
        aside.mkdir()
        for file in self.path.iterdir():
            if file.name != ".lock":
                file.rename(aside / file.name)
        return True


def read_status(folder: Path) -> dict[str, Any]:
    try:
        status = json.loads((folder / "status.json").read_text())
        claimed = status.pop("checksum")
        if claimed != _checksum(status):
            raise ValueError("its checksum does not match")
        if not isinstance(status["epoch"], int) or not isinstance(status["state"], str):
            raise ValueError("epoch or state is of the wrong type")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedRunError(f"status.json: {_short(error)}") from error
    return status


def read_config(folder: Path, status: dict[str, Any]) -> dict[str, Any]:
    try:
        config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
        if fingerprint(config) != status["fingerprint"]:  # pyright: ignore[reportArgumentType]
            raise ValueError("it does not match the fingerprint in status.json")
    except Exception as error:
        raise DamagedRunError(f"config.yaml: {_short(error)}") from error
    return config  # pyright: ignore[reportReturnType]


def read_table(path: Path) -> pa.Table:
    try:
        if not path.is_file():
            raise ValueError("it is no file")
        return pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise DamagedRunError(f"{path.name}: {_short(error)}") from error


def read_checkpoint_epoch(path: Path) -> int:
    """The epochs that the checkpoint has behind it. The archive's CRCs are compared, which `torch.load` does not do."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise ValueError(f"{damaged} inside it is damaged")
        return torch.load(path, map_location="meta", weights_only=True)["epoch"] + 1
    except Exception as error:
        raise DamagedRunError(f"{path.name}: {_short(error)}") from error


def _checksum(status: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(status, sort_keys=True).encode()).hexdigest()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _short(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
