"""Reads what Weights & Biases leaves on disk: a LevelDB log of protocol buffers per run."""

import json
import struct
from pathlib import Path

import wandb
from wandb.proto.wandb_internal_pb2 import Record

BLOCK, HEADER = 32768, 7


class SavedRun:
    """A run's records: `run` as it began, `config`, `history` by step, `summary`, `exit_code`, `artifacts` by type."""

    def __init__(self, path: Path):
        self.path = path
        self.config, self.history, self.summary, self.artifacts, self.exit_code = {}, {}, {}, {}, None
        for data in _records(path.read_bytes()):
            record = Record.FromString(data)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
                self.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            elif kind == "config":
                self.config |= {item.key: json.loads(item.value_json) for item in record.config.update}
            elif kind == "history":
                row = _entries(record.history.item)
                assert record.history.step.num not in self.history
                self.history[record.history.step.num] = row
            elif kind == "summary":
                self.summary |= _entries(record.summary.update)
            elif kind == "artifact":
                entries = record.artifact.manifest.contents
                self.artifacts[record.artifact.type] = sorted(entry.path for entry in entries)
            elif kind == "exit":
                self.exit_code = record.exit.exit_code


def saved_runs(sweep: Path) -> list[SavedRun]:
    """Of a sweep's folder, the oldest first, once the process that writes them is through."""
    wandb.teardown()
    paths = sorted(sweep.glob("wandb/*run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    return [SavedRun(path) for path in paths]


def _entries(items) -> dict:
    """By name; what is itself a dictionary is stored entry by entry."""
    found: dict = {}
    for item in items:
        name, *inner = [*item.nested_key] or [item.key]
        value = json.loads(item.value_json)
        found[name] = found.get(name, {}) | {inner[0]: value} if inner else value
    return found


def _records(data: bytes):
    """See LevelDB's doc/log_format.md; the file's own header of seven bytes is part of the first block."""
    assert data[:4] == b":W&B"
    at, whole = HEADER, b""
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):
            yield whole
            whole = b""
