"""Who predicts which variants will end low-error: AeLLE, the regressions beside it, and both together."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from aelle.analysis.predictor import CERTAIN, Predictor, Scores, where_known
from aelle.analysis.regressions import (
    Extrapolation,
    Hyperparameters,
    LossAndHyperparameters,
    LossesSoFar,
    SpectraOfAllEpochs,
    SpectraSoFar,
    Spectrum,
    SpectrumFeatures,
    TunedLoss,
)
from aelle.model.estimator import AeLLE
from aelle.sweep.table import SweepTable

COMBINED = "AeLLE with loss and hyperparameters"


class Plane(Predictor):
    """AeLLE's classifier; a variant whose spectrum is not finite has diverged."""

    name = "AeLLE"
    sees_spectra = True

    def __init__(self, model: AeLLE):
        self.model = model

    def score(self, sweep: SweepTable, k: int) -> Scores:
        return where_known(sweep.seen(self.model.running_mean)[:, k], self.model.decision_function)


class LossHead(Predictor):
    """The loss that AeLLE's autoencoder predicts; how far to trust it is learned on the validation variants."""

    name = "AeLLE's loss head"
    sees_spectra = True

    def __init__(self, model: AeLLE, validation: SweepTable):
        self.model = model
        rows = validation.seen(model.running_mean)[:, validation.measured_epochs]
        low = np.repeat(validation.low_error, rows.shape[1])
        rows = rows.reshape(-1, rows.shape[-1])
        known = np.isfinite(rows).all(1)
        self.regression = LogisticRegression().fit(model.margin(rows[known])[:, None], low[known])

    def score(self, sweep: SweepTable, k: int) -> Scores:
        rows = sweep.seen(self.model.running_mean)[:, k]
        return where_known(rows, lambda known: self.regression.decision_function(self.model.margin(known)[:, None]))


class LossAgainstFinalThreshold(Predictor):
    """The paper's baseline: the loss at epoch k held against the threshold of the final loss."""

    name = "loss below the final threshold"
    gives_chances = False

    def score(self, sweep: SweepTable, k: int) -> Scores:
        return sweep.threshold - np.nan_to_num(sweep.losses[:, k], nan=np.inf)


class EveryVariant(Predictor):
    """Keeps all: what any predictor must beat."""

    name = "every variant"
    gives_chances = False

    def score(self, sweep: SweepTable, k: int) -> Scores:
        return np.ones(len(sweep.losses))


class Combination(Predictor):
    """The mean of the log odds of several: none of them needs to be weighed on few variants."""

    sees_spectra = True

    def __init__(self, *members: Predictor):
        self.members, self.name = members, COMBINED

    def score(self, sweep: SweepTable, k: int) -> Scores:
        return np.mean([np.clip(member.score(sweep, k), -CERTAIN, CERTAIN) for member in self.members], 0)


def predictors(known: SweepTable, validation: SweepTable, model: AeLLE, names: list[str]) -> list[Predictor]:
    """All of them, the recommended one first, made from the variants that are not scored; `model` was fitted to some
    of those. `names`: the hyperparameters to look at, those that vary in the whole sweep."""
    head, without = LossHead(model, validation), LossAndHyperparameters(known, names)
    alone = [Hyperparameters(known, names)] if names else []
    return [
        Combination(head, without),
        Plane(model),
        head,
        SpectraSoFar(known),
        SpectraOfAllEpochs(known),
        Spectrum(known),
        SpectrumFeatures(known),
        without,
        *alone,
        LossAgainstFinalThreshold(),
        TunedLoss(known),
        LossesSoFar(known),
        Extrapolation(known),
        EveryVariant(),
    ]
