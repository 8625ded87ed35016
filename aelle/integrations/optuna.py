"""Trials of one's own Optuna objective, pruned by their chance of low error.

pruner = AeLLEPruner(predictor, lyapunov)
study = optuna.create_study(pruner=pruner)
trainer = pl.Trainer(callbacks=[lyapunov, pruner.callback(trial)])      # in the objective
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.strategies.launchers.multiprocessing import _MultiProcessingLauncher
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

from aelle.errors import UserError, check_kind
from aelle.lyapunov.checks import check_whole
from aelle.model.estimator import AeLLE
from aelle.model.parameters import is_number
from aelle.predictor.differences import unlike_known
from aelle.predictor.early_predictor import EarlyPredictor
from aelle.sweep.arrays import ARRAYS
from aelle.training.lyapunov_callback import LyapunovCallback
from aelle.training.prediction_callback import PredictionCallback, check_predictor

try:
    import optuna
except ImportError as error:
    raise UserError("aelle.integrations.optuna needs Optuna, which is not installed: run pip install optuna") from error

PREFIX = "aelle:"
"""Of the names of a trial's user attributes that are written here."""

CHANCE, CHANCES, OUTSIDE = f"{PREFIX}chance", f"{PREFIX}chance by epoch", f"{PREFIX}outside"
"""User attributes: the last chance, all by epoch (0 = before training; as strings, since JSON has no other keys), and
why the network is outside of what the predictor knows, or ""."""

LARGEST, DIMENSION = f"{PREFIX}largest exponent", f"{PREFIX}Kaplan-Yorke dimension"
"""User attributes: of the last spectrum, the first in nats per step; None where it is not finite."""


class AeLLEPruner(optuna.pruners.BasePruner):
    """Prunes the trials whose chance of low error is below a cut.

    `predictor`: an `EarlyPredictor`, or an `AeLLE`, fitted to trainings like the trials. `lyapunov_callback` measures
    the network of each trial. `below`: the cut; None for the predictor's own, below which at most the share `may_lose`
    of the low-error trials falls at any epoch from `after` on, on average over studies like the known trainings.
    `after`: the first epoch after which trials are pruned, 0 being before training.

    The chances are those that `callback(trial)` has written into the trial's user attributes: without it, nothing is
    pruned. A network outside of what the predictor knows is never pruned. One with a loss that is not finite has no
    chance left.

    Raises UserError for a predictor that has no cut of its own, such as an `AeLLE`, and in a study that maximises.
    """

    def __init__(
        self,
        predictor: EarlyPredictor | AeLLE,
        lyapunov_callback: LyapunovCallback,
        *,
        below: float | None = None,
        may_lose: float = 0.05,
        after: int = 1,
    ):
        check_predictor(predictor)
        check_kind("lyapunov_callback", lyapunov_callback, LyapunovCallback, "the callback that measures the network")
        check_whole("after", after, 0)
        if below is not None and not (is_number(below) and 0 < below < 1):
            raise UserError(f"below={below!r}: give a chance between 0 and 1, or None for the predictor's own cut")
        self.predictor, self.lyapunov_callback, self.after = predictor, lyapunov_callback, int(after)
        self.is_promised = below is None
        self.below = _cut(predictor, may_lose, self.after) if below is None else float(below)

    def callback(
        self,
        trial: Any,
        monitor: str = "val_loss",
        hyperparameters: Mapping[str, Any] | None = None,
        lyapunov_callback: LyapunovCallback | None = None,
    ) -> "AeLLEPruningCallback":
        """The Lightning callback of one trial, to stand behind the LyapunovCallback among its trainer's.

        `monitor`: the validation loss that the module logs. `hyperparameters`: names that the predictor knows and this
        network's values; None: `trial.params`. `lyapunov_callback`: this trial's, if not the pruner's, as for trials in
        parallel threads, which cannot share one.
        """
        return AeLLEPruningCallback(self, trial, monitor, hyperparameters, lyapunov_callback)

    def prune(self, study: "optuna.study.Study", trial: "optuna.trial.FrozenTrial") -> bool:
        """Whether the trial's last chance is below the cut; nothing but its user attributes is needed."""
        check_study(study)
        chances = trial.user_attrs.get(CHANCES, {})
        epoch = max(map(int, chances), default=-1)
        if epoch < self.after or trial.user_attrs.get(OUTSIDE, ""):
            return False
        return chances[str(epoch)] < self.below

    def unpromised(self, epochs: int, names: list[str]) -> str:
        """Why the predictor's own cut promises nothing for trainings of so many epochs with hyperparameters of these
        names, or ""."""
        if not self.is_promised or not isinstance(self.predictor, EarlyPredictor):
            return ""
        return next(iter(unlike_known(self.predictor, ARRAYS, epochs, math.nan, names, "trial")), "")


