"""Callbacks whose results last: through checkpoints, until the next training, and beyond worker processes."""

import os
import sys
import tempfile
import threading
import uuid
import weakref
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies.launchers.multiprocessing import _MultiProcessingLauncher
from pytorch_lightning.trainer.states import TrainerStatus
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

from aelle.errors import UserError

DEPTH = 12
"""Calls between Lightning's and `state_key`, at most, run-time checks of types included."""

_trainers: weakref.WeakKeyDictionary[pl.Callback, weakref.ref[pl.Trainer]] = weakref.WeakKeyDictionary()
"""Which trainer a callback is, or was last, in a fit of."""

_taking = threading.Lock()


class LastingCallback(pl.Callback, ABC):
    """A callback with results of one training, which a resumed training continues and a new one replaces.

    The strategies ddp_spawn, ddp_fork and ddp_notebook train in processes of their own, and Lightning brings back only
    weights and metrics. So the first of these processes writes `state_dict` to a temporary file when training is over,
    and in the process that called `trainer.fit`, `collect` loads it: subclasses call it before they give results.

    `network`: the attribute path of the network that the results are of. `state_dict` and `load_state_dict` keep the
    results, as tensors, numbers, strings, lists and dictionaries.
    """

    def __init__(self, network: str):
        self.network = network
        self._returned = Path(tempfile.gettempdir()) / f"aelle-{uuid.uuid4().hex}.pt"
        self._in_worker = False
        weakref.finalize(self, _remove, self._returned, os.getpid())
        self.reset()

    @abstractmethod
    def reset(self) -> None:
        """Forget the results of earlier trainings."""

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What a checkpoint's results must have in common with this callback's."""

    @property
    @abstractmethod
    def details(self) -> str:
        """What distinguishes it from others of the same identity in one trainer."""

    @property
    def state_key(self) -> str:
        """Raises UserError in a new trainer with two equal ones, whose states a checkpoint could not tell apart."""
        listed = [one._key for one in _compared() if isinstance(one, LastingCallback)]
        if listed.count(self._key) > 1:
            raise UserError(
                f"callbacks has two equal {type(self).__name__}s of {self.network!r}, which no checkpoint could tell "
                f"apart: leave one out, or let them differ in {', '.join([*self.identity, 'probe'])} or an option "
                "(functions differ by their names)"
            )
        return self._key

    @property
    def _key(self) -> str:
        return self._generate_state_key(**self.identity, details=self.details)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Raises UserError while another training uses this callback, as of threads that share it."""
        self._in_worker = isinstance(trainer.strategy.launcher, _MultiProcessingLauncher)
        if stage == "fit":
            self._take_for(trainer)
        if stage == "fit" and trainer.global_step == 0:
            self.reset()

    def _take_for(self, trainer: pl.Trainer) -> None:
        with _taking:
            last = _trainers[self]() if self in _trainers else None
            if last is not None and last is not trainer and last.state.status == TrainerStatus.RUNNING:
                raise UserError(
                    f"{type(self).__name__} of {self.network!r} is in use by another training, which would get mixed "
                    "results: make one for each training that runs at the same time, as in each call of an objective "
                    "under n_jobs"
                )
            _trainers[self] = weakref.ref(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit" and self._in_worker and trainer.is_global_zero:
            torch.save(self.state_dict(), self._returned)

    def collect(self) -> None:
        """Load what worker processes have written, once."""
        if not self._in_worker and self._returned.exists():
            self.reset()
            self.load_state_dict(torch.load(self._returned, map_location="cpu", weights_only=True))
            self._returned.unlink()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Continue the results of a callback that differed in details, such as a probe drawn anew, if there is one."""
        states: dict[Any, Any] = checkpoint["callbacks"]
        own = self._generate_state_key(**self.identity)
        peers = self._peers(trainer)
        current = {one.state_key for one in peers}
        left = [key for key in states if str(key).startswith(f"{own[:-1]}, ") and key not in current]
        new = [one for one in peers if one.identity == self.identity and one.state_key not in states]
        if new == [self] and len(left) == 1:
            self.load_state_dict(states[left[0]])
            rank_zero_warn(
                f"{type(self).__name__} of {self.network!r}: that of the checkpoint had another probe or other options;"
                " its results are kept, and those of later epochs added"
            )

    def logged_as(self, quantity: str, trainer: pl.Trainer) -> str:
        """`lyapunov/<quantity>`; with the network's name if the trainer's callbacks of this kind are of several
        networks, and numbered from the second one of a network on."""
        peers = self._peers(trainer)
        several = len({one.network for one in peers}) > 1
        name = f"lyapunov/{self.network}/{quantity}" if several else f"lyapunov/{quantity}"
        number = 1 + sum(one.network == self.network for one in peers[: peers.index(self)])
        return name if number == 1 else f"{name}-{number}"

    def _peers(self, trainer: pl.Trainer) -> list["LastingCallback"]:
        """The trainer's callbacks of this kind, in their order."""
        callbacks: list[pl.Callback] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        return [one for one in callbacks if isinstance(one, type(self))]


def between_epochs(trainer: pl.Trainer) -> bool:
    """Whether a training starts, or resumes, where no epoch is under way."""
    progress: Any = trainer.fit_loop.epoch_progress.current
    return progress.started == progress.processed


def log_now(trainer: pl.Trainer, values: dict[str, float]) -> None:
    """To every logger, where Lightning's `log` is not allowed or comes too late."""
    for logger in trainer.loggers:
        logger.log_metrics(values, step=trainer.global_step)


def _compared() -> list[pl.Callback]:
    """The callbacks of a trainer that is being made, where Lightning looks for equal keys: before any hook, and with an
    error of its own that names no remedy."""
    frame = sys._getframe(1)
    for _ in range(DEPTH):
        if frame.f_code.co_name == "_validate_callbacks_list":
            return frame.f_locals.get("callbacks", [])
        if frame.f_back is None:
            break
        frame = frame.f_back
    return []


def _remove(file: Path, process: int) -> None:
    """Not in a worker process, whose copy of the callback ends first."""
    if os.getpid() == process:
        file.unlink(missing_ok=True)
