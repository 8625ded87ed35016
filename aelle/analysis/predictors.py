"""The predictors that the report compares: AeLLE, regressions, and the combination of both that it recommends."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from aelle.analysis.baselines import (
    AllVariants,
    Extrapolation,
    Hyperparameters,
    LinearOnFeatures,
    LinearOnRunningMean,
    LinearOnSpectrum,
    LossAgainstFinalThreshold,
    LossAndHyperparameters,
    LossesSoFar,
    PooledLinearOnRunningMean,
    TunedLoss,
)
from aelle.analysis.predictor import MAX_LOG_ODDS, LogOdds, Predictor, where_known
from aelle.model.estimator import AeLLE
from aelle.sweep.table import SweepTable

COMBINED = "AeLLE with loss and hyperparameters"


class Plane(Predictor):
    """AeLLE's classifier on the plane."""

    name = "AeLLE, plane"
    sees_spectra = True

    def __init__(self, model: AeLLE):
        self.model = model

    def score(self, sweep: SweepTable, k: int) -> LogOdds:
        return where_known(sweep.seen(self.model.running_mean)[:, k], self.model.decision_function)


class LossHead(Predictor):
    """The loss that AeLLE's autoencoder predicts, calibrated on the validation variants."""

    name = "AeLLE, loss head"
    sees_spectra = True

    def __init__(self, model: AeLLE, validation: SweepTable):
        self.model = model
        rows = validation.seen(model.running_mean)[:, validation.measured_epochs]
        low = np.repeat(validation.low_error, rows.shape[1])
        rows = rows.reshape(-1, rows.shape[-1])
        known = np.isfinite(rows).all(1)
        self.regression = LogisticRegression().fit(model.margin(rows[known])[:, None], low[known])

    def score(self, sweep: SweepTable, k: int) -> LogOdds:
        rows = sweep.seen(self.model.running_mean)[:, k]
        return where_known(rows, lambda known: self.regression.decision_function(self.model.margin(known)[:, None]))


class Combination(Predictor):
    """The mean of the log odds of several predictors: no weights to be fitted to few variants."""

    sees_spectra = True

    def __init__(self, *members: Predictor):
        self.members, self.name = members, COMBINED

    def score(self, sweep: SweepTable, k: int) -> LogOdds:
        return np.mean([np.clip(member.score(sweep, k), -MAX_LOG_ODDS, MAX_LOG_ODDS) for member in self.members], 0)


def predictors(known: SweepTable, validation: SweepTable, model: AeLLE, names: list[str]) -> list[Predictor]:
    """All predictors, the recommended one first, fitted to the `known` variants. `model` was fitted to the known
    variants outside `validation`. `names`: the hyperparameters that vary in the whole sweep."""
    head, without = LossHead(model, validation), LossAndHyperparameters(known, names)
    alone = [Hyperparameters(known, names)] if names else []
    return [
        Combination(head, without),
        Plane(model),
        head,
        LinearOnRunningMean(known),
        PooledLinearOnRunningMean(known),
        LinearOnSpectrum(known),
        LinearOnFeatures(known),
        without,
        *alone,
        LossAgainstFinalThreshold(),
        TunedLoss(known),
        LossesSoFar(known),
        Extrapolation(known),
        AllVariants(),
    ]
