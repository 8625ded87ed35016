"""All rows of a sweep in one Parquet file, for other tools."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aelle.errors import UserError, in_one_line, reason
from aelle.files import replace_atomically
from aelle.runs.reader import DamagedRunError, Run, read_run
from aelle.sweep.selection import Selection, select
from aelle.terminal import complain, count, say

SUFFIXES = (".parquet", ".pq")


def collect(folder: Path, to: Path) -> bool:
    """Write a row per variant and epoch, a row group per run. Returns whether nothing had to be left out.

    What is left out is reported on stderr. At most one run's rows are in memory at a time: a first pass finds the
    columns and the runs that count, a second one writes. The configuration is in the file's metadata. Raises UserError
    if there is nothing to collect, or `to` cannot be written.
    """
    if to.suffix.lower() not in SUFFIXES:
        raise UserError(f"--to {to}: the output is a Parquet file; give a name that ends with {' or '.join(SUFFIXES)}")
    found = select(folder, lambda run: replace(run, epochs=_rows(run).schema.empty_table()))
    written: list[int] = []
    if found.runs:
        try:
            schema = _schema(found)
            replace_atomically(to, lambda file: written.extend(_write(file, schema, found)))
        except pa.ArrowTypeError as error:
            raise UserError(f"{folder}: its runs have columns of different types: {in_one_line(error)}") from error
        except OSError as error:
            raise UserError(f"{to} cannot be written ({reason(error)}): choose another file with --to FILE") from error
    for problem in found.problems:
        complain(f"warning: {problem}")
    if found.runs:
        left_out = f"; incomplete: {count(len(found.problems), 'warning')} above" if found.problems else ""
        say(f"{to}: {count(sum(written), 'row')} of {count(len(written), 'run')}{left_out}")
    else:
        raise UserError(f"{folder} contains no run that can be read: give the folder of a sweep, e.g. outputs/digits")
    return not found.problems


def _schema(found: Selection) -> pa.Schema:
    schema = pa.unify_schemas([run.epochs.schema for run in found.runs], promote_options="permissive")
    config = found.runs[0].config
    task = {**config["task"], "threshold": found.threshold}
    return schema.with_metadata({"config": json.dumps({**config, "task": task})})


def _write(file: Path, schema: pa.Schema, found: Selection) -> list[int]:
    """Write the rows and return their number for each run."""
    written = []
    with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
        for run, rows in zip(found.runs, found.rows, strict=True):
            try:
                table = _fitted(_rows(read_run(run.path)), schema)
            except DamagedRunError as error:
                found.problems.append(f"{run.path.name} is left out: {error}")
                continue
            table = table.filter(pc.field("variant").isin([run.numbers[row] for row in rows]))
            if table.num_rows:
                writer.write_table(table, row_group_size=table.num_rows)
                written.append(table.num_rows)
    return written


def _rows(run: Run) -> pa.Table:
    """The rows of epochs.parquet, preceded by the columns that variants.parquet has for their variants."""
    epochs, variants = run.epochs, run.variants
    if twice := set(variants.column_names) & set(epochs.column_names) - {"variant"}:
        raise DamagedRunError(f"epochs.parquet: its column {min(twice)} is also the name of a hyperparameter")
    place = {number: row for row, number in enumerate(run.numbers)}
    of_variant = variants.take(pa.array([place[number] for number in epochs["variant"].to_pylist()], pa.int64()))
    complete = run.status["state"] == "complete"
    columns: dict[str, object] = {
        "run": pa.array([run.path.name] * epochs.num_rows, pa.string()),
        "variant": epochs["variant"],
        "epoch": epochs["epoch"],
        "complete": pa.array([complete and state != "pruned" for state in of_variant["state"].to_pylist()], pa.bool_()),
    }
    size = run.config["size"] if run.config.get("reference") else None
    if size is not None:
        columns["reference"] = pa.array([number >= size for number in epochs["variant"].to_pylist()], pa.bool_())
    columns |= {name: _untyped(of_variant[name]) for name in variants.column_names if name not in columns}
    return pa.table(columns | {name: epochs[name] for name in epochs.column_names if name not in columns})


def _untyped(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """What no variant of a run reads has the type that it has in other runs."""
    empty = len(column) > 0 and column.null_count == len(column)
    return pa.chunked_array([pa.nulls(len(column))]) if empty else column


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    if not set(table.column_names) <= set(schema.names):
        raise DamagedRunError("new columns were added while it was read: run collect again")
    nothing = pa.nulls(table.num_rows)
    columns = [table[name] if name in table.column_names else nothing for name in schema.names]
    return pa.table([column.cast(field.type) for column, field in zip(columns, schema, strict=True)], schema=schema)
