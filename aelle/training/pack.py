"""Trains one pack as a population, from scratch or from where it stopped."""

import gc
import inspect
import traceback
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pytorch_lightning as pl
import torch
from filelock import FileLock, Timeout
from hydra.utils import get_class, get_object
from torch import Tensor

from aelle.errors import UnwritableError, UserError, in_one_line, reason
from aelle.runs.locks import lock_file
from aelle.runs.writer import RunFolder
from aelle.sweep.plan import Plan
from aelle.sweep.pruning_model import check_digest
from aelle.sweep.resuming import Place, find_place
from aelle.tasks.module import PopulationModule
from aelle.tracking import Tracking, tracker_of
from aelle.trainer import lean_trainer
from aelle.training.lyapunov_callback import LyapunovCallback
from aelle.training.progress import Progress
from aelle.training.recorder import RunRecorder, variant_states
from aelle.variants import Variant

if TYPE_CHECKING:
    from aelle.model.estimator import AeLLE
    from aelle.training.chance_report import ChanceReport


@runtime_checkable
class Data(Protocol):
    """What a task learns from. Its probe is None where the networks run by themselves."""

    def probe(self, sequences: int, part: str = "val") -> Tensor | None: ...


class Outcome(Enum):
    TRAINED = auto()
    FAILED = auto()
    TOO_LARGE = auto()


def train_pack(plan: Plan, folder: Path, variants: list[Variant], data: Data, progress: Progress) -> bool:
    """Train what is not yet complete of these variants, in halves where they do not fit into memory side by side. False
    where a training failed, which its folder records."""
    check_options(plan.config, data)
    plan.start()
    try:
        # Who asks for the status holds the lock for an instant.
        with FileLock(lock_file(folder), timeout=0.2):
            room = len(variants)
            while missing := plan.incomplete(variants):
                place, damaged = find_place(plan, folder, missing[:room])
                if damaged:
                    progress.say(f"{place.path} was damaged and has been moved to {damaged.name}; it is trained anew")
                outcome = _train(RunFolder(place.path, plan.config), place, data, progress)
                if outcome is Outcome.FAILED:
                    return False
                if outcome is Outcome.TOO_LARGE:
                    room = len(place.variants) // 2
                    progress.say(
                        f"{len(place.variants)} variants do not fit into memory side by side: {room} at a time instead"
                    )
                    # What the exception's frames held is garbage by now, in cycles through the trainer.
                    gc.collect()
                    torch.cuda.empty_cache()
    except Timeout:
        progress.say(f"{folder} is being trained by another process, and is left to it")
    return True


def _train(run: RunFolder, place: Place, data: Data, progress: Progress) -> Outcome:
    try:
        with Tracking(run, place, progress.say) as tracking:
            _fit(run, place, data, progress, tracking)
    except UserError:
        raise
    except Exception as error:
        # Memory that runs out later than in the first epoch was taken by another process: no reason for halves.
        if isinstance(error, torch.cuda.OutOfMemoryError) and len(place.variants) > 1 and not run.checkpoint.exists():
            return Outcome.TOO_LARGE
        try:
            run.write_failure(place.variants, traceback.format_exc())
        except OSError as unwritable:
            raise UnwritableError(
                f"{run.path} cannot be written ({reason(unwritable)}): mend that, and the same command goes on from "
                "the last epoch that was written"
            ) from error
        progress.say(
            f"failed with {type(error).__name__}: {in_one_line(error)} (the traceback is in {run.path / 'status.json'})"
        )
        return Outcome.FAILED
    return Outcome.TRAINED


def _fit(run: RunFolder, place: Place, data: Data, progress: Progress, tracking: Tracking) -> None:
    config = run.config
    if place.rows is None:
        run.begin(place.variants)
    module = get_class(config["task"]["module"]["_target_"])(data, place.left)
    lyapunov = lyapunov_callback(config["lyapunov"], data)
    prediction, report = _prediction(config["prediction"], lyapunov, place, progress.say)
    recorder = RunRecorder(run, lyapunov, place.variants, place.rows, tracking.rows)
    trainer = _trainer(config, [lyapunov, *prediction, recorder, progress], default_root_dir=run.path)
    try:
        if place.rows is None:
            trainer.validate(module, verbose=False)
        trainer.fit(module, ckpt_path=run.checkpoint if place.rows is not None else None, weights_only=True)
    except SystemExit as exit_:
        # Lightning turns Ctrl-C into this.
        if trainer.interrupted:
            raise KeyboardInterrupt from exit_
        raise
    # Not in a hook: of a run that was stopped after its last checkpoint, Lightning calls none.
    if report is not None:
        report.finish(module)
    recorder.finish(module)
    tracking.finish(variant_states(place.variants, module, "complete"))
    progress.finish(module, place.variants)


