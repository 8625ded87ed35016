"""Writes the run folder of one pack, whose files `aelle.runs.reader` describes and reads."""

import json
import os
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import OmegaConf

from aelle.files import replace_atomically
from aelle.runs.format import FORMAT
from aelle.runs.locks import lock_file
from aelle.runs.reader import DamagedRunError, checksum, read_run
from aelle.runs.settings import fingerprint
from aelle.variants import Variant


class RunFolder:
    """One pack's folder, as the process that trains it writes it. `lock`: the one that this process holds."""

    def __init__(self, path: Path, config: dict[str, Any], lock: Path | None = None):
        self.path, self.config, self.lock = path, config, lock or lock_file(path)
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
        for name in variants[0].hyperparameters:
            # NaN, for what a variant does not read, becomes null; a column of nulls has no type of its own.
            values = pa.array([v.hyperparameters[name] for v in variants], from_pandas=True)
            columns[name] = values.cast(pa.float64()) if pa.types.is_null(values.type) else values
        columns |= {f"{purpose}_seed": [v.seeds[purpose] for v in variants] for purpose in variants[0].seeds}
        columns |= {"state": list(states), "error": pa.array([error] * len(variants), pa.string())}
        self._write_table("variants.parquet", pa.table(columns))

    def write_epochs(self, rows: pa.Table) -> None:
        self._write_table("epochs.parquet", rows)

    def write_examples(self, variants: Sequence[Variant], examples: dict[str, pa.Array]) -> None:
        self._write_table("examples.parquet", pa.table({"variant": [v.number for v in variants], **examples}))

    def write_status(
        self, state: str, *, epoch: int, device: str = "", error: str | None = None, refused: bool = False
    ) -> None:
        # Imported late: they take seconds, and reading tables and --help do not need them.
        import pytorch_lightning
        import torch

        status = {
            "format": FORMAT,
            "state": state,
            "fingerprint": fingerprint(self.config),
            "epoch": epoch,
            "epochs": self.config["epochs"],
            "started": self.started,
            "updated": _now(),
            "host": platform.node(),
            "process": os.getpid(),
            "lock": self.lock.name,
            "device": device,
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "pytorch-lightning": pytorch_lightning.__version__,
            },
            "error": error,
            "refused": refused,
        }
        status["checksum"] = checksum(status)
        text = json.dumps(status, indent=2)
        replace_atomically(self.path / "status.json", lambda file: file.write_text(text))

    def write_failure(self, variants: Sequence[Variant], error: str, refused: bool = False) -> None:
        """Record an exception; what the run has written is kept, so that the next start can resume. `refused`: every
        start would fail alike."""
        try:
            run = read_run(self.path)
            epoch, pruned = run.status["epoch"], run.pruned
        except DamagedRunError:
            epoch, pruned = 0, set()
        self.write_variants(variants, ["pruned" if v.number in pruned else "failed" for v in variants], error)
        self.write_status("failed", epoch=epoch, error=error, refused=refused)

    def _write_table(self, name: str, table: pa.Table) -> None:
        table = table.replace_schema_metadata({"fingerprint": fingerprint(self.config)})

        def write(path: Path) -> None:
            # If the disk is full, a file opened by pyarrow stays open, and keeps its space, until garbage collection.
            with path.open("wb") as file:
                pq.write_table(table, file, write_page_checksum=True, compression="zstd")

        replace_atomically(self.path / name, write)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
