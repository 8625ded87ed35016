"""Checks of a stored status, configuration and table, made before their contents are used.

Nothing here instantiates, imports or resolves what a file names. Raises ValueError, with a message to follow the file's
name.
"""

import math
import re
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as types
import yaml
from omegaconf import OmegaConf

from aelle.hyperparameters import RESERVED, why_reserved

FORMAT = 3
"""Version of the format of status.json."""

FILES = ("config.yaml", "variants.parquet", "epochs.parquet", "examples.parquet", "checkpoint.ckpt", "status.json")

STATES = ("running", "complete", "failed")
MAX_EPOCHS, MAX_VARIANTS = 100_000, 40_000
"""Of a sweep: beyond them its tables would take all memory."""

MAX_STATUS, MAX_CONFIG, MAX_ERROR = 1_000_000, 65_536, 20_000
"""Bytes of status.json, letters of config.yaml, which YAML's parser reads at some 20 kB per second, and letters of a
recorded error."""

MAX_ROWS, MAX_EXPONENTS, MAX_UNPACKED = 2_000_000, 16_384, 1 << 30
"""Of a table: rows, entries of a list, and bytes of its columns in memory."""

MAX_WORDS, MAX_EXAMPLES = 1 << 27, 1 << 26
"""Bytes of a column of words, each of which may be stored once for many rows, and of the columns of examples."""

OTHER_COLUMNS = 100
"""Columns of a table besides one for each hyperparameter."""


def _is_number(kind: pa.DataType) -> bool:
    return types.is_integer(kind) or types.is_floating(kind)


def _is_floats(kind: pa.DataType) -> bool:
    return types.is_list(kind) and types.is_floating(kind.value_type)


def _may_be_null(allowed: Callable[[pa.DataType], bool]) -> Callable[[pa.DataType], bool]:
    return lambda kind: allowed(kind) or types.is_null(kind)


COLUMNS: dict[str, dict[str, Callable[[pa.DataType], bool]]] = {
    "variants.parquet": {
        "variant": types.is_integer,
        r"\w+_seed": types.is_integer,
        "state": types.is_string,
        "error": _may_be_null(types.is_string),
    },
    "epochs.parquet": {
        "variant": types.is_integer,
        "epoch": types.is_integer,
        "(test_)?spectrum(_stderr)?": _is_floats,
        "(test_)?clamped": _is_number,
        "outside": _may_be_null(types.is_string),
        # Whatever else a module measures.
        ".+": types.is_floating,
    },
}
"""The columns of each table by patterns of their names, the first that fits, and what type they may have."""


def check_status(status: Any) -> None:
    def is_whole(value: object) -> bool:
        return type(value) is int and 0 <= value <= MAX_EPOCHS

    if status["format"] != FORMAT:
        raise ValueError(f"its format is {status['format']}, and this version reads {FORMAT}")
    words = ("fingerprint", "device", "host", "updated", "lock")
    if (
        status["state"] not in STATES
        or not all(isinstance(status[name], str) for name in words)
        or not (is_whole(status["epoch"]) and is_whole(status["epochs"]))
        or not (status["error"] is None or isinstance(status["error"], str))
        # A lock is a file beside the run folder.
        or not re.fullmatch(r"\.[^/\0]+\.lock", status["lock"])
        or datetime.fromisoformat(status["updated"]).tzinfo is None
        or not all(name in FILES and all(map(_is_contents, known)) and known for name, known in status["files"].items())
    ):
        raise ValueError("its format is not that of this version")


def _is_contents(contents: Any) -> bool:
    size, sha = contents
    return type(size) is int and size >= 0 and isinstance(sha, str)


def parse_config(text: str) -> Any:
    """Parse YAML without resolving `${…}`. Aliases, which the project never writes, could expand without limit."""
    if len(text) > MAX_CONFIG:
        raise ValueError(f"it has {len(text)} letters, more than {MAX_CONFIG}")
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
    for name in ("pack_size", "repeats"):
        if config.get(name) is not None and not is_whole(name, 1, MAX_VARIANTS):
            raise ValueError(f"its {name} is not a whole number, or out of range")
    if not isinstance(task["name"], str):
        raise ValueError("its task has no name")
    if type(threshold) not in (int, float) or not (threshold > 0 and math.isfinite(threshold)):
        raise ValueError("its threshold is not a finite number above 0")


