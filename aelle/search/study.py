"""The Optuna study of a sweep, and the jobs that serve it.

A job asks for a pack of trials at a time; a trial's number is its variant's. While it trains them, they are running in
the study and marked with the job's lock in the sweep's folder. The trials of a job that was killed are taken over by
the next that asks: its lock is free then.
"""

import platform
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import OptunaError
from optuna.pruners import NopPruner
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from aelle.errors import UserError, in_one_line
from aelle.files import read_regular, refuse_unless, replace_atomically
from aelle.runs.locks import is_held
from aelle.runs.reader import run_folders
from aelle.search.options import pruner, quiet, sampler
from aelle.search.outcomes import Ending
from aelle.search.space import suggested
from aelle.seeds import seed_for
from aelle.sweep.plan import Plan
from aelle.terminal import complain, option
from aelle.variants import Variant

STUDY_FILE = "study.db"
"""In the sweep's folder: the study, unless `search.storage` names another place."""

ID_FILE = "study.id"
"""In the sweep's folder: which study is its, as the study's user attribute ID says, too."""

ID = "aelle:id"

ASKING_LOCK = ".asking.lock"
"""In the sweep's folder: one job at a time takes trials."""

JOB = "job"
"""The user attribute of a trial that names the lock of the job that trains it."""

STOPPED = "stopped after epoch"
"""The user attribute of a trial that Optuna's pruner has stopped: asked anew after a kill, it may answer otherwise."""

STORAGE_ERRORS = (OptunaError, SQLAlchemyError)

MAX_ID = 100
"""Bytes of the file."""

SECONDS_FOR_A_LOCKED_FILE = 60
"""How long a job waits while others write to the study's file."""


class Study:
    """`study`: Optuna's. One for each job; all jobs of a sweep have the same storage and the same folder.

    Raises UserError for a study that is not this sweep's.
    """

    def __init__(self, plan: Plan, search: dict[str, Any]):
        self.plan, self.search = plan, search
        self.lock: FileLock | None = None
        self._mine: dict[int, Trial] = {}
        self._reported: dict[int, set[int]] = {}
        self._stopped: dict[int, int] = {}
        self._failed: set[int] = set()
        with self._asking(), in_one_line_if_it_fails(search):
            self.study = _opened(plan, search)

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Hold a lock of this job for as long as it serves the study."""
        self.lock = self._free_lock()
        try:
            yield
        finally:
            self.lock.release()
            self.lock = None

    def _free_lock(self) -> FileLock:
        for number in count():
            path = self.plan.folder / f".job-{_host()}-{number}.lock"
            refuse_unless(path, "file")
            lock = FileLock(path)
            with suppress(Timeout):
                lock.acquire(timeout=0)
                return lock
        raise AssertionError("numbers do not end")

    def take(self, most: int) -> list[Variant]:
        """The variants that this job trains next, `most` new ones at most: those that a killed job has left behind, or
        new ones. None are left when the sweep has its size."""
        with self._asking(), in_one_line_if_it_fails(self.search):
            variants: dict[int, Variant] = {}
            trials: list[Trial] = []
            while not variants and (trials := self._left_behind() or self._asked(most)):
                variants = {trial.number: one for trial in trials if (one := self._variant(trial)) is not None}
            known = self.trials
            self._mine = {trial.number: trial for trial in trials if trial.number in variants}
            self._reported = {number: {*known[number].intermediate_values} for number in variants}
            stopped = {number: known[number].user_attrs.get(STOPPED) for number in variants}
            self._stopped = {number: epoch for number, epoch in stopped.items() if epoch is not None}
            return [*variants.values()]

    def _variant(self, trial: Trial) -> Variant | None:
        """None, and a failed trial, if the search space lacks its values: those that a user has enqueued."""
        try:
            return suggested(trial, self.plan.space, self.plan.config["seed"])
        except ValueError as error:
            complain(f"warning: trial {trial.number} of the study is not of the search space: {in_one_line(error)}")
            self.study.tell(trial.number, state=TrialState.FAIL)
            return None

    def lost(self) -> list[Variant]:
        """The variants that the study knows the end of, and whose runs are missing or damaged."""
        with self._asking(), in_one_line_if_it_fails(self.search):
            complete = self.plan.complete()
            told = self.in_states(TrialState.COMPLETE, TrialState.PRUNED)
            # Others than those of jobs were added by the user.
            lost = [trial for trial in told if JOB in trial.user_attrs and trial.number not in complete]
            return [suggested(trial, self.plan.space, self.plan.config["seed"]) for trial in lost]

    def fail(self, number: int, for_ever: bool) -> None:
        """The variant's training has failed. Unless it always would, its trial is left running, for the next job."""
        self._failed.add(number)
        if for_ever:
            with in_one_line_if_it_fails(self.search):
                self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def tell(self, number: int, ending: Ending) -> None:
        """How a variant has ended. One that has diverged counts as pruned: a failed trial would teach the sampler
        nothing."""
        with in_one_line_if_it_fails(self.search):
            self.report(number, ending.losses)
            trial = self._mine[number]
            for name, value in ending.summary.items():
                trial.set_user_attr(name, value)
            if ending.value is None:
                self.study.tell(number, state=TrialState.PRUNED, skip_if_finished=True)
            else:
                self.study.tell(number, ending.value, skip_if_finished=True)

    def report(self, number: int, losses: dict[int, float]) -> None:
        """Report a variant's losses by epoch, those that its trial does not have yet. Raises one of STORAGE_ERRORS."""
        reported = self._reported[number]
        for epoch in sorted(losses.keys() - reported):
            self._mine[number].report(losses[epoch], epoch)
            reported.add(epoch)

    def prunes(self, number: int, epoch: int) -> bool:
        """Whether Optuna's pruner stops the variant after this epoch. Raises one of STORAGE_ERRORS."""
        if self._stopped.get(number) == epoch:
            return True
        if isinstance(self.study.pruner, NopPruner) or not self._mine[number].should_prune():
            return False
        self._mine[number].set_user_attr(STOPPED, epoch)
        self._stopped[number] = epoch
        return True

    def in_states(self, *states: TrialState) -> list[FrozenTrial]:
        return [trial for trial in self.trials if trial.state in states]

    def _asking(self) -> FileLock:
        path = self.plan.folder / ASKING_LOCK
        refuse_unless(path, "file")
        return FileLock(path)

    def _left_behind(self) -> list[Trial]:
        """The running trials of one job that is no longer there, marked as this job's."""
        assert self.lock is not None
        mine = Path(self.lock.lock_file).name
        left: dict[str, list[int]] = {}
        running = [trial for trial in self.in_states(TrialState.RUNNING) if trial.number not in self._failed]
        for trial in running:
            job = trial.user_attrs.get(JOB)
            # A job that was killed between asking for a trial and marking it leaves one without anything.
            if job == mine or job is None or self._is_free(job):
                left.setdefault(str(job), []).append(trial._trial_id)
        if not left:
            return []
        trials = [Trial(self.study, number) for number in next(iter(left.values()))]
        for trial in trials:
            trial.set_user_attr(JOB, mine)
        return trials

    def elsewhere(self) -> list[FrozenTrial]:
        """The running trials of jobs that are there."""
        running = self.in_states(TrialState.RUNNING)
        return [trial for trial in running if JOB in trial.user_attrs and not self._is_free(trial.user_attrs[JOB])]

    def _is_free(self, job: str) -> bool:
        return not is_held(self.plan.folder / job)

    def _asked(self, most: int) -> list[Trial]:
        assert self.lock is not None
        trials, known = [], self.trials
        # Of the number of trials: jobs that start at the same time draw differently.
        seed = seed_for(self.plan.config["seed"], f"sampler from trial {len(known)}") % 2**32
        self.study.sampler = sampler(self.search, seed)
        # Those that a user has enqueued are among the trials already, and are asked for first.
        left = self.plan.config["size"] - len(known) + len(self.in_states(TrialState.WAITING))
        for _ in range(min(most, left)):
            trial = self.study.ask()
            trial.set_user_attr(JOB, Path(self.lock.lock_file).name)
            # The next ones are proposed beside its values.
            with suppress(ValueError):
                suggested(trial, self.plan.space, self.plan.config["seed"])
            trials.append(trial)
        return trials


