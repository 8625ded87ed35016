"""Mirrors a pack's run folder to a tracker; a failing tracker never stops the training."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aelle.errors import in_one_line
from aelle.terminal import say
from aelle.tracking.heat_map import heat_maps
from aelle.tracking.rows import rows_of
from aelle.tracking.tracker import Analysis, AnalysisTracker, Outcome, Pack, PictureTracker, Row, tracker_of

COMPLETE_STATES = ("complete", "diverged")

_given_up: set[str] = set()
"""Trackers that have failed in this process: they are not tried again, so that later packs need not wait for them."""


class Tracking:
    """A context around the training of a pack: if it is left without `finish`, the pack failed or was stopped.

    `rows` takes what the recorder has written to `epochs.parquet`, so every per-variant metric in it is tracked. If the
    pack is resumed, the tracker first gets all `earlier` rows: it needs no memory of its own.
    """

    def __init__(self, pack: Pack, earlier: pa.Table | None, say: Callable[[str], object]):
        self.pack, self.earlier, self.say, self.finished = pack, earlier, say, False
        self.last: list[Row] = []
        self.tables: list[pa.Table] = []
        logger = pack.config["logger"]
        self.name = str((logger or {}).get("_target_"))
        self.tracker = None if self.name in _given_up else tracker_of(logger)

    def __enter__(self) -> "Tracking":
        self._tell("start", self.pack)
        if self.tracker is not None and self.earlier is not None:
            for epoch in sorted(set(self.earlier["epoch"].to_pylist())):
                self.rows(self.earlier.filter(pc.field("epoch") == epoch))
        return self

    def rows(self, table: pa.Table) -> None:
        """The rows of one epoch, of the variants that have not been pruned, in the order of the pack."""
        if self.tracker is not None:
            self.last = rows_of(table)
            self._tell("epoch", self.last)
            self.tables.append(table)

    def finish(self, states: Sequence[str]) -> None:
        """Each variant's state, in the order of the pack."""
        if isinstance(self.tracker, PictureTracker):
            self._tell("pictures", heat_maps(self.tables))
        self._end(states)

    def _end(self, states: Sequence[str]) -> None:
        self.finished = True
        losses = {row["variant"]: row.get("val_loss") for row in self.last}
        numbers = [variant.number for variant in self.pack.variants]
        outcomes = [self._outcome(state, losses.get(n)) for n, state in zip(numbers, states, strict=True)]
        self._tell("finish", outcomes)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if not self.finished:
            state = "failed" if isinstance(error, Exception) else "stopped"
            numbers = [variant.number for variant in self.pack.variants]
            left = {row["variant"] for row in self.last} or set(numbers)
            self._end([state if number in left else "pruned" for number in numbers])

    def _outcome(self, state: str, loss: float | None) -> Outcome:
        if state not in COMPLETE_STATES or loss is None:
            return {"state": state}
        return {
            "state": state,
            "final_loss": loss,
            "low_error": int(state == "complete" and loss < self.pack.config["task"]["threshold"]),
        }

    def _tell(self, word: str, what: Any) -> None:
        if self.tracker is None:
            return
        try:
            getattr(self.tracker, word)(what)
        except Exception as error:
            self.tracker = None
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        _given_up.add(self.name)
        self.say(f"warning: the logger has failed ({in_one_line(error)}); training continues without it")


def show_analysis(tracker: AnalysisTracker, analysis: Analysis) -> None:
    """The report is already written; a failing tracker does not affect it."""
    try:
        tracker.analysis(analysis)
    except Exception as error:
        say(f"warning: the logger has failed ({in_one_line(error)}); the report is complete without it")
