"""Sends a stored run to a tracker, which gets it as it would from a pack that resumes and has nothing left to train."""

from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aelle.errors import UserError, in_one_line
from aelle.hyperparameters import NOT_READ
from aelle.runs.reader import Run
from aelle.tracking.mirror import Tracking
from aelle.tracking.tracker import TIME, Pack
from aelle.variants import Variant


class SendingError(UserError):
    """The tracker has failed."""


class _Sending(Tracking):
    def _give_up(self, error: Exception) -> None:
        raise SendingError(f"the logger has failed ({in_one_line(error)})") from error


def send_run(run: Run, rows: list[int], logger: dict[str, Any], threshold: float, unfinished: str) -> None:
    """Send some of a run's variants, given by their rows in `variants.parquet`. The run's own `logger` is not used.

    `unfinished`: the state of a variant whose training has not ended, running or stopped. Raises SendingError.
    """
    variants = run.variants.take(rows)
    config = {
        **run.config,
        "sweep": run.config.get("sweep", run.path.parent.name),
        "task": {**run.config["task"], "threshold": threshold},
        "logger": logger,
    }
    pack = Pack(run.path, config, variants_of(variants, config["hyperparameters"]), resumed=True)
    epochs = with_times(run).filter(pc.field("variant").isin(variants["variant"]))
    with _Sending(pack, epochs, print) as sending:
        sending.finish([_state(run, state, unfinished) for state in variants["state"].to_pylist()])


def variants_of(table: pa.Table, names: list[str]) -> list[Variant]:
    """The rows of `variants.parquet` as they were drawn."""
    seeds = [name for name in table.column_names if name.endswith("_seed") and name not in names]
    return [
        Variant(
            row["variant"],
            {name: NOT_READ if row[name] is None else row[name] for name in names},
            {name.removesuffix("_seed"): row[name] for name in seeds},
        )
        for row in table.to_pylist()
    ]


def with_times(run: Run) -> pa.Table:
    """The rows of `epochs.parquet` with the time at which their epoch ended.

    It is counted back from the last update by the seconds that each epoch took, as if there had been no interruption;
    without times if not all seconds are known.
    """
    epochs = run.epochs
    if "seconds" not in epochs.column_names or not epochs.num_rows:
        return epochs
    epoch, seconds = (epochs[name].to_numpy().astype(float) for name in ("epoch", "seconds"))
    if not np.isfinite(seconds).all():
        return epochs
    reached, place = np.unique(epoch, return_inverse=True)
    # A row has its variant's part of the time that the pack took.
    took = np.bincount(place, seconds, len(reached))
    end = datetime.fromisoformat(run.status["updated"]).timestamp() - (took.sum() - took.cumsum())
    return epochs.drop_columns([TIME] if TIME in epochs.column_names else []).append_column(TIME, pa.array(end[place]))


def _state(run: Run, state: str, unfinished: str) -> str:
    """As a tracker hears it: a variant that has diverged is trained to the end of its run."""
    if run.status["state"] == "complete" or state == "pruned":
        return state
    return "failed" if run.status["state"] == "failed" else unfinished
