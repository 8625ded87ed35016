"""What a tracker receives of a pack: its variants, their rows after each epoch, and their outcomes."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import plotly.graph_objects as go
from jaxtyping import UInt8

from aelle.errors import UserError, in_one_line
from aelle.runs.settings import fingerprint, target
from aelle.variants import Variant

Row = dict[str, int | float]
"""One variant after one epoch: `variant`, `epoch`, and every number that was measured."""

TIME = "_timestamp"
"""In the rows of a run that is sent after its training: when the epoch ended, in seconds since 1970. Weights & Biases
knows it by this name."""

Outcome = dict[str, Any]
"""`state`: complete, diverged, pruned, failed, stopped, or running if a run is sent while another process trains it; of
a variant whose training has ended, `final_loss` and `low_error` (0 or 1, which every kind of panel can draw) too."""


class Picture(NamedTuple):
    """Of a variant, up to its last `epoch`."""

    variant: int
    epoch: int
    name: str
    pixels: UInt8[np.ndarray, "rows columns 3"]


@dataclass(frozen=True)
class Pack:
    """`folder`: its run folder, within the sweep's; `resumed`: whether it resumes from a checkpoint."""

    folder: Path
    config: dict[str, Any]
    variants: list[Variant]
    resumed: bool

    @property
    def sweep(self) -> str:
        """The name of the sweep's folder, as in the analysis."""
        return self.folder.parent.name

    def key(self, variant: Variant) -> str:
        """The same whenever exactly this variant is trained, and different for any other."""
        return f"{self.config['sweep']}/{variant.number}/{fingerprint(self.config)}"

    def hyperparameters(self, variant: Variant) -> dict[str, Any]:
        """A variant's hyperparameters and what else identifies it. Seeds are text: dashboards would round numbers."""
        config = self.config
        return {
            **{name: value for name, value in variant.hyperparameters.items() if _is_shown(value)},
            "variant": variant.number,
            **{f"{purpose}_seed": str(seed) for purpose, seed in variant.seeds.items()},
            "sweep": self.sweep,
            "pack": self.folder.name,
            "task": config["task"]["name"],
            "epochs": config["epochs"],
            "threshold": config["task"]["threshold"],
        }


def _is_shown(value: Any) -> bool:
    """Not one that the variant does not read, nor "no limit": dashboards cannot store them."""
    return not isinstance(value, float) or math.isfinite(value)


@dataclass(frozen=True)
class Analysis:
    """The results of `analyze.py`: `tables` are CSV files, `model` is a folder, None if nothing could be fitted."""

    sweep: str
    folder: Path
    summary: dict[str, Any]
    tables: dict[str, Path]
    figures: dict[str, go.Figure]
    report: Path
    model: Path | None


@runtime_checkable
class Tracker(Protocol):
    """Mirrors a pack. An exception of one of its methods is reported once, and training continues without it.

    A pack that resumes from a checkpoint is sent from its first epoch again.
    """

    def start(self, pack: Pack) -> None: ...

    def epoch(self, rows: Sequence[Row]) -> None:
        """A row per variant of the pack that has not been pruned, in its order."""
        ...

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        """One per variant of the pack, in its order."""
        ...


@runtime_checkable
class PictureTracker(Tracker, Protocol):
    """A tracker that also shows pictures, of each variant one, after the last epoch and before `finish`."""

    def pictures(self, pictures: Iterable[Picture]) -> None:
        """They are drawn while this goes through them."""
        ...


@runtime_checkable
class AnalysisTracker(Protocol):
    """A tracker that also shows analyses."""

    def analysis(self, analysis: Analysis) -> None: ...


def tracker_of(logger: dict[str, Any] | None) -> Tracker | None:
    """The tracker that `logger` names, imported only if needed. Raises UserError if it cannot be used."""
    if logger is None:
        return None
    options = {name: value for name, value in logger.items() if name != "_target_"}
    try:
        tracker = target(logger)
    except Exception as error:
        raise UserError(f"logger: {in_one_line(error)}; choose csv, tensorboard, wandb or null") from error
    return tracker(**options)


def analysis_tracker_of(logger: dict[str, Any] | None) -> AnalysisTracker | None:
    """The tracker for an analysis. Raises UserError if `logger` names one that shows none."""
    tracker = tracker_of(logger)
    if tracker is None or isinstance(tracker, AnalysisTracker):
        return tracker
    raise UserError(
        "logger: only wandb shows an analysis, whose tables are written as CSV in any case; choose wandb or null"
    )
