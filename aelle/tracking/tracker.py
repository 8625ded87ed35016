"""What a tracker is told of a pack: its variants, their rows after each epoch, and what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Protocol, runtime_checkable

import plotly.graph_objects as go

from aelle.errors import UserError, in_one_line
from aelle.runs.settings import fingerprint
from aelle.variants import Variant

Row = dict[str, int | float]
"""One variant after one epoch: `variant`, `epoch`, and every number that was measured."""

Outcome = dict[str, Any]
"""`state`: complete, diverged, pruned, failed or stopped; of a variant whose training has ended, `final_loss` and
`low_error` (0 or 1, which every kind of panel can draw) too."""


@dataclass(frozen=True)
class Pack:
    """`folder`: its run folder, within the sweep's; `resumed`: whether it goes on from a checkpoint."""

    folder: Path
    config: dict[str, Any]
    variants: list[Variant]
    resumed: bool

    @property
    def sweep(self) -> str:
        """The name of the sweep's folder, as the analysis knows it."""
        return self.folder.parent.name

    def key(self, variant: Variant) -> str:
        """What is the same whenever this very variant is trained, and for no other."""
        return f"{self.config['sweep']}/{variant.number}/{fingerprint(self.config)}"

    def hyperparameters(self, variant: Variant) -> dict[str, Any]:
        """A variant's, and what else tells it apart. The seeds are text: a dashboard's numbers would round them."""
        config = self.config
        return {
            **variant.hyperparameters,
            "variant": variant.number,
            **{f"{purpose}_seed": str(seed) for purpose, seed in variant.seeds.items()},
            "sweep": self.sweep,
            "pack": self.folder.name,
            "task": config["task"]["name"],
            "epochs": config["epochs"],
            "threshold": config["task"]["threshold"],
        }


@dataclass(frozen=True)
class Analysis:
    """What `analyze.py` has found: `tables` are CSV files, `model` a folder, None where nothing could be fitted."""

    sweep: str
    folder: Path
    summary: dict[str, Any]
    tables: dict[str, Path]
    figures: dict[str, go.Figure]
    report: Path
    model: Path | None


@runtime_checkable
class Tracker(Protocol):
    """Where a pack is mirrored. Whatever its methods raise is reported once, and training goes on without it.

    A pack that goes on from a checkpoint is told from its first epoch again.
    """

    def start(self, pack: Pack) -> None: ...

    def epoch(self, rows: Sequence[Row]) -> None:
        """A row per variant of the pack that has not been pruned, in its order."""
        ...

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        """One per variant of the pack, in its order."""
        ...


@runtime_checkable
class AnalysisTracker(Protocol):
    """A tracker with a place for analyses."""

    def analysis(self, analysis: Analysis) -> None: ...


def tracker_of(logger: dict[str, Any] | None) -> Tracker | None:
    """The tracker that is named, and imported here and not before. Raises UserError where it cannot work."""
    if logger is None:
        return None
    options = dict(logger)
    try:
        tracker = resolve_name(options.pop("_target_"))
    except Exception as error:
        raise UserError(f"logger: {in_one_line(error)}; choose csv, tensorboard, wandb or null") from error
    return tracker(**options)


def analysis_tracker_of(logger: dict[str, Any] | None) -> AnalysisTracker | None:
    """Likewise, for an analysis."""
    tracker = tracker_of(logger)
    if tracker is None or isinstance(tracker, AnalysisTracker):
        return tracker
    raise UserError(
        "logger: an analysis is shown by wandb only, and has its tables as CSV anyway; choose wandb or null"
    )
