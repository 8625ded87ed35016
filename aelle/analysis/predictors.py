"""The predictors that the report compares: AeLLE, regressions, and the combination of both that it recommends."""

from collections.abc import Callable

import numpy as np

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
from aelle.analysis.predictor import MAX_LOG_ODDS, LogOdds, Predictor
from aelle.lyapunov.spectra_so_far import SpectraSoFar
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
        return _where_known(sweep.seen(k), self.model.decision_function)


class LossHead(Predictor):
    """The loss that AeLLE's autoencoders predict."""

    name = "AeLLE, loss head"
    sees_spectra = True

    def __init__(self, model: AeLLE):
        self.model = model

    def score(self, sweep: SweepTable, k: int) -> LogOdds:
        return _where_known(sweep.seen(k), self.model.loss_decision_function)


def _where_known(seen: SpectraSoFar, log_odds: Callable[[SpectraSoFar], LogOdds]) -> LogOdds:
    """The log odds where spectra are finite. The others have diverged: −∞."""
    known, scores = seen.known, np.full(len(seen), -np.inf)
    if known.any():
        scores[known] = log_odds(seen.take(known))
    return scores


class Combination(Predictor):
    """The mean of the log odds of several predictors: no weights to be fitted to few variants."""

    sees_spectra = True

    def __init__(self, *members: Predictor):
        self.members, self.name = members, COMBINED

    def score(self, sweep: SweepTable, k: int) -> LogOdds:
        return np.mean([np.clip(member.score(sweep, k), -MAX_LOG_ODDS, MAX_LOG_ODDS) for member in self.members], 0)


def predictors(known: SweepTable, model: AeLLE, names: list[str]) -> list[Predictor]:
    """All predictors, the recommended one first, fitted to the `known` variants, as `model` was. `names`: the
    hyperparameters that vary in the whole sweep."""
    head, without = LossHead(model), LossAndHyperparameters(known, names)
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