def load_data(config: dict[str, Any]) -> Data:
    """Hydra's `instantiate` would wrap what it raises, and a user's error must arrive as one."""
    options = dict(config["task"]["data"])
    try:
        loader = get_object(options.pop("_target_"))
    except Exception as error:
        raise UserError(f"task.data: {in_one_line(error)}; name a loader of the project") from error
    try:
        inspect.signature(loader).bind(**options)
    except (TypeError, ValueError) as error:
        raise UserError(f"task.data: {in_one_line(error)}; give what its loader takes") from error
    data = loader(**options)
    if not isinstance(data, Data):
        raise UserError(f"task.data: {config['task']['data']['_target_']} gives no data with a probe")
    return data


def check_options(config: dict[str, Any], data: Data) -> list[str]:
    """Refuse what the run's parts would refuse, before anything is written. Returns in what the model of `prediction`
    may not fit this sweep, a line each."""
    lyapunov_callback(config["lyapunov"], data)
    _trainer(config, [])
    model = _model(config["prediction"])
    tracker_of(config["logger"])
    try:
        module = get_class(config["task"]["module"]["_target_"])
    except Exception as error:
        raise UserError(f"task.module: {in_one_line(error)}; name a class of aelle.tasks") from error
    if not issubclass(module, PopulationModule):
        raise UserError(f"task.module: {module.__name__} trains no population; name a PopulationModule")
    if model is None:
        return []
    from aelle.model.chances import unlike

    task = config["task"]
    return [f"prediction.model: {one}" for one in unlike(model, task["name"], config["epochs"], task["threshold"])]


def lyapunov_callback(options: dict[str, Any], data: Data) -> LyapunovCallback:
    return LyapunovCallback(
        "network",
        data.probe(options["sequences"]),
        test_probe=data.probe(options["sequences"], "test") if options["test"] else None,
        every_n_epochs=options["every_n_epochs"],
        steps=options["steps"],
        k=options["k"],
        over=options["over"],
        dtype=getattr(torch, options["precision"]),
    )


def _model(options: dict[str, Any]) -> "AeLLE | None":
    if options["model"] is None:
        return None
    # Who trains without a model need not wait for scikit-learn.
    from aelle.model.estimator import AeLLE

    try:
        model = AeLLE.load(options["model"])
    except UserError as error:
        raise UserError(f"prediction.model: {error}; name the folder of one that analyze.py has saved") from error
    check_digest(options)
    return model


def _prediction(
    options: dict[str, Any], lyapunov: LyapunovCallback, place: Place, say: Callable[[str], object]
) -> tuple[list[pl.Callback], "ChanceReport | None"]:
    """The callbacks that tell chances and, on request, prune by them; none without a model."""
    model = _model(options)
    if model is None:
        return [], None
    from aelle.training.chance_report import ChanceReport
    from aelle.training.prediction_callback import PredictionCallback
    from aelle.training.pruning_callback import PruningCallback

    prediction, pruning = PredictionCallback(model, lyapunov), None
    if place.rows is not None:
        prediction.go_on(place.rows, [v.number for v in place.left])
    if options["prune"] is not None:
        pruning = PruningCallback(prediction, options["prune"], options["after"], place.last)
    report = ChanceReport(place.path, place.variants, prediction, pruning, say, place.rows)
    return [prediction, *([pruning] if pruning else []), report], report


def _trainer(config: dict[str, Any], callbacks: list[pl.Callback], **options: Any) -> pl.Trainer:
    chosen = config["trainer"]
    if chosen["gradient_clip_val"] is None:
        chosen = {name: value for name, value in chosen.items() if not name.startswith("gradient_clip")}
    return lean_trainer(max_epochs=config["epochs"], callbacks=callbacks, **chosen, **options)