def check_size(name: str, found: pq.FileMetaData, rows: int, columns: int) -> None:
    """From the metadata of the table `name` alone: in memory it takes what a run of so many rows can have."""
    if found.num_rows > min(rows, MAX_ROWS) or found.num_columns > columns:
        raise ValueError(
            f"it has {found.num_rows} rows and {found.num_columns} columns, more than the {min(rows, MAX_ROWS)} rows "
            f"and {columns} columns that its run can have"
        )
    if found.num_row_groups > max(found.num_rows, 1):
        raise ValueError("it has more groups of rows than rows")
    chunks = [
        found.row_group(group).column(column)
        for group in range(found.num_row_groups)
        for column in range(found.num_columns)
    ]
    if name in COLUMNS and any(chunk.num_values > MAX_EXPONENTS * found.num_rows for chunk in chunks):
        raise ValueError(f"its lists have more than {MAX_EXPONENTS} entries")
    # Equal values may be stored once, and unpacked are eight bytes each.
    unpacked = sum(max(chunk.total_uncompressed_size, 8 * chunk.num_values) for chunk in chunks)
    if name == "examples.parquet" and any(
        encoding.endswith("DICTIONARY")
        for chunk in chunks
        if chunk.physical_type == "BYTE_ARRAY"
        for encoding in chunk.encodings
    ):
        raise ValueError("its words are stored once for many rows, as no examples of aelle are")
    if unpacked > (MAX_EXAMPLES if name == "examples.parquet" else MAX_UNPACKED):
        raise ValueError(f"its columns would take {unpacked / 1e9:.1f} GB of memory")


def check_schema(name: str, schema: pa.Schema, needed: Collection[str], hyperparameters: Collection[str]) -> None:
    """Before a table is unpacked: its columns are those of the table `name`, with their types, each once."""
    names = schema.names
    if len(set(names)) < len(names):
        raise ValueError("it has several columns of the same name")
    if missing := [column for column in needed if column not in names]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    for column in names:
        kind = schema.field(column).type
        if name not in COLUMNS:
            allowed = _is_of_numbers_or_words(kind)
        elif column in hyperparameters and name == "variants.parquet":
            allowed = _is_number(kind) or types.is_string(kind)
        else:
            allowed = next((allows(kind) for like, allows in COLUMNS[name].items() if re.fullmatch(like, column)), None)
        if allowed is None:
            raise ValueError(f"its column {column} is none of this version's")
        if not allowed:
            raise ValueError(f"its column {column} is of type {kind}")


def _is_of_numbers_or_words(kind: pa.DataType) -> bool:
    while types.is_list(kind):
        kind = kind.value_type
    return _is_number(kind) or types.is_boolean(kind) or types.is_string(kind) or types.is_null(kind)


def check_values(name: str, table: pa.Table, needed: Collection[str]) -> None:
    """Only errors, measurements and numbers may contain nulls, those of hyperparameters that a variant does not read;
    no list is longer than a spectrum can be, but of examples."""
    for column in set(needed) - {"error", "val_loss"}:
        may_be_null = _is_number(table.schema.field(column).type) and column not in RESERVED
        if table[column].null_count and not may_be_null:
            raise ValueError(f"its column {column} contains nulls")
    for column in table.column_names if name in COLUMNS else ():
        kind = table.schema.field(column).type
        if types.is_list(kind) and longest(table[column], "list_value_length") > MAX_EXPONENTS:
            raise ValueError(f"its column {column} has lists of more than {MAX_EXPONENTS} entries")


def longest(values: pa.Array | pa.ChunkedArray, measure: str) -> int:
    """By a function of pyarrow.compute that gives a length; 0 if all are missing."""
    return pc.call_function("max", [pc.call_function(measure, [values])]).as_py() or 0


def check_rows(numbers: Sequence[int], epochs: pa.Table) -> None:
    """At most one row per variant and epoch, and only of the run's variants."""
    if len(set(numbers)) != len(numbers):
        raise ValueError("variants.parquet: it contains a variant twice")
    rows = np.stack([epochs["variant"].to_numpy(), epochs["epoch"].to_numpy()])
    if len(np.unique(rows, axis=1).T) != epochs.num_rows or not np.isin(rows[0], numbers).all():
        raise ValueError("epochs.parquet: its rows are not one per variant and epoch")


def check_complete(numbers: Sequence[int], pruned: Collection[int], epochs: pa.Table, last: int) -> None:
    """Every variant has all rows up to epoch `last`, a pruned one up to some epoch; `check_rows` comes first."""
    variant, epoch = epochs["variant"].to_numpy(), epochs["epoch"].to_numpy()
    order = np.argsort(variant, kind="stable")
    found, starts, counts = np.unique(variant[order], return_index=True, return_counts=True)
    highest = np.maximum.reduceat(epoch[order], starts) if len(found) else found
    lowest = np.minimum.reduceat(epoch[order], starts) if len(found) else found
    rows_of = {
        n: rest for n, *rest in zip(found.tolist(), counts.tolist(), lowest.tolist(), highest.tolist(), strict=True)
    }
    for number in numbers:
        count, first, reached = rows_of.get(number, (0, 0, -1))
        end = reached if number in pruned else last
        if reached != end or count != end + 1 or first != 0 or not 0 <= end <= last:
            raise ValueError(f"epochs.parquet: rows are missing for variant {number}, which has been trained further")
