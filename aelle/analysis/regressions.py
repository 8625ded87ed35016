"""Predictors that are regressions on losses, hyperparameters or spectra: the baselines a reader asks for.

Axes: V variant, F input of a regression.
"""

from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from aelle.analysis.features import FEATURES
from aelle.analysis.predictor import CERTAIN, Inputs, Predictor, Scores, where_known
from aelle.lyapunov.spectrum import signed_log
from aelle.sweep.table import SweepTable

PENALTIES = np.logspace(-2, 5, 22)
"""Of ridge regressions on standardised inputs, of which leave-one-out errors choose."""

FEWEST = 3
"""Known variants with inputs and a finite final loss; from fewer nothing is learned."""


class Regression(Predictor):
    """Learns from inputs of the known variants; one with inputs that are not finite has diverged."""

    def __init__(self, known: SweepTable):
        self.known = known

    @abstractmethod
    def inputs(self, sweep: SweepTable, k: int) -> Inputs: ...

    @abstractmethod
    def learn(self, inputs: Inputs, known: SweepTable) -> Callable[[Inputs], Scores]:
        """From inputs to log odds."""

    def score(self, sweep: SweepTable, k: int) -> Scores:
        inputs = self.inputs(self.known, k)
        rows = np.flatnonzero(np.isfinite(inputs).all(1))
        known = self.known.take(rows)
        enough = np.isfinite(known.final_loss).sum() >= FEWEST
        return where_known(self.inputs(sweep, k), self.learn(inputs[rows], known) if enough else _undecided)


class Logistic(Regression):
    """Logistic regression of the class."""

    def learn(self, inputs: Inputs, known: SweepTable) -> Callable[[Inputs], Scores]:
        low = known.low_error
        if low.all() or not low.any():
            return lambda rows: np.full(len(rows), CERTAIN if low.all() else -CERTAIN)
        return make_pipeline(StandardScaler(), LogisticRegression()).fit(inputs, low).decision_function


class Ridge(Regression):
    """Ridge regression of the final loss's logarithm; leave-one-out errors say how far its chance is from certainty."""

    def learn(self, inputs: Inputs, known: SweepTable) -> Callable[[Inputs], Scores]:
        finite = known.final_loss[np.isfinite(known.final_loss)]
        target = np.log(np.nan_to_num(known.final_loss, nan=finite.max()))
        scaler, ridge = StandardScaler().fit(inputs), RidgeCV(PENALTIES, store_cv_results=True)
        ridge.fit(scaler.transform(inputs), target)
        error = max(ridge.cv_results_.mean(0).min() ** 0.5, 1e-6)

        def log_odds(rows: Inputs) -> Scores:
            z = (np.log(known.threshold) - ridge.predict(scaler.transform(rows))) / error
            return norm.logcdf(z) - norm.logsf(z)

        return log_odds


class TunedLoss(Logistic):
    """The loss at epoch k: a threshold of its own for every epoch."""

    name = "loss, threshold tuned per epoch"

    def inputs(self, sweep: SweepTable, k: int) -> Inputs:
        return _log_losses(self.known, sweep, k)[:, k:]


class LossesSoFar(Logistic):
    """All losses up to epoch k."""

    name = "losses so far"

    def inputs(self, sweep: SweepTable, k: int) -> Inputs:
        return _log_losses(self.known, sweep, k)


