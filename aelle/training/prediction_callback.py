"""Chances of low error during training, predicted by a model that was fitted to other networks.

Axes: V variant, K exponent, M point of the model's spectra.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytorch_lightning as pl
import torch
from jaxtyping import Float

from aelle.lyapunov.spectra_so_far import RunningMean, SpectraSoFar
from aelle.lyapunov.spectrum import curve
from aelle.model.chances import chances_of
from aelle.model.estimator import AeLLE
from aelle.tasks.module import PopulationModule
from aelle.training.lyapunov_callback import LyapunovCallback


class PredictionCallback(pl.Callback):
    """After every epoch with a spectrum, predicts with `model` the chance of each network that `lyapunov` measures.

    Comes after `lyapunov` among the trainer's callbacks. `.chances` maps the epoch (0 = before training) to the chances
    of low error [V] (V = 1 for a single network), NaN where the network has diverged; a population's `metrics` contain
    those of the last epoch. The trainer's logger gets `lyapunov/chance`, a population's median.
    """

    def __init__(self, model: AeLLE, lyapunov: LyapunovCallback):
        self.model, self.lyapunov = model, lyapunov
        self.chances: dict[int, Float[np.ndarray, "V"]] = {}
        self.mean = RunningMean()

    def go_on(self, rows: pa.Table, numbers: Sequence[int]) -> None:
        """Resume from the rows that a stopped run's `epochs.parquet` has for these variants."""
        for epoch in sorted(set(rows["epoch"].to_pylist())):
            at = {row["variant"]: row for row in rows.filter(pc.field("epoch") == epoch).to_pylist()}
            spectra = [at[number].get("spectrum") for number in numbers]
            if None not in spectra:
                self.mean.add(curve(np.array(spectra), self.model.n_features_in_))

    def take(self, rows: Sequence[int]) -> None:
        """Continue with these variants of the population only."""
        self.mean.take(rows)

    @property
    def state_key(self) -> str:
        """Distinguishes several of these callbacks in one trainer."""
        weights = self.model.committee_.networks.head.weight.detach().numpy().tobytes()
        return self._generate_state_key(watches=self.lyapunov.network, model=hashlib.sha256(weights).hexdigest()[:8])

    def state_dict(self) -> dict[str, Any]:
        """Saved in the trainer's checkpoint, so that users' own trainings can resume."""
        return {"total": torch.as_tensor(self.mean.total), "count": torch.as_tensor(self.mean.count)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Ignored if `go_on` has already restored the mean."""
        if not self.mean.count.any():
            self.mean.total, self.mean.count = state_dict["total"].numpy(), state_dict["count"].numpy()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 0:
            self.mean = RunningMean()
            self._predict(trainer, pl_module, 0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        self._predict(trainer, pl_module, epoch)
        if epoch in self.chances:
            pl_module.log("lyapunov/chance", torch.as_tensor(self.chances[epoch]).nanmedian())

    def _predict(self, trainer: pl.Trainer, pl_module: pl.LightningModule, epoch: int) -> None:
        population = isinstance(pl_module, PopulationModule)
        if population:
            pl_module.metrics.pop("chance", None)
        if epoch not in self.lyapunov.spectra:
            return
        exponents = self.lyapunov.spectra[epoch].exponents.double().cpu().numpy()
        chances = chances_of(self.model, self._seen(np.atleast_2d(exponents), epoch / self._epochs(trainer)))
        if population:
            # A variant whose gradient was not finite still has finite weights and a finite spectrum.
            chances[pl_module.diverged().cpu().numpy()] = np.nan
            pl_module.metrics["chance"] = torch.as_tensor(chances)
        self.chances[epoch] = chances

    def _epochs(self, trainer: pl.Trainer) -> int:
        """How long the training is, at most; if it is open-ended, how long those were that the model was fitted to; if
        that is unknown, too, until now."""
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            return trainer.max_epochs
        return int(self.model.learned_from_.get("epochs", 0)) or trainer.current_epoch + 1

    def _seen(self, spectra: Float[np.ndarray, "V K"], share: float) -> SpectraSoFar:
        """What spectra say, including these."""
        last, (V, K) = curve(spectra, self.model.n_features_in_), spectra.shape
        return SpectraSoFar(last, self.mean.add(last), np.full(V, min(share, 1.0)), np.full(V, K))
