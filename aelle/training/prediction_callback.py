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

from aelle.lyapunov.spectra_so_far import RunningMean, SpectraSoFar
from aelle.lyapunov.spectrum import curve
from aelle.model.chances import chances_of
from aelle.model.estimator import AeLLE
from aelle.predictor.early_predictor import EarlyPredictor
from aelle.predictor.observed import Observed
from aelle.tasks.module import PopulationModule
from aelle.training.lyapunov_callback import LyapunovCallback


class PredictionCallback(pl.Callback):
    """After every epoch, predicts the chance of each network that `lyapunov` measures, from its losses and spectra so
    far and its hyperparameters.

    `predictor`: an `EarlyPredictor`, or an `AeLLE`, which predicts from spectra alone. A population has the validation
    losses and hyperparameters of its variants. For a network of your own, the loss is the metric `monitor`, which the
    module logs in an epoch's validation or training, before its end (after epochs without it, losses are not used), and
    `hyperparameters` maps names to its values.

    Comes after `lyapunov` among the trainer's callbacks. `.chances` maps the epoch (0 = before training) to the chances
    of low error [V] (V = 1 for a single network), NaN where the network has diverged; epochs without anything to
    predict from are missing. `.outside` maps it to what lies outside of what the predictor knows, in words, or "". A
    population's `metrics` contain the chances of the last epoch. The trainer's logger gets `lyapunov/chance`, a
    population's median.
    """

    def __init__(
        self,
        predictor: EarlyPredictor | AeLLE,
        lyapunov: LyapunovCallback,
        hyperparameters: Mapping[str, Any] | None = None,
        monitor: str = "val_loss",
    ):
        self.predictor, self.lyapunov = predictor, lyapunov
        self.hyperparameters, self.monitor = hyperparameters, monitor
        self.aelle = predictor if isinstance(predictor, AeLLE) else predictor.model_
        self.chances: dict[int, Float[np.ndarray, "V"]] = {}
        self.outside: dict[int, list[str]] = {}
        self.losses: dict[int, Float[np.ndarray, "V"]] = {}
        self.mean = RunningMean()
        self.stale: torch.Tensor | None = None

    def go_on(self, rows: pa.Table, numbers: Sequence[int]) -> None:
        """Resume from the rows that a stopped run's `epochs.parquet` has for these variants."""
        for epoch in sorted(set(rows["epoch"].to_pylist())):
            at = {row["variant"]: row for row in rows.filter(pc.field("epoch") == epoch).to_pylist()}
            self.losses[epoch] = np.array([at[number]["val_loss"] for number in numbers], dtype=float)
            spectra = [at[number].get("spectrum") for number in numbers]
            if self.aelle is not None and None not in spectra:
                self.mean.add(curve(np.array(spectra), self.aelle.n_features_in_))

    def take(self, rows: Sequence[int]) -> None:
        """Continue with these variants of the population only."""
        self.losses = {epoch: losses[list(rows)] for epoch, losses in self.losses.items()}
        if self.mean.count.any():
            self.mean.take(rows)

    @property
    def state_key(self) -> str:
        """Distinguishes several of these callbacks in one trainer."""
        return self._generate_state_key(watches=self.lyapunov.network, model=self._digest, monitor=self.monitor)

    @cached_property
    def _digest(self) -> str:
        """Of all that the predictor has learned."""
        digest = hashlib.sha256(f"{type(self.predictor).__name__} {self.predictor.threshold}".encode())
        for name, array in self.predictor.arrays().items():
            digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def state_dict(self) -> dict[str, Any]:
        """Saved in the trainer's checkpoint, so that users' own trainings can resume."""
        losses = {epoch: torch.as_tensor(losses) for epoch, losses in self.losses.items()}
        return {"total": torch.as_tensor(self.mean.total), "count": torch.as_tensor(self.mean.count), "losses": losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Ignored if `go_on` has already restored it."""
        if not self.losses:
            self.mean.total, self.mean.count = state_dict["total"].numpy(), state_dict["count"].numpy()
            self.losses = {epoch: losses.numpy() for epoch, losses in state_dict["losses"].items()}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 0:
            self.mean, self.losses = RunningMean(), {}
            self._predict(trainer, pl_module, 0)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The trainer keeps a metric until it is logged again, then as another tensor: this one is of the past."""
        self.stale = trainer.callback_metrics.get(self.monitor)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        self._predict(trainer, pl_module, epoch)
        if epoch in self.chances:
            pl_module.log("lyapunov/chance", torch.as_tensor(self.chances[epoch]).nanmedian())

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
        self.chances[epoch], self.outside[epoch] = chances, outside

    def _given(self, trainer: pl.Trainer, pl_module: pl.LightningModule, epoch: int) -> Observed | None:
        """What is known of the networks; None if that is nothing."""
        epochs = self._epochs(trainer, epoch)
        if isinstance(pl_module, PopulationModule):
            self.losses[epoch] = pl_module.metrics["val_loss"].double().cpu().numpy()
            frame = pd.DataFrame([v.hyperparameters for v in pl_module.variants])
        else:
            frame = None if self.hyperparameters is None else pd.DataFrame([dict(self.hyperparameters)])
            # What was logged before training, by a validation, is not in the trainer's metrics any more.
            loss = trainer.callback_metrics.get(self.monitor) if epoch > 0 else None
            if loss is not None and loss is not self.stale:
                self.losses[epoch] = np.array([float(loss)])
        losses = lost = None
        if epoch in self.losses:
            unknown = np.full_like(self.losses[epoch], np.nan)
            losses = np.stack([self.losses.get(k, unknown) for k in range(epoch + 1)], 1)
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
        nothing = np.full(len(given), np.nan)
        return nothing if given.spectra is None else chances_of(self.predictor, given.spectra), [""] * len(given)

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