class Extrapolation(Logistic):
    """The loss at the end as a power law has it that is fitted to the second half of the learning curve so far."""

    name = "learning curve, extrapolated"

    def inputs(self, sweep: SweepTable, k: int) -> Inputs:
        logs, first = _log_losses(self.known, sweep, k), max(1, k // 2)
        if k - first < 1:
            return logs[:, k:]
        at = np.log(np.arange(first, k + 1))
        slope = ((at - at.mean()) * logs[:, first:]).sum(1) / ((at - at.mean()) ** 2).sum()
        return (logs[:, first:].mean(1) + slope * (np.log(sweep.epochs) - at.mean()))[:, None]


class Hyperparameters(Logistic):
    """The hyperparameters that vary."""

    def __init__(self, known: SweepTable, names: list[str]):
        super().__init__(known)
        self.encode, self.name = _encoder(known, names), f"{', '.join(names)} alone"

    def inputs(self, sweep: SweepTable, k: int) -> Inputs:
        return self.encode(sweep)


class LossAndHyperparameters(Ridge):
    """What one has without spectra."""

    def __init__(self, known: SweepTable, names: list[str]):
        super().__init__(known)
        self.encode, self.name = _encoder(known, names), loss_and(names)

    def inputs(self, sweep: SweepTable, k: int) -> Inputs:
        return np.concatenate([_log_losses(self.known, sweep, k)[:, k:], self.encode(sweep)], 1)


class Spectrum(Ridge):
    """The spectrum at epoch k."""

    name = "spectrum, linear"
    sees_spectra = True

    def inputs(self, sweep: SweepTable, k: int) -> Inputs:
        return signed_log(sweep.spectra[:, k])


class SpectraSoFar(Ridge):
    """What AeLLE sees, in a linear model."""

    name = "spectra so far, linear"
    sees_spectra = True

    def inputs(self, sweep: SweepTable, k: int) -> Inputs:
        return signed_log(sweep.running_means[:, k])


class SpectraOfAllEpochs(SpectraSoFar):
    """What AeLLE sees and learns from, in a linear model: one for all epochs, which is not told the epoch."""

    name = "spectra so far, linear, one for all epochs"

    def score(self, sweep: SweepTable, k: int) -> Scores:
        return where_known(self.inputs(sweep, k), self._fitted)

    @cached_property
    def _fitted(self) -> Callable[[Inputs], Scores]:
        epochs = self.known.measured_epochs
        inputs = np.concatenate([self.inputs(self.known, k) for k in epochs])
        rows = np.tile(np.arange(len(self.known.losses)), len(epochs))
        measured = np.isfinite(inputs).all(1)
        known = self.known.take(rows[measured])
        enough = np.isfinite(known.final_loss).sum() >= FEWEST
        return self.learn(inputs[measured], known) if enough else _undecided


class SpectrumFeatures(Ridge):
    """The scalar features of the spectrum at epoch k."""

    name = "features of the spectrum"
    sees_spectra = True

    def inputs(self, sweep: SweepTable, k: int) -> Inputs:
        return np.stack([feature(sweep.spectra[:, k]) for feature in FEATURES.values()], 1)


def loss_and(names: list[str]) -> str:
    return f"loss and {', '.join(names)}" if names else "loss"


def _undecided(inputs: Inputs) -> Scores:
    return np.zeros(len(inputs))


def _log_losses(known: SweepTable, sweep: SweepTable, k: int) -> Float[np.ndarray, "V epochs"]:
    """Of epochs 0 to k; one that is not finite, or worse than any known one, is as bad as the worst of those."""
    worst = np.nanmax(known.losses[:, : k + 1], axis=0, initial=known.threshold)
    return np.log(np.fmin(np.nan_to_num(sweep.losses[:, : k + 1], nan=np.inf), worst))


def _encoder(known: SweepTable, names: list[str]) -> Callable[[SweepTable], Inputs]:
    """Numbers as they are, words that a known variant has as indicators."""
    words = {name: set(known.variants[name]) for name in names if not _is_number(known, name)}

    def encode(sweep: SweepTable) -> Inputs:
        columns = [np.zeros((len(sweep.losses), 0))]
        for name in names:
            values = sweep.variants[name]
            parts = [values == word for word in sorted(words[name])] if name in words else [values]
            columns += [part.to_numpy(np.float64)[:, None] for part in parts]
        return np.concatenate(columns, axis=1)

    return encode


def _is_number(sweep: SweepTable, name: str) -> bool:
    return pd.api.types.is_numeric_dtype(sweep.variants[name])
