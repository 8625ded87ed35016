"""The baselines: rules on the loss, and regressions on losses or spectra.

Axes: V variant, F input of a regression.
"""

from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression

from aelle.analysis.predictor import MAX_LOG_ODDS, Inputs, LogOdds, Predictor, where_known
from aelle.lyapunov.spectrum import signed_log
from aelle.predictor.members import log_losses
from aelle.predictor.ridge import fit_ridge
from aelle.sweep.table import SweepTable

MIN_VARIANTS = 3
"""Known variants with finite inputs and a finite final loss that a fit needs; with fewer, all log odds are 0."""


class LossAgainstFinalThreshold(Predictor):
    """The paper's baseline: the loss at epoch k compared with the threshold of the final loss."""

    name = "loss < final threshold"
    gives_chances = False

    def score(self, sweep: SweepTable, k: int) -> LogOdds:
        return sweep.threshold - np.nan_to_num(sweep.losses[:, k], nan=np.inf)


class AllVariants(Predictor):
    """Predicts low error for all variants: the baseline of precision."""

    name = "all variants"
    gives_chances = False

    def score(self, sweep: SweepTable, k: int) -> LogOdds:
        return np.ones(len(sweep.losses))


class Regression(Predictor):
    """Fitted to inputs of the known variants, for each epoch k anew."""

    def __init__(self, known: SweepTable):
        self.known = known

    @abstractmethod
    def inputs(self, sweep: SweepTable, k: int) -> Inputs: ...

    @abstractmethod
    def learn(
        self, inputs: Inputs, final: Float[np.ndarray, "V"], draws: Int[np.ndarray, "V"] | None
    ) -> Callable[[Inputs], LogOdds]:
        """Fit to the final losses, and return the map from inputs to log odds. `draws`: which rows share a draw of the
        hyperparameters; None if none do."""

    def score(self, sweep: SweepTable, k: int) -> LogOdds:
        return where_known(self.inputs(sweep, k), self._learned(self.inputs(self.known, k)))

    def _learned(self, inputs: Inputs) -> Callable[[Inputs], LogOdds]:
        """From the inputs of the known variants, once or several times."""
        rows = np.flatnonzero(np.isfinite(inputs).all(1))
        variants = rows % len(self.known.losses)
        final, draws = self.known.final_loss[variants], self.known.draws
        if np.isfinite(final).sum() < MIN_VARIANTS:
            return _undecided
        return self.learn(inputs[rows], final, None if draws is None else draws[variants])


class Logistic(Regression):
    """Logistic regression on the class."""

    def learn(
        self, inputs: Inputs, final: Float[np.ndarray, "V"], draws: Int[np.ndarray, "V"] | None
    ) -> Callable[[Inputs], LogOdds]:
        low = final < self.known.threshold
        if low.all() or not low.any():
            return lambda rows: np.full(len(rows), MAX_LOG_ODDS if low.all() else -MAX_LOG_ODDS)
        mean, scale = inputs.mean(0), inputs.std(0)
        scale = np.where(scale < 1e-9, 1.0, scale)
        fitted = LogisticRegression(solver="newton-cholesky").fit((inputs - mean) / scale, low)
        return lambda rows: (rows - mean) / scale @ fitted.coef_[0] + fitted.intercept_[0]


class Ridge(Regression):
    """Ridge regression on the log of the final loss. Its leave-one-out error is the standard deviation of a normal
    distribution of the log loss, which gives the chance that the loss ends below the threshold."""

    def learn(
        self, inputs: Inputs, final: Float[np.ndarray, "V"], draws: Int[np.ndarray, "V"] | None
    ) -> Callable[[Inputs], LogOdds]:
        ridge, _ = fit_ridge(inputs, np.log(np.nan_to_num(final, nan=final[np.isfinite(final)].max())), draws)
        return lambda rows: ridge.log_odds_below(np.log(self.known.threshold), ridge.predict(rows))


class TunedLoss(Logistic):
    """The loss at epoch k, with a threshold fitted for each epoch."""

    name = "loss, threshold tuned per epoch"

    def inputs(self, sweep: SweepTable, k: int) -> Inputs:
        return _log_losses(self.known, sweep, k)[:, k:]


class LossesSoFar(Logistic):
    """All losses up to epoch k."""

    name = "losses so far"

    def inputs(self, sweep: SweepTable, k: int) -> Inputs:
        return _log_losses(self.known, sweep, k)


class LinearOnSpectrum(Ridge):
    """The spectrum at epoch k."""

    name = "spectrum, linear"
    sees_spectra = True

    def inputs(self, sweep: SweepTable, k: int) -> Inputs:
        return signed_log(sweep.spectra[:, k])


class LinearOnRunningMean(Ridge):
    """The running mean of the spectra up to epoch k."""

    name = "running mean of spectra, linear"
    sees_spectra = True

    def inputs(self, sweep: SweepTable, k: int) -> Inputs:
        return signed_log(sweep.running_means[:, k])


class PooledLinearOnRunningMean(LinearOnRunningMean):
    """The same, but one model fitted to all epochs together, without the epoch as an input."""

    name = "running mean of spectra, linear, pooled"

    def score(self, sweep: SweepTable, k: int) -> LogOdds:
        return where_known(self.inputs(sweep, k), self._fitted)

    @cached_property
    def _fitted(self) -> Callable[[Inputs], LogOdds]:
        epochs = self.known.measured_epochs
        return self._learned(np.concatenate([self.inputs(self.known, k) for k in epochs]))


def _undecided(inputs: Inputs) -> LogOdds:
    return np.zeros(len(inputs))


def _log_losses(known: SweepTable, sweep: SweepTable, k: int) -> Float[np.ndarray, "V epochs"]:
    """Log losses of epochs 0 to k. Those not finite, or worse than all known ones, are set to the worst known one."""
    worst = np.nanmax(known.losses, axis=0, initial=known.threshold)
    return log_losses(sweep.losses[:, : k + 1], worst)
