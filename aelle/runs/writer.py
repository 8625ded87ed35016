"""Writes the run folder of one pack, whose files `aelle.runs.reader` describes and reads."""

import json
import os
import platform
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import OmegaConf

from aelle.errors import UserError
from aelle.files import checksum, digest, make_folder, naming, replace_atomically, sync, temporary
from aelle.runs.format import FORMAT, MAX_CONFIG, MAX_ERROR
from aelle.runs.locks import lock_file
from aelle.runs.reader import DamagedRunError, read_run, read_status
from aelle.runs.settings import fingerprint
from aelle.variants import Variant


class RunFolder:
    """One pack's folder, as the process that trains it writes it. `lock`: the one that this process holds.

    Files appear with the next status. It is written before and after them: first it names, for each, the contents that
    may be there from now on, old and new, then the new ones alone. So a reader knows every file that may be whole,
    whenever the process is killed.
    """

    def __init__(self, path: Path, config: dict[str, Any], lock: Path | None = None):
        self.path, self.config, self.lock = path, config, lock or lock_file(path)
        self.started = _now()
        self.written, self.staged = ExitStack(), dict[str, Path]()
        self.status = self._status_there()

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.ckpt"

    def begin(self, variants: Sequence[Variant]) -> None:
        make_folder(self.path)
        text = OmegaConf.to_yaml(OmegaConf.create(self.config))
        if len(text) > MAX_CONFIG:
            raise UserError(
                f"{self.path}: its configuration has {len(text)} letters, more than {MAX_CONFIG}: give fewer values, "
                "or variants as a range, e.g. variants=0-63"
            )
        self.status["files"] = {}
        self._stage("config.yaml", lambda file: file.write_text(text))
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
        self._stage_table("variants.parquet", pa.table(columns))

    def write_epochs(self, rows: pa.Table) -> None:
        self._stage_table("epochs.parquet", rows)

    def write_examples(self, variants: Sequence[Variant], examples: dict[str, pa.Array]) -> None:
        self._stage_table("examples.parquet", pa.table({"variant": [v.number for v in variants], **examples}))

    def write_checkpoint(self, write: Callable[[Path], object]) -> None:
        self._stage("checkpoint.ckpt", write)

    def write_status(
        self, state: str, *, epoch: int, device: str = "", error: str | None = None, refused: bool = False
    ) -> None:
        """Put what was written since the last status into its place, and write the status."""
        # Imported late: they take seconds, and reading tables and --help do not need them.
        import pytorch_lightning
        import torch

        with naming(self.path / "status.json"), self.written:
            contents = {name: [file.stat().st_size, digest(file)] for name, file in self.staged.items()}
            if self.staged and "state" in self.status:
                known = self.status["files"]
                self._replace_status(
                    {**self.status, "files": known | {n: [*known.get(n, []), new] for n, new in contents.items()}}
                )
            for name, file in self.staged.items():
                os.replace(file, self.path / name)
            self.status = {
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
                "files": {**self.status["files"], **{name: [new] for name, new in contents.items()}},
            }
            self._replace_status(self.status)
            self.staged.clear()

    def write_failure(self, variants: Sequence[Variant], error: str, refused: bool = False) -> None:
        """Record an exception; what the run has written is kept, so that the next start can resume. `refused`: every
        start would fail alike."""
        self.discard()
        try:
            run = read_run(self.path)
            epoch, pruned = run.status["epoch"], run.pruned
        except DamagedRunError:
            epoch, pruned = 0, set()
        error = error if len(error) <= MAX_ERROR else f"…{error[-MAX_ERROR:]}"
        self.write_variants(variants, ["pruned" if v.number in pruned else "failed" for v in variants], error)
        self.write_status("failed", epoch=epoch, error=error, refused=refused)

    def discard(self) -> None:
        """Forget what was written since the last status."""
        self.staged.clear()
        self.written.close()

    def _status_there(self) -> dict[str, Any]:
        """That of an earlier start of the same run; else of none of its files is known what it contains."""
        try:
            status = read_status(self.path)
        except DamagedRunError:
            return {"files": {}}
        return status if status["fingerprint"] == fingerprint(self.config) else {"files": {}}

    def _stage_table(self, name: str, table: pa.Table) -> None:
        table = table.replace_schema_metadata({"fingerprint": fingerprint(self.config)})

        def write(path: Path) -> None:
            # If the disk is full, a file opened by pyarrow stays open, and keeps its space, until garbage collection.
            with path.open("wb") as file:
                # Examples may hold long texts, and a reader must know from the metadata what they take in memory.
                once = name != "examples.parquet"
                pq.write_table(table, file, write_page_checksum=True, compression="zstd", use_dictionary=once)

        self._stage(name, write)

    def _stage(self, name: str, write: Callable[[Path], object]) -> None:
        with naming(self.path / name):
            file = self.written.enter_context(temporary(self.path / name))
            self.staged[name] = file
            write(file)
            sync(file)

    def _replace_status(self, status: dict[str, Any]) -> None:
        status = {name: value for name, value in status.items() if name != "checksum"}
        text = json.dumps({**status, "checksum": checksum(status)}, indent=2)
        replace_atomically(self.path / "status.json", lambda file: file.write_text(text))


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