class AeLLEPruningCallback(PredictionCallback):
    """Reports a trial's losses and chances to Optuna after every epoch, and ends it if the study's pruner says so.

    `AeLLEPruner.callback` makes it, and says what `monitor`, `hyperparameters` and `lyapunov_callback` are.

    A loss after epoch e (1 = after the first) is reported as step e − 1, as Optuna's own callbacks do. The trial is
    asked after every epoch but the last, and before training; optuna.TrialPruned is raised when the epoch is over: its
    metrics are logged and its checkpoint is written. A training that is resumed reports what its new trial lacks.

    Raises UserError for a trial that is trained in several processes or in another one, in a study that does not
    minimise a single loss, where `monitor` is not logged, and for a trial unlike the known trainings if the cut is the
    predictor's own.
    """

    def __init__(
        self,
        pruner: AeLLEPruner,
        trial: Any,
        monitor: str = "val_loss",
        hyperparameters: Mapping[str, Any] | None = None,
        lyapunov_callback: LyapunovCallback | None = None,
    ):
        kinds = (optuna.trial.Trial, optuna.trial.FixedTrial, optuna.trial.FrozenTrial)
        check_kind("trial", trial, kinds, "that of the objective; distributed trials are not served")
        self.pruner, self.trial = pruner, trial
        self.study: optuna.Study | None = getattr(trial, "study", None)
        if self.study is not None:
            check_study(self.study)
        lyapunov = pruner.lyapunov_callback if lyapunov_callback is None else lyapunov_callback
        super().__init__(pruner.predictor, lyapunov, hyperparameters, monitor)
        self.given, self.reported = hyperparameters, set[int]()
        self.is_over = self.is_validated = False

    def __getstate__(self) -> Any:
        raise UserError(
            f"{type(self).__name__} would go to another process, where its trial is not (as with strategy=ddp_spawn): "
            f"{REMEDY}"
        )

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            _check_one_process(trainer)
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self.hyperparameters = self._named() if self.given is None else self.given
            why = self.pruner.unpromised(self._epochs(trainer, 0), list(self.hyperparameters))
            if why and not getattr(trainer, "fast_dev_run", False):
                raise UserError(
                    f"below=None: {why}; what share of low-error trials is lost cannot be promised then: give "
                    "AeLLEPruner a chance as a number, e.g. below=0.1, or a predictor of trainings like these"
                )
            self._warn_of_another_pruner()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if self.study is not None:
            self.reported = set(self.study.get_trials(deepcopy=False)[self.trial.number].intermediate_values)
        self._tell(trainer, trainer.current_epoch)
        self._end(trainer.current_epoch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        self._end(trainer.current_epoch)
        self.is_validated = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.is_validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        epoch = trainer.current_epoch + 1
        if self.monitor not in trainer.callback_metrics and (self.is_validated or not trainer.enable_validation):
            logged = ", ".join(sorted(map(str, trainer.callback_metrics))) or "nothing"
            raise UserError(
                f"monitor={self.monitor!r} was not logged in epoch {epoch}, or only after its callbacks; logged is "
                f"{logged}: give its name to pruner.callback, or log it in validation_step by self.log"
            )
        self._tell(trainer, epoch)

    def _predict(self, trainer: pl.Trainer, pl_module: pl.LightningModule, epoch: int) -> None:
        networks = max((one.maximum.numel() for one in self.lyapunov.spectra.values()), default=1)
        if networks > 1:
            raise UserError(f"{self.network!r} is a population of {networks}: give each network a trial of its own")
        super()._predict(trainer, pl_module, epoch)

    def _tell(self, trainer: pl.Trainer, epoch: int) -> None:
        """Report what the trial lacks, and ask whether it ends."""
        if self.lyapunov.spectra:
            last = self.lyapunov.spectra[max(self.lyapunov.spectra)]
            self.trial.set_user_attr(LARGEST, _finite(last.maximum))
            self.trial.set_user_attr(DIMENSION, _finite(last.kaplan_yorke_dimension))
        for at, losses in self._losses.items():
            if at - 1 not in self.reported and at > 0:
                self.trial.report(float(losses[0]), at - 1)
                self.reported.add(at - 1)
        if epoch == trainer.max_epochs:
            return
        if self._chances:
            chances = {str(at): self._chance(at) for at in self._chances}
            self.trial.set_user_attr(OUTSIDE, str(np.ravel(self._outside[max(self._outside)])[0]))
            self.trial.set_user_attr(CHANCES, chances)
            self.trial.set_user_attr(CHANCE, self._chance(max(self._chances)))
        self.is_over = self.trial.should_prune()

    def _end(self, epoch: int) -> None:
        if self.is_over:
            chance = (
                f", at a chance of low error of {100 * self._chance(epoch):.2g} %" if epoch in self._chances else ""
            )
            raise optuna.TrialPruned(f"Trial was pruned after epoch {epoch}{chance}.")

    def _chance(self, epoch: int) -> float:
        """A network that has diverged has none."""
        return float(np.nan_to_num(np.ravel(self._chances[epoch])[0]))

    def _named(self) -> dict[str, Any]:
        """The trial's hyperparameters, with None for one that some of the known trainings lacked, too."""
        params = dict(self.trial.params)
        if not isinstance(self.predictor, EarlyPredictor):
            return params
        encoding = self.predictor.encoding_
        some_without = [name for name, one in encoding.numbers.items() if one.some_without]
        some_without += [name for name, words in encoding.words.items() if "none" in words]
        params = {**dict.fromkeys(some_without), **params}
        encoding.check_names(params)
        return params

    def _warn_of_another_pruner(self) -> None:
        """`optuna.load_study` has a pruner of its own if it is given none."""
        pruner = None if self.study is None else self.study.pruner
        own = type(pruner).__module__.startswith("optuna.") and not isinstance(pruner, optuna.pruners.PatientPruner)
        if own:
            rank_zero_warn(
                f"the study's pruner is {type(pruner).__name__}, which does not know chances: give pruner=… to "
                "optuna.create_study or optuna.load_study if AeLLEPruner is to prune"
            )


REMEDY = (
    "give Trainer(devices=1) and let several trials run at a time (n_jobs, or several scripts with one storage), or "
    "train without this callback"
)


def check_study(study: "optuna.study.Study") -> None:
    """Raises UserError for a study of which no trial can be pruned by its chance of a low loss."""
    if len(study.directions) > 1:
        raise UserError(
            f"the study has {len(study.directions)} objectives: Optuna prunes trials of one only; leave AeLLEPruner out"
        )
    if study.direction == optuna.study.StudyDirection.MAXIMIZE:
        raise UserError(
            "the study maximises, and the predictor's chances are of a loss below its threshold: let the objective "
            "return the loss, with direction='minimize'"
        )


def _check_one_process(trainer: pl.Trainer) -> None:
    elsewhere = isinstance(trainer.strategy.launcher, _MultiProcessingLauncher)
    if trainer.world_size > 1 or elsewhere:
        processes = "another process" if trainer.world_size == 1 else f"{trainer.world_size} processes"
        raise UserError(
            f"{type(trainer.strategy).__name__} trains in {processes}, and a trial lives in the one that made it: "
            f"{REMEDY}"
        )


def _cut(predictor: EarlyPredictor | AeLLE, may_lose: float, after: int) -> float:
    if not isinstance(predictor, EarlyPredictor):
        raise UserError("below=None: an AeLLE has no cut of its own; give a chance, e.g. below=0.1")
    try:
        return predictor.cut(may_lose, after)
    except UserError as error:
        raise UserError(f"below=None: {error}") from error


def _finite(number: Any) -> float | None:
    """JSON has no NaN."""
    value = float(np.ravel(number)[0])
    return value if math.isfinite(value) else None
