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
from aelle.memory import TooLargeError, available, limited, ran_out, shown
from aelle.runs.checkpoint import misfit, read_checkpoint
from aelle.runs.locks import check_lock, lock_file
from aelle.runs.reader import DamagedRunError
from aelle.runs.writer import RunFolder
from aelle.sweep.plan import Plan
from aelle.sweep.pruning_model import check_digest
from aelle.sweep.resuming import Place, find_place, set_aside
from aelle.terminal import count, live
from aelle.tracking import Pack, Tracking
from aelle.training.footprint import Footprint, footprint, variants_together
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
    """Train those of the variants that are not complete, as many together as fit into memory (`footprint`), or in
    halves if that turns out to be too many. Returns False if training failed, which is recorded in the run folder."""
    check_digest(plan.config["prediction"])
    plan.start()
    check_lock(lock_file(folder))
    try:
        # `aelle status` may hold the lock for an instant.
        with FileLock(lock_file(folder), timeout=0.2), limited(parts.memory):
            room = len(variants)
            while missing := plan.incomplete(variants):
                place, damaged = find_place(plan, folder, missing[:room])
                if damaged:
                    _say_moved(place.path, damaged, progress)
                run = RunFolder(place.path, plan.config, lock_file(folder))
                try:
                    needed, together = _fitting(parts, place)
                except Exception as error:
                    if not (isinstance(error, TooLargeError) or ran_out(error)):
                        raise
                    if place.rows is None:
                        run.begin(place.variants)
                    _record(error, run, place, progress)
                    return False
                if together < len(place.left):
                    what = (
                        f"{len(place.left)} variants need about {shown(needed.of(len(place.left)))} of memory together"
                    )
                    free = shown(available(parts.device))
                    progress.say(f"{what}, and {free} are available: training {together} at a time")
                    room = together
                    continue
                with limited(parts.memory - needed.lasting(len(place.left))):
                    outcome = _train(run, place, parts, progress)
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


def _fitting(parts: Parts, place: Place) -> tuple[Footprint, int]:
    """What the variants need, and how many of them are trained together: of a run that is resumed, all that it was
    stopped with. Raises TooLargeError if they do not fit."""
    try:
        needed = footprint(parts, place.left[0])
    except Exception:
        # What cannot be built, or does not fit at all, is reported where it is trained.
        return Footprint(0, 0, 0, 0, False), len(place.left)
    together = variants_together(needed, len(place.left), parts)
    if place.rows is None:
        return needed, together
    if needed.of(len(place.left)) > (room := available(parts.device)):
        raise TooLargeError(
            f"{place.path} was stopped with {count(len(place.left), 'variant')} together, which need about "
            f"{shown(needed.of(len(place.left)))} of memory, and {shown(room)} are available on {parts.device.type}: "
            "resume it where there is more (trainer.memory=…), or delete it to train fewer at a time from the beginning"
        )
    return needed, len(place.left)


def _train(run: RunFolder, place: Place, parts: Parts, progress: Progress) -> PackResult:
    try:
        pack = Pack(run.path, run.config, place.variants, resumed=place.rows is not None)
        with live(progress.line), Tracking(pack, place.rows, progress.say) as tracking:
            _fit(run, place, parts, progress, tracking)
    except DamagedRunError:
        return PackResult.MISFIT
    except Exception as error:
        if isinstance(error, UserError) and not isinstance(error, TooLargeError):
            raise
        # If memory runs out after the first epoch, another process has taken it: no reason to train halves.
        if ran_out(error) and len(place.variants) > 1 and not run.checkpoint.exists():
            return PackResult.TOO_LARGE
        _record(error, run, place, progress)
        return PackResult.FAILED
    finally:
        run.discard()
    return PackResult.TRAINED


def _record(error: Exception, run: RunFolder, place: Place, progress: Progress) -> None:
    """Write the failure to the run folder, and say what failed: in one line where that says all."""
    line = str(error) if isinstance(error, (NotBuiltError, TooLargeError)) else ""
    if ran_out(error):
        remedy = (
            "choose a smaller batch_size or hidden_size"
            if len(place.variants) == 1
            else "run the same command again to resume where there is more, or start a sweep with a smaller pack_size"
        )
        line = f"memory ran out ({in_one_line(error)}): {remedy}"
    try:
        run.write_failure(place.variants, line or traceback.format_exc(), isinstance(error, NotBuiltError))
    except OSError as unwritable:
        raise UnwritableError(
            f"{run.path} cannot be written ({reason(unwritable)}): fix that, then run the same command again to "
            "resume from the last epoch that was written"
        ) from error
    what = f"failed with {type(error).__name__}: {in_one_line(error)} (traceback in {run.path / 'status.json'})"
    progress.say(f"{count(len(place.variants), 'variant')} cannot be trained: {line}" if line else what)


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
    callbacks = [lyapunov, *prediction, *parts.watching(place, progress.say), recorder, progress]
    trainer = parts.trainer(callbacks, default_root_dir=run.path)
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


def _silently(*lines: str) -> None:
    pass


def _prediction(
    parts: Parts, lyapunov: LyapunovCallback, place: Place, say: Callable[..., object]
) -> tuple[list[pl.Callback], "ChanceReport | None"]:
    """The callbacks that predict and, on request, prune; none without a model."""
    if parts.model is None:
        return [], None
    from aelle.training.chance_report import ChanceReport
    from aelle.training.prediction_callback import PredictionCallback

    prediction = PredictionCallback(parts.model, lyapunov)
    if place.rows is not None:
        prediction.go_on(place.rows, [v.number for v in place.left])
    pruning = parts.stopping(prediction, place)
    told = say if parts.tells_chances else _silently
    report = ChanceReport(place.path, place.variants, prediction, pruning, told, place.rows)
    return [prediction, *([pruning] if pruning else []), report], report
