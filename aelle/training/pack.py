"""Trains one pack as a population, from scratch or resumed from its checkpoint."""

import gc
import traceback
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING

import pytorch_lightning as pl
import torch
from filelock import FileLock, Timeout

from aelle.errors import UnwritableError, UserError, in_one_line, reason
from aelle.runs.checkpoint import misfit, read_checkpoint
from aelle.runs.locks import check_lock, lock_file
from aelle.runs.reader import DamagedRunError
from aelle.runs.writer import RunFolder
from aelle.sweep.plan import Plan
from aelle.sweep.pruning_model import check_digest
from aelle.sweep.resuming import Place, find_place, set_aside
from aelle.terminal import count
from aelle.tracking import Tracking
from aelle.training.lyapunov_callback import LyapunovCallback
from aelle.training.parts import Parts
from aelle.training.progress import Progress
from aelle.training.recorder import RunRecorder, variant_states
from aelle.variants import Variant

if TYPE_CHECKING:
    from aelle.training.chance_report import ChanceReport


class NotBuiltError(Exception):
    """The networks of a pack cannot be built, whenever it is started; those of others can."""


class PackResult(Enum):
    TRAINED = auto()
    FAILED = auto()
    TOO_LARGE = auto()
    MISFIT = auto()


def train_pack(plan: Plan, folder: Path, variants: list[Variant], parts: Parts, progress: Progress) -> bool:
    """Train those of the variants that are not complete, in halves if they do not fit into memory together. Returns
    False if training failed, which is recorded in the run folder."""
    check_digest(plan.config["prediction"])
    plan.start()
    check_lock(lock_file(folder))
    try:
        # `python -m aelle status` may hold the lock for an instant.
        with FileLock(lock_file(folder), timeout=0.2):
            room = len(variants)
            while missing := plan.incomplete(variants):
                place, damaged = find_place(plan, folder, missing[:room])
                if damaged:
                    _say_moved(place.path, damaged, progress)
                outcome = _train(RunFolder(place.path, plan.config, lock_file(folder)), place, parts, progress)
                if outcome is PackResult.FAILED:
                    return False
                # Otherwise it would be trained again and again.
                assert outcome is not PackResult.TRAINED or not plan.incomplete(place.variants)
                if outcome is PackResult.MISFIT:
                    _say_moved(place.path, set_aside(place.path), progress)
                if outcome is PackResult.TOO_LARGE:
                    room = len(place.variants) // 2
                    progress.say(
                        f"{len(place.variants)} variants do not fit into memory together: training {room} at a time"
                    )
                    # The tensors of the exception's frames are garbage by now, in cycles through the trainer.
                    gc.collect()
                    torch.cuda.empty_cache()
    except Timeout:
        progress.say(f"{folder} is skipped: it is being trained by another process")
    return True


def _train(run: RunFolder, place: Place, parts: Parts, progress: Progress) -> PackResult:
    try:
        with Tracking(run, place, progress.say) as tracking:
            _fit(run, place, parts, progress, tracking)
    except UserError:
        raise
    except DamagedRunError:
        return PackResult.MISFIT
    except Exception as error:
        # If memory runs out after the first epoch, another process has taken it: no reason to train halves.
        if isinstance(error, torch.cuda.OutOfMemoryError) and len(place.variants) > 1 and not run.checkpoint.exists():
            return PackResult.TOO_LARGE
        refused = isinstance(error, NotBuiltError)
        try:
            run.write_failure(place.variants, str(error) if refused else traceback.format_exc(), refused)
        except OSError as unwritable:
            raise UnwritableError(
                f"{run.path} cannot be written ({reason(unwritable)}): fix that, then run the same command again to "
                "resume from the last epoch that was written"
            ) from error
        what = f"failed with {type(error).__name__}: {in_one_line(error)} (traceback in {run.path / 'status.json'})"
        progress.say(f"{count(len(place.variants), 'variant')} cannot be trained: {error}" if refused else what)
        return PackResult.FAILED
    finally:
        run.discard()
    return PackResult.TRAINED


def _say_moved(path: Path, damaged: Path, progress: Progress) -> None:
    progress.say(f"{path} was damaged and has been moved to {damaged.name}; its variants are trained again")


def _fit(run: RunFolder, place: Place, parts: Parts, progress: Progress, tracking: Tracking) -> None:
    if place.rows is None:
        run.begin(place.variants)
    try:
        module = parts.module(parts.data, place.left)
    except UserError as error:
        raise NotBuiltError(str(error)) from error
    if place.rows is not None and (why := misfit(read_checkpoint(run.path), module.state_dict())):
        raise DamagedRunError(f"{run.checkpoint.name}: {why}")
    lyapunov = parts.lyapunov()
    prediction, report = _prediction(parts, lyapunov, place, progress.say)
    predicting = None if report is None else report.prediction
    recorder = RunRecorder(run, lyapunov, place.variants, place.rows, tracking.rows, predicting)
    trainer = parts.trainer([lyapunov, *prediction, recorder, progress], default_root_dir=run.path)
    try:
        if place.rows is None:
            trainer.validate(module, verbose=False)
        trainer.fit(module, ckpt_path=run.checkpoint if place.rows is not None else None, weights_only=True)
    except SystemExit as exit_:
        # Lightning turns Ctrl-C into SystemExit.
        if trainer.interrupted:
            raise KeyboardInterrupt from exit_
        raise
    # Not in a hook: Lightning calls none for a run that was stopped after its last checkpoint.
    if report is not None:
        report.finish(module)
    # The tracker's last word comes before the run is complete: a run that is killed in between is resumed, and the
    # tracker is told again, while nobody would come back to a complete one.
    tracking.finish(variant_states(place.variants, module, "complete"))
    recorder.finish(module)
    progress.finish(module, place.variants)


def _prediction(
    parts: Parts, lyapunov: LyapunovCallback, place: Place, say: Callable[..., object]
) -> tuple[list[pl.Callback], "ChanceReport | None"]:
    """The callbacks that predict and, on request, prune; none without a model."""
    if parts.model is None:
        return [], None
    from aelle.training.chance_report import ChanceReport
    from aelle.training.prediction_callback import PredictionCallback
    from aelle.training.pruning_callback import PruningCallback

    prediction, pruning, options = PredictionCallback(parts.model, lyapunov), None, parts.config["prediction"]
    if place.rows is not None:
        prediction.go_on(place.rows, [v.number for v in place.left])
    if parts.cut is not None:
        pruning = PruningCallback(prediction, parts.cut, options["after"], place.last, parts.config["size"])
    report = ChanceReport(place.path, place.variants, prediction, pruning, say, place.rows)
    return [prediction, *([pruning] if pruning else []), report], report
