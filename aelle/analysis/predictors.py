"""The rows of the report: the recommended predictor, its members, and the baselines."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from aelle.analysis.baselines import (
    AllVariants,
    LinearOnRunningMean,
    LinearOnSpectrum,
    LossAgainstFinalThreshold,
    LossAndHyperparameters,
    LossesSoFar,
    PooledLinearOnRunningMean,
    TunedLoss,
)
from aelle.analysis.predictor import LogOdds, Predictor
from aelle.lyapunov.spectra_so_far import SpectraSoFar
from aelle.model.estimator import AeLLE
from aelle.predictor.early_predictor import EarlyPredictor
from aelle.predictor.members import Member, Spectra
from aelle.predictor.observed import observed
from aelle.sweep.table import SweepTable

RECOMMENDED = "recommended"
WITHOUT_SPECTRA = "recommended, without spectra"


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


class Recommended(Predictor):
    """The stacked members."""

    name = RECOMMENDED
    sees_spectra = True

    def __init__(self, fitted: EarlyPredictor):
        self.fitted = fitted

    def score(self, sweep: SweepTable, k: int) -> LogOdds:
        return self.fitted.predict(observed(sweep, k)).log_odds


class WithoutSpectra(Predictor):
    """The stack of those members that see no spectra."""

    name = WITHOUT_SPECTRA

    def __init__(self, fitted: EarlyPredictor):
        self.fitted = fitted

    def score(self, sweep: SweepTable, k: int) -> LogOdds:
        return self.fitted.predict(replace(observed(sweep, k), spectra=None)).log_odds


class OneMember(Predictor):
    """A member alone."""

    def __init__(self, member: Member):
        self.member, self.name, self.sees_spectra = member, member.name, "spectra" in member.needs

    def score(self, sweep: SweepTable, k: int) -> LogOdds:
        given = observed(sweep, k)
        known = np.logical_and.reduce([given.known(name) for name in self.member.needs])
        scores = np.full(len(given), -np.inf)
        if known.any():
            scores[known] = self.member.log_odds(given.take(known))
        return scores


def predictors(known: SweepTable, fitted: EarlyPredictor, names: list[str]) -> list[Predictor]:
    """All rows, the recommended one first, fitted to the `known` variants. `names`: the hyperparameters that vary in
    the whole sweep."""
    assert fitted.model_ is not None
    members = [OneMember(member) for member in fitted.members_ if not isinstance(member, Spectra)]
    return [
        Recommended(fitted),
        WithoutSpectra(fitted),
        Plane(fitted.model_),
        LossHead(fitted.model_),
        *(row for row in members if row.sees_spectra),
        LinearOnRunningMean(known),
        PooledLinearOnRunningMean(known),
        LinearOnSpectrum(known),
        *(row for row in members if not row.sees_spectra),
        LossAndHyperparameters(known, names),
        LossAgainstFinalThreshold(),
        TunedLoss(known),
        LossesSoFar(known),
        AllVariants(),
    ]
