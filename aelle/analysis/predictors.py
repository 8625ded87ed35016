"""The rows of the report: the recommended predictor, its members, and the baselines."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import logit

from aelle.analysis.baselines import (
    AllVariants,
    LinearOnRunningMean,
    LinearOnSpectrum,
    LossAgainstFinalThreshold,
    LossesSoFar,
    PooledLinearOnRunningMean,
    TunedLoss,
)
from aelle.analysis.predictor import LogOdds, Predictor
from aelle.model.estimator import AeLLE
from aelle.predictor.early_predictor import EarlyPredictor
from aelle.predictor.observed import Observed, observed
from aelle.predictor.prediction import Prediction
from aelle.sweep.table import SweepTable

RECOMMENDED = "recommended"
WITHOUT_SPECTRA = "recommended, without spectra"


class Judged(NamedTuple):
    """What is `given` of variants after an epoch, what the members have `said` of them, and that `combined`."""

    given: Observed
    said: Float[np.ndarray, "V m"]
    combined: Prediction


class Heard:
    """The judgement of a fitted predictor of a sweep's variants after an epoch, found once for all rows. `guarded`: see
    `EarlyPredictor.combined`."""

    def __init__(self, fitted: EarlyPredictor, guarded: bool = True):
        self.fitted, self.guarded = fitted, guarded
        self.last: tuple[SweepTable, int, Judged] | None = None

    def __call__(self, sweep: SweepTable, k: int) -> Judged:
        if self.last is None or self.last[0] is not sweep or self.last[1] != k:
            given = self.fitted.readable(observed(sweep, k))
            said = self.fitted.said(given)
            self.last = sweep, k, Judged(given, said, self.combined(given, said))
        return self.last[2]

    def combined(self, given: Observed, said: Float[np.ndarray, "V m"]) -> Prediction:
        return self.fitted.combined(given, said, self.guarded)

    def filled(self, judged: Judged, log_odds: LogOdds) -> LogOdds:
        """Where nothing is said, the share of low error among the known variants; of diverged ones, −∞."""
        said = np.where(np.isnan(log_odds), logit(self.fitted.base_rate_), log_odds)
        return np.where(judged.given.diverged, -np.inf, said)


class Recommended(Predictor):
    """The stacked members."""

    name = RECOMMENDED
    sees_spectra = True

    def __init__(self, heard: Heard):
        self.heard = heard

    def score(self, sweep: SweepTable, k: int) -> LogOdds:
        judged = self.heard(sweep, k)
        return self.heard.filled(judged, judged.combined.log_odds)


class WithoutSpectra(Predictor):
    """The stack of those members that see no spectra."""

    name = WITHOUT_SPECTRA

    def __init__(self, heard: Heard):
        self.heard = heard

    def score(self, sweep: SweepTable, k: int) -> LogOdds:
        judged = self.heard(sweep, k)
        without = replace(judged.given, spectra=None)
        return self.heard.filled(judged, self.heard.combined(without, judged.said).log_odds)


class OneMember(Predictor):
    """A member alone."""

    def __init__(self, heard: Heard, m: int):
        member = heard.fitted.members_[m]
        self.heard, self.m, self.name, self.sees_spectra = heard, m, member.name, "spectra" in member.needs

    def score(self, sweep: SweepTable, k: int) -> LogOdds:
        judged = self.heard(sweep, k)
        return self.heard.filled(judged, judged.said[:, self.m] + self.heard.fitted.prior_shift_)


class Plane(Predictor):
    """AeLLE's classifier on the plane."""

    name = "AeLLE, plane"
    sees_spectra = True

    def __init__(self, model: AeLLE):
        self.model = model

    def score(self, sweep: SweepTable, k: int) -> LogOdds:
        seen = sweep.seen(k)
        known, scores = seen.known, np.full(len(seen), -np.inf)
        if known.any():
            scores[known] = self.model.decision_function(seen.take(known))
        return scores


def predictors(known: SweepTable, heard: Heard) -> list[Predictor]:
    """All rows, the recommended one first, fitted to the `known` variants as that of `heard` was."""
    fitted = heard.fitted
    members = [OneMember(heard, m) for m in range(len(fitted.members_))]
    return [
        Recommended(heard),
        WithoutSpectra(heard),
        *([] if fitted.model_ is None else [Plane(fitted.model_)]),
        *(row for row in members if row.sees_spectra),
        LinearOnRunningMean(known),
        PooledLinearOnRunningMean(known),
        LinearOnSpectrum(known),
        *(row for row in members if not row.sees_spectra),
        LossAgainstFinalThreshold(),
        TunedLoss(known),
        LossesSoFar(known),
        AllVariants(),
    ]