def try_out(plan: Plan, search: dict[str, Any]) -> None:
    """Ask the sampler for some variants, in no storage: it may need what is not installed, or another space. Raises
    UserError."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with in_one_line_if_it_fails(search), quiet():
        study = optuna.create_study(sampler=sampler(search, 0))
        try:
            for loss in (0.0, 1.0, 2.0):
                trial = study.ask()
                suggested(trial, plan.space, 0)
                study.tell(trial, loss)
        except ValueError as error:
            raise UserError(f"search.sampler: {in_one_line(error)}; choose another sampler") from error


def location(plan: Plan, search: dict[str, Any]) -> str:
    """The URL of the study's storage."""
    return search["storage"] or f"sqlite:///{(plan.folder / STUDY_FILE).resolve()}"


def _host() -> str:
    return re.sub(r"[^\w-]", "-", platform.node())[:60]


def _opened(plan: Plan, search: dict[str, Any]) -> optuna.Study:
    url = location(plan, search)
    if search["storage"] is None:
        refuse_unless(plan.folder / STUDY_FILE, "file")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    connect = {"connect_args": {"timeout": SECONDS_FOR_A_LOCKED_FILE}} if url.startswith("sqlite") else {}
    with quiet():
        storage = optuna.storages.RDBStorage(url, engine_kwargs=connect)
        study = optuna.create_study(
            storage=storage,
            study_name=plan.config["sweep"],
            direction="minimize",
            pruner=pruner(search, plan.config["epochs"]),
            load_if_exists=True,
        )
    _check_identity(plan, study, search)
    return study


def _check_identity(plan: Plan, study: optuna.Study, search: dict[str, Any]) -> None:
    """A sweep's folder and its study name each other from the beginning, when neither has anything."""
    file, known = plan.folder / ID_FILE, study.user_attrs.get(ID)
    refuse_unless(file, "file")
    own = read_regular(file, MAX_ID).decode(errors="replace") if file.exists() else None
    where = "search.storage" if search["storage"] else str(plan.folder / STUDY_FILE)
    other = f"use the storage that the search was started with, or start another sweep with {option('sweep', 'NAME')}"
    empty = known is None and not study.get_trials(deepcopy=False)
    if empty and not run_folders(plan.folder):
        name = secrets.token_hex(8)
        replace_atomically(file, lambda path: path.write_text(name))
        study.set_user_attr(ID, name)
    elif empty:
        raise UserError(f"{where}: the study of {plan.folder} is not there: {other}")
    elif known is None or own != known or study.directions != [optuna.study.StudyDirection.MINIMIZE]:
        raise UserError(f"{where}: its study {plan.config['sweep']!r} is not that of {plan.folder}: {other}")


@contextmanager
def in_one_line_if_it_fails(search: dict[str, Any]) -> Iterator[None]:
    """An error of the study's storage is one that the user can mend; its text is without the storage's password."""
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"search: {in_one_line(error)}; install it with pip, then run the same command again"
        ) from error
    except STORAGE_ERRORS as error:
        where = "search.storage" if search["storage"] else STUDY_FILE
        cause = in_one_line(error.__cause__ or error)
        raise UserError(f"{where}: {cause}; mend that, then run the same command again to resume") from error
