"""Chances of low error during training, predicted by a model that was fitted to other networks.

Axes: V variant, K exponent, M point of the model's spectra.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytorch_lightning as pl
import torch
from jaxtyping import Float
from sklearn.utils.validation import check_is_fitted

from aelle.errors import UserError, check_kind
from aelle.lyapunov.spectra_so_far import RunningMean, SpectraSoFar
from aelle.lyapunov.spectrum import curve
from aelle.model.chances import chances_of
from aelle.model.estimator import AeLLE
from aelle.predictor.early_predictor import EarlyPredictor
from aelle.predictor.observed import Observed
from aelle.predictor.prediction import NO_SPECTRUM
from aelle.tasks.module import PopulationModule
from aelle.training.lasting_callback import LastingCallback, between_epochs, log_now
from aelle.training.lyapunov_callback import LyapunovCallback


class PredictionCallback(LastingCallback):
    """After every epoch, predicts the chance of each network that `lyapunov` measures, from its losses and spectra so
    far and its hyperparameters.

    `predictor`: an `EarlyPredictor`, or an `AeLLE`, which predicts from spectra alone. A population has the validation
    losses and hyperparameters of its variants. For a network of your own, the loss is the metric `monitor`, which the
    module logs in an epoch's validation or training, before its end (after epochs without it, losses are not used), and
    `hyperparameters` maps names to its values.

    Comes after `lyapunov` among the trainer's callbacks. `.chances` maps the epoch (0 = before training) to the chance
    of low error, of a population to an array [V], NaN where the network has diverged; epochs without anything to
    predict from are missing. `.outside` maps it to what lies outside of what the predictor knows, in words, or "", of a
    population to a list of V. They are those of one training: saved in its checkpoints, continued when it resumes,
    replaced by the next. A population's `metrics` contain the chances of the last epoch. The trainer's logger gets
    `lyapunov/chance`, a population's median, or, if the trainer's callbacks are of several networks,
    `lyapunov/<network>/chance`, numbered from a network's second callback on.

    Raises ValueError for hyperparameters of other names than the known ones, and, when training starts, unless
    `lyapunov` comes before it; NotFittedError for a predictor that is not fitted.
    """

    def __init__(
        self,
        predictor: EarlyPredictor | AeLLE,
        lyapunov: LyapunovCallback,
        hyperparameters: Mapping[str, Any] | None = None,
        monitor: str = "val_loss",
    ):
        check_predictor(predictor)
        check_kind("lyapunov", lyapunov, LyapunovCallback, "the callback that measures the network")
        if hyperparameters is not None:
            check_kind("hyperparameters", hyperparameters, Mapping, "their names and the network's values")
            if isinstance(predictor, EarlyPredictor):
                predictor.encoding_.check_names(hyperparameters)
        self.predictor, self.lyapunov = predictor, lyapunov
        self.hyperparameters, self.monitor = hyperparameters, monitor
        self.aelle = predictor if isinstance(predictor, AeLLE) else predictor.model_
        self.goes_on = False
        super().__init__(lyapunov.network)

    def reset(self) -> None:
        self._chances: dict[int, Any] = {}
        self._outside: dict[int, Any] = {}
        self.stale: torch.Tensor | None = None
        if not self.goes_on:
            self._losses: dict[int, Float[np.ndarray, "V"]] = {}
            self.mean = RunningMean()

    @property
    def chances(self) -> dict[int, Any]:
        """By epoch, 0 before training: the chance of low error, a number; of a population an array [V]."""
        self.collect()
        return self._chances

    @property
    def outside(self) -> dict[int, Any]:
        """By epoch: why the network is unlike all known ones, or ""; of a population a list of V."""
        self.collect()
        return self._outside

    @property
    def losses(self) -> dict[int, Float[np.ndarray, "V"]]:
        """By epoch: the validation losses [V] that were predicted from; V = 1 of a single network."""
        self.collect()
        return self._losses

    def go_on(self, rows: pa.Table, numbers: Sequence[int]) -> None:
        """Resume from the rows that a stopped run's `epochs.parquet` has for these variants."""
        self.goes_on = True
        for epoch in sorted(set(rows["epoch"].to_pylist())):
            at = {row["variant"]: row for row in rows.filter(pc.field("epoch") == epoch).to_pylist()}
            self._losses[epoch] = np.array([at[number]["val_loss"] for number in numbers], dtype=float)
            spectra = [at[number].get("spectrum") for number in numbers]
            if self.aelle is not None and None not in spectra:
                self.mean.add(curve(np.array(spectra), self.aelle.n_features_in_))

    def take(self, rows: Sequence[int]) -> None:
        """Continue with these variants of the population only."""
        self._losses = {epoch: losses[list(rows)] for epoch, losses in self._losses.items()}
        if self.mean.count.any():
            self.mean.take(rows)

    @property
    def identity(self) -> dict[str, Any]:
        return {"network": self.network, "model": self._digest, "monitor": self.monitor}

    @property
    def details(self) -> str:
        return self.lyapunov.details

    @cached_property
    def _digest(self) -> str:
        """Of all that the predictor has learned."""
        digest = hashlib.sha256(f"{type(self.predictor).__name__} {self.predictor.threshold}".encode())
        for name, array in self.predictor.arrays().items():
            digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def state_dict(self) -> dict[str, Any]:
        return {
            "total": torch.as_tensor(self.mean.total),
            "count": torch.as_tensor(self.mean.count),
            "losses": {epoch: torch.as_tensor(losses) for epoch, losses in self._losses.items()},
            "chances": {e: v if isinstance(v, float) else torch.as_tensor(v) for e, v in self._chances.items()},
            "outside": dict(self._outside),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Losses and spectra so far are ignored if `go_on` has already restored them."""
        self._chances = {e: v if isinstance(v, float) else v.numpy() for e, v in state_dict["chances"].items()}
        self._outside = state_dict["outside"]
        if not self.goes_on:
            self._losses = {epoch: losses.numpy() for epoch, losses in state_dict["losses"].items()}
            self.mean.total, self.mean.count = state_dict["total"].numpy(), state_dict["count"].numpy()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Raises UserError unless the spectra of an epoch are there when it is predicted from."""
        super().setup(trainer, pl_module, stage)
        callbacks: list[pl.Callback] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        before = callbacks[: callbacks.index(self)]
        if stage == "fit" and not any(one is self.lyapunov for one in before):
            where = "comes after it" if any(one is self.lyapunov for one in callbacks) else "is not there"
            raise UserError(
                f"{type(self).__name__} among the trainer's callbacks: its LyapunovCallback of {self.network!r} "
                f"{where}; give callbacks=[lyapunov, prediction]"
            )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Predict before training, or where a resumed training's last epoch has only now been measured."""
        self.goes_on = False
        epoch = trainer.current_epoch
        known = epoch == 0 or epoch in self.lyapunov.spectra
        if known and epoch not in self._chances and between_epochs(trainer):
            self._predict(trainer, pl_module, epoch)
            log_now(trainer, {name: float(value) for name, value in self._logged(trainer, epoch).items()})

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The trainer keeps a metric until it is logged again, then as another tensor: this one is of the past."""
        self.stale = trainer.callback_metrics.get(self.monitor)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        self._predict(trainer, pl_module, epoch)
        for name, value in self._logged(trainer, epoch).items():
            pl_module.log(name, value.to(pl_module.device))

    def _logged(self, trainer: pl.Trainer, epoch: int) -> dict[str, torch.Tensor]:
        """Nothing after an epoch without a prediction."""
        if epoch not in self._chances:
            return {}
        chances = torch.as_tensor(self._chances[epoch], dtype=torch.float64)
        return {self.logged_as("chance", trainer): chances.nanmedian()}

    def _predict(self, trainer: pl.Trainer, pl_module: pl.LightningModule, epoch: int) -> None:
        population = isinstance(pl_module, PopulationModule)
        if population:
            pl_module.metrics.pop("chance", None)
        given = self._given(trainer, pl_module, epoch)
        if given is None:
            return
        chances, outside = self._told(given)
        if np.isnan(chances).all() and not given.diverged.all():
            return
        chances[given.diverged] = np.nan
        if population:
            # A variant whose gradient was not finite still has finite weights, a finite loss and a finite spectrum.
            chances[pl_module.diverged().cpu().numpy()] = np.nan
            pl_module.metrics["chance"] = torch.as_tensor(chances)
        members = population or any(one.exponents.ndim == 2 for one in self.lyapunov.spectra.values())
        one = not members and len(chances) == 1
        self._chances[epoch] = float(chances[0]) if one else chances
        self._outside[epoch] = outside[0] if one else outside

    def _given(self, trainer: pl.Trainer, pl_module: pl.LightningModule, epoch: int) -> Observed | None:
        """What is known of the networks; None if that is nothing."""
        epochs = self._epochs(trainer, epoch)
        if isinstance(pl_module, PopulationModule):
            self._losses[epoch] = pl_module.metrics["val_loss"].double().cpu().numpy()
            frame = pd.DataFrame([v.hyperparameters for v in pl_module.variants])
        else:
            frame = None if self.hyperparameters is None else pd.DataFrame([dict(self.hyperparameters)])
            # What was logged before training, by a validation, is not in the trainer's metrics any more.
            loss = trainer.callback_metrics.get(self.monitor) if epoch > 0 else None
            if loss is not None and loss is not self.stale:
                self._losses[epoch] = np.array([float(loss)])
        losses = lost = None
        if epoch in self._losses:
            unknown = np.full_like(self._losses[epoch], np.nan)
            losses = np.stack([self._losses.get(k, unknown) for k in range(epoch + 1)], 1)
            losses = np.where(np.isfinite(losses), losses, np.nan)
            # This epoch's was measured: where it is not finite, NaN included, the network has diverged.
            lost = np.isnan(losses[:, -1])
        spectra = None
        if self.aelle is not None and epoch in self.lyapunov.spectra:
            exponents = self.lyapunov.spectra[epoch].exponents.double().cpu().numpy()
            spectra = self._seen(np.atleast_2d(exponents), epoch / epochs, self.aelle.n_features_in_)
        if losses is None and spectra is None and frame is None:
            return None
        return Observed.of(epoch, epochs, losses, spectra, frame, lost)

    def _told(self, given: Observed) -> tuple[Float[np.ndarray, "V"], list[str]]:
        if isinstance(self.predictor, EarlyPredictor):
            prediction = self.predictor.predict(given)
            return prediction.chance, prediction.outside
        if given.spectra is None:
            return np.full(len(given), np.nan), [""] * len(given)
        outside = np.where(given.spectra.known | given.diverged, "", NO_SPECTRUM)
        return chances_of(self.predictor, given.spectra), outside.tolist()

    def _epochs(self, trainer: pl.Trainer, epoch: int) -> int:
        """How long the training is, at most; if it is open-ended, how long those were that the predictor was fitted to;
        if that is unknown or over, until now."""
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            return trainer.max_epochs
        if isinstance(self.predictor, EarlyPredictor):
            return max(self.predictor.epochs_, epoch)
        return max(int(self.predictor.learned_from_.get("epochs", 0)), epoch, 1)

    def _seen(self, spectra: Float[np.ndarray, "V K"], share: float, points: int) -> SpectraSoFar:
        """What spectra say, including these."""
        last, (V, K) = curve(spectra, points), spectra.shape
        return SpectraSoFar(last, self.mean.add(last), np.full(V, share), np.full(V, K))


def check_predictor(predictor: Any) -> None:
    """Raises UserError for what predicts no chances, NotFittedError for what does not do so yet."""
    check_kind("predictor", predictor, (EarlyPredictor, AeLLE), "fit or load one")
    if isinstance(predictor, EarlyPredictor):
        predictor.check_fitted()
    else:
        check_is_fitted(predictor, "committee_")
