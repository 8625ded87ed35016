"""Which folder a job trains in, and where a stopped run resumes."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from aelle.files import refuse_unless
from aelle.runs.checkpoint import read_checkpoint
from aelle.runs.format import FILES, check_complete
from aelle.runs.reader import DamagedRunError, Run, read_run
from aelle.runs.settings import fingerprint
from aelle.sweep.plan import Plan
from aelle.variants import Variant


@dataclass(frozen=True)
class Place:
    """A run folder and the variants to train in it; `rows`: those up to its checkpoint, if a stopped run is resumed."""

    path: Path
    variants: list[Variant]
    rows: pa.Table | None = None

    @property
    def last(self) -> pa.Table | None:
        """The rows of the checkpoint's epoch."""
        return None if self.rows is None else self.rows.filter(pc.field("epoch") == max(self.rows["epoch"].to_pylist()))

    @property
    def left(self) -> list[Variant]:
        """The variants in the checkpoint; the others have been pruned."""
        if self.last is None:
            return self.variants
        numbers = set(self.last["variant"].to_pylist())
        return [v for v in self.variants if v.number in numbers]


def find_place(plan: Plan, folder: Path, missing: list[Variant]) -> tuple[Place, Path | None]:
    """Where to train some of `missing`, and the folder to which a damaged run was moved, if one was found.

    A stopped run with these settings is resumed with its own variants. A folder used by another run is left alone: the
    next of NAME, NAME-2, NAME-3, … is used.
    """
    wanted = {v.number for v in missing}
    for path in _names(folder):
        # With settings and variants only, the run was stopped before training began.
        if not any(os.path.lexists(path / name) for name in FILES if name not in ("config.yaml", "variants.parquet")):
            return Place(path, missing), None
        try:
            run = read_run(path)
            if run.status["state"] == "complete" or run.status["fingerprint"] != fingerprint(plan.config):
                continue
            if not wanted & set(run.numbers):
                continue
            if "checkpoint.ckpt" not in run.status["files"] or not os.path.lexists(path / "checkpoint.ckpt"):
                return Place(path, missing), None
            return _stopped(plan, run), None
        except DamagedRunError:
            return Place(path, missing), set_aside(path)
    raise AssertionError("names do not end")


def _stopped(plan: Plan, run: Run) -> Place:
    """Rows later than the checkpoint are discarded."""
    checkpoint = read_checkpoint(run.path)
    epoch = checkpoint.epoch
    rows = run.epochs.filter(pc.field("epoch") <= epoch)
    try:
        check_complete(run.numbers, run.pruned, rows, epoch)
    except ValueError as error:
        raise DamagedRunError(f"{error}, according to its checkpoint") from error
    place = Place(run.path, [plan.variant(number) for number in run.numbers], rows)
    if checkpoint.variants != [variant.number for variant in place.left]:
        raise DamagedRunError("checkpoint.ckpt: it is of other variants")
    return place


def _names(folder: Path) -> Iterator[Path]:
    yield folder
    for n in count(2):
        yield folder.with_name(f"{folder.name}-{n}")


def set_aside(path: Path) -> Path:
    """Move the files of a damaged run to a folder of their own, so that nothing is lost."""
    refuse_unless(path, "folder")
    aside = next(p for n in count(1) if not os.path.lexists(p := path.with_name(f"{path.name}.damaged-{n}")))
    aside.mkdir()
    for name in FILES:
        if os.path.lexists(path / name):
            (path / name).rename(aside / name)
    return aside
