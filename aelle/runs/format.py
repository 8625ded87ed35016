"""Checks of a stored status, configuration and table, made before their contents are used.

Nothing here instantiates, imports or resolves what a file names. Raises ValueError, with a message to follow the file's
name.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.types as types
import yaml
from omegaconf import OmegaConf

from aelle.hyperparameters import RESERVED, why_reserved

FORMAT = 2
"""Version of the format of status.json."""

STATES = ("running", "complete", "failed")
MAX_BYTES, MAX_EPOCHS, MAX_VARIANTS = 1_000_000, 1_000_000, 1_000_000
"""Limits of a configuration and its sweep: a file beyond them is refused before it takes all memory."""

COLUMNS = {
    "variant": types.is_integer,
    "epoch": types.is_integer,
    "state": types.is_string,
    "val_loss": types.is_floating,
    "seconds": types.is_floating,
    "spectrum": lambda kind: types.is_list(kind) and types.is_floating(kind.value_type),
}


def check_status(status: Any) -> None:
    def is_whole(value: object) -> bool:
        return type(value) is int and 0 <= value <= MAX_EPOCHS

    words = ("fingerprint", "device", "host", "updated", "lock")
    if (
        status["format"] != FORMAT
        or status["state"] not in STATES
        or not all(isinstance(status[name], str) for name in words)
        or not (is_whole(status["epoch"]) and is_whole(status["epochs"]))
        or not (status["error"] is None or isinstance(status["error"], str))
        # A lock is a file beside the run folder.
        or not re.fullmatch(r"\.[^/\0]+\.lock", status["lock"])
        or datetime.fromisoformat(status["updated"]).tzinfo is None
    ):
        raise ValueError("its format is not that of this version")


def parse_config(text: str) -> Any:
    """Parse YAML without resolving `${…}`. Aliases, which the project never writes, could expand without limit."""
    if len(text) > MAX_BYTES:
        raise ValueError(f"it has {len(text)} characters, more than {MAX_BYTES}")
    if "*" in text and any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
        raise ValueError("it contains aliases")
    return OmegaConf.to_container(OmegaConf.create(text))


def check_config(config: dict[str, Any]) -> None:
    def is_whole(name: str, least: int, most: int) -> bool:
        return type(config[name]) is int and least <= config[name] <= most

    names, task, size = config["hyperparameters"], config["task"], config["size"]
    threshold = task["threshold"]
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError("its hyperparameters are not a list of different names")
    if taken := [name for name in names if why_reserved(name)]:
        raise ValueError(f"a hyperparameter is called {taken[0]}: {why_reserved(taken[0])}")
    if not is_whole("epochs", 1, MAX_EPOCHS) or not is_whole("seed", 0, 2**64):
        raise ValueError("its epochs or seed is not a whole number, or out of range")
    if size is not None and not is_whole("size", 1, MAX_VARIANTS):
        raise ValueError("its size is not a whole number, or out of range")
    reference = config.get("reference")
    if reference is not None and not (isinstance(reference, dict) and type(reference.get("size")) is int):
        raise ValueError("its reference is not a number of networks and their values")
    if not isinstance(task["name"], str):
        raise ValueError("its task has no name")
    if type(threshold) not in (int, float) or not (threshold > 0 and math.isfinite(threshold)):
        raise ValueError("its threshold is not a finite number above 0")


def check_table(table: pa.Table, needed: tuple[str, ...]) -> None:
    """Columns have their types; each of `needed` occurs once; only errors, measurements and numbers may contain nulls,
    those of hyperparameters that a variant does not read."""
    names = table.column_names
    if missing := [name for name in needed if names.count(name) != 1]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    if len(set(names)) < len(names):
        raise ValueError("it has several columns of the same name")
    for name in names:
        kind = table.schema.field(name).type
        if name in COLUMNS and not COLUMNS[name](kind):
            raise ValueError(f"its column {name} is of type {kind}")
    for name in set(needed) - {"error", "val_loss"}:
        kind = table.schema.field(name).type
        is_number = types.is_integer(kind) or types.is_floating(kind)
        may_be_null = is_number and name not in RESERVED
        if not (is_number or types.is_string(kind)) or (table[name].null_count and not may_be_null):
            raise ValueError(f"its column {name} contains nulls, or is of type {kind}")


def check_rows(numbers: Sequence[int], epochs: pa.Table) -> None:
    """At most one row per variant and epoch, and only of the run's variants."""
    pairs = set(zip(epochs["variant"].to_pylist(), epochs["epoch"].to_pylist(), strict=True))
    if len(set(numbers)) != len(numbers):
        raise ValueError("variants.parquet: it contains a variant twice")
    if len(pairs) != epochs.num_rows or not {number for number, _ in pairs} <= set(numbers):
        raise ValueError("epochs.parquet: its rows are not one per variant and epoch")


def check_complete(numbers: Sequence[int], pruned: Collection[int], epochs: pa.Table, last: int) -> None:
    """Every variant has all rows up to epoch `last`, a pruned one up to some epoch; `check_rows` comes first."""
    counts = Counter(epochs["variant"].to_pylist())
    reached = dict.fromkeys(numbers, -1)
    for number, epoch in zip(epochs["variant"].to_pylist(), epochs["epoch"].to_pylist(), strict=True):
        reached[number] = max(reached[number], epoch)
    for number in numbers:
        end = reached[number] if number in pruned else last
        if reached[number] != end or counts[number] != end + 1 or not 0 <= end <= last:
            raise ValueError(f"epochs.parquet: rows are missing for variant {number}, which has been trained further")
