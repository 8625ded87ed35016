"""Trains one pack as a population, from scratch or from where it stopped."""

import logging
import traceback
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from filelock import FileLock, Timeout
from hydra.utils import get_class

from aelle.callback import LyapunovCallback
from aelle.command_line import count
from aelle.data import ImageRows
from aelle.errors import UserError
from aelle.progress import Progress
from aelle.recorder import RunRecorder
from aelle.runs import RunFolder, StoppedRun
from aelle.sweep import Plan, numbers_label
from aelle.variants import Variant


def train_pack(plan: Plan, folder: Path, variants: list[Variant], data: ImageRows, progress: Progress) -> bool:
    """Train what is not yet complete of these variants. False where the training failed, which its folder records."""
    done = plan.complete()
    missing = [v for v in variants if v.number not in done]
    if not missing:
        if plan.config["pack"] is None and variants:
            progress.say(f"{count(len(variants), 'variant')} complete already in {plan.folder}")
        return True
    run = RunFolder(folder, plan.config)
    if run.is_complete():
        run = RunFolder(plan.folder / numbers_label(missing), plan.config)
    run.path.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run.path / ".lock", timeout=0):
            return _train_locked(run, missing, data, progress)
    except Timeout:
        progress.say(f"{run.path} is being trained by another process, and is left to it")
        return True


def _train_locked(run: RunFolder, missing: list[Variant], data: ImageRows, progress: Progress) -> bool:
    stopped = run.stopped(missing)
    if stopped is None and run.set_aside_damaged():
        progress.say(f"{run.path} was damaged and has been set aside; its variants are trained anew")
    variants = stopped.variants if stopped else missing
    try:
        _fit(run, variants, data, progress, stopped)
    except UserError:
        raise
    except Exception as error:
        run.write_failure(variants, traceback.format_exc())
        last = (str(error).strip() or type(error).__name__).splitlines()[0]
        progress.say(f"failed with {type(error).__name__}: {last} (the traceback is in {run.path / 'status.json'})")
        return False
    return True


def _fit(
    run: RunFolder, variants: list[Variant], data: ImageRows, progress: Progress, stopped: StoppedRun | None
) -> None:
    config = run.config
    quiet()
    module = get_class(config["task"]["module"]["_target_"])(data, variants)
    options = config["lyapunov"]
    lyapunov = LyapunovCallback(
        "network",
        data.probe(options["sequences"]),
        test_probe=data.probe(options["sequences"], "test") if options["test"] else None,
        every_n_epochs=options["every_n_epochs"],
        over=options["over"],
        dtype=getattr(torch, options["precision"]),
    )
    recorder = RunRecorder(run, lyapunov, stopped.rows if stopped else None)
    trainer = pl.Trainer(
        max_epochs=config["epochs"],
        callbacks=[lyapunov, recorder, progress],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=run.path,
        **trainer_options(config["trainer"]),
    )
    run.write_config()
    try:
        if stopped is None:
            trainer.validate(module, verbose=False)
        trainer.fit(module, ckpt_path=run.checkpoint if stopped else None, weights_only=True)
    except SystemExit as exit_:
        # Lightning turns Ctrl-C into this.
        if trainer.interrupted:
            raise KeyboardInterrupt from exit_
        raise


def trainer_options(options: dict[str, Any]) -> dict[str, Any]:
    """The trainer's part of the configuration; without clipping, its algorithm must not be named."""
    if options["gradient_clip_val"] is None:
        return {name: value for name, value in options.items() if not name.startswith("gradient_clip")}
    return options


def quiet() -> None:
    """Lightning's notes on devices and workers, once per pack, would drown the sweep's own lines."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
