"""Early prediction: after epoch k, which variants will end low-error? AeLLE beside the baselines a reader asks for.

Every predictor learns from the training variants, of which it may see everything, and is scored on test variants, of
which it sees epochs 0 to k only.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from aelle.evaluation import Scores, best_f1_cut, score, stratified_parts
from aelle.model import AeLLE, Sample, fit_side_by_side
from aelle.table import SweepTable, numeric

SHARES = (0.32, 0.08, 0.60)
"""Of the variants, for training, validation and test: the paper's 64 / 16 / 120."""


STAGES = (0.0, 0.05, 0.2, 0.5, 1.0)


@dataclass(frozen=True)
class Study:
    """`scores`: a row per predictor, epoch and split. `chances` [V, E]: each variant's chance of ending low-error as
    AeLLE sees it after each measured epoch, averaged over the splits in which it was a test variant. `model` and
    `test`: the first split's, for pictures.
    """

    scores: pd.DataFrame
    chances: Float[np.ndarray, "V E"]
    epochs: list[int]
    model: AeLLE
    test: np.ndarray

    def stages(self, epochs: int) -> list[int]:
        """The measured epochs nearest to 0, 5, 20, 50 and 100 % of training."""
        measured = np.array(self.epochs)
        return sorted({int(measured[np.abs(measured - share * epochs).argmin()]) for share in STAGES})

    def summary(self) -> pd.DataFrame:
        """Mean over the splits."""
        return self.scores.drop(columns="split").groupby(["predictor", "epoch"], sort=False).mean().reset_index()


class Predictor(ABC):
    """Scores variants (higher: rather low-error) and decides which to keep, from what epochs 0 to k show."""

    name: str

    @abstractmethod
    def score(self, sweep: SweepTable, k: int) -> Float[np.ndarray, "V"]: ...

    @abstractmethod
    def keep(self, sweep: SweepTable, k: int) -> Bool[np.ndarray, "V"]: ...


class Spectrum(Predictor):
    """AeLLE on the spectrum at epoch k."""

    name = "AeLLE"

    def __init__(self, model: AeLLE):
        self.model = model

    def score(self, sweep: SweepTable, k: int) -> Float[np.ndarray, "V"]:
        return self.model.decision_function(sweep.spectra[:, k])

    def keep(self, sweep: SweepTable, k: int) -> Bool[np.ndarray, "V"]:
        return self.score(sweep, k) > 0


class LossAgainstFinalThreshold(Predictor):
    """The paper's baseline: the loss at epoch k held against the threshold of the final loss."""

    name = "loss below the final threshold"

    def score(self, sweep: SweepTable, k: int) -> Float[np.ndarray, "V"]:
        return -np.nan_to_num(sweep.losses[:, k], nan=np.inf)

    def keep(self, sweep: SweepTable, k: int) -> Bool[np.ndarray, "V"]:
        return sweep.losses[:, k] < sweep.threshold


class LossWithOwnThreshold(LossAgainstFinalThreshold):
    """The loss at epoch k, held against the threshold that serves the training variants best at that epoch."""

    name = "loss, threshold tuned per epoch"

    def __init__(self, training: SweepTable):
        self.training = training

    def keep(self, sweep: SweepTable, k: int) -> Bool[np.ndarray, "V"]:
        return self.score(sweep, k) > best_f1_cut(self.training.low_error, self.score(self.training, k))


class Hyperparameters(Predictor):
    """The hyperparameters alone in a logistic regression, with the threshold that serves the training variants best."""

    def __init__(self, training: SweepTable):
        self.names = training.varied
        self.name = f"{', '.join(self.names)} alone"
        self.regression = make_pipeline(StandardScaler(), LogisticRegression())
        self.regression.fit(numeric(training.variants, self.names), training.low_error)
        self.cut = best_f1_cut(training.low_error, self.score(training, 0))

    def score(self, sweep: SweepTable, k: int) -> Float[np.ndarray, "V"]:
        return self.regression.decision_function(numeric(sweep.variants, self.names))

    def keep(self, sweep: SweepTable, k: int) -> Bool[np.ndarray, "V"]:
        return self.score(sweep, k) > self.cut


class EveryVariant(Predictor):
    """Keeps all: what any predictor must beat."""

    name = "every variant"

    def score(self, sweep: SweepTable, k: int) -> Float[np.ndarray, "V"]:
        return np.zeros(len(sweep.losses))

    def keep(self, sweep: SweepTable, k: int) -> Bool[np.ndarray, "V"]:
        return np.ones(len(sweep.losses), dtype=bool)


def study(sweep: SweepTable, model: AeLLE, splits: int) -> Study:
    """Score every predictor after every measured epoch, on `splits` random splits of the variants.

    `model` gives AeLLE's parameters; split s has seed `model.seed` + s. Raises UserError where a part would lack a
    class.
    """
    epochs = sweep.measured_epochs
    seeds = range(model.seed, model.seed + splits)
    parts = [stratified_parts(sweep.low_error, SHARES, seed) for seed in seeds]
    models = [AeLLE(**{**model.get_params(), "seed": seed}) for seed in seeds]
    fit_side_by_side(models, [_sample(sweep, train, validation) for train, validation, _ in parts])
    rows: list[tuple[str, int, int, Scores]] = []
    chances, counts = np.zeros_like(sweep.losses), np.zeros((len(sweep.losses), 1))
    for split, (fitted, (train, validation, test)) in enumerate(zip(models, parts, strict=True)):
        known, scored = sweep.take(np.union1d(train, validation)), sweep.take(test)
        for predictor in predictors(known, fitted):
            for k in epochs:
                scores = score(scored.low_error, predictor.score(scored, k), predictor.keep(scored, k))
                rows.append((predictor.name, k, split, scores))
        for k in epochs:
            chances[test, k] += fitted.predict_proba(scored.spectra[:, k])[:, 1]
        counts[test] += 1
    scores = pd.DataFrame([{"predictor": p, "epoch": k, "split": s, **row._asdict()} for p, k, s, row in rows])
    with np.errstate(invalid="ignore"):
        return Study(scores, chances / counts, epochs, models[0], parts[0][2])


def predictors(known: SweepTable, model: AeLLE) -> list[Predictor]:
    """All predictors, tuned on the variants that are not scored."""
    alone = [Hyperparameters(known)] if known.varied else []
    return [Spectrum(model), LossAgainstFinalThreshold(), LossWithOwnThreshold(known), *alone, EveryVariant()]


def _sample(sweep: SweepTable, train: np.ndarray, validation: np.ndarray) -> Sample:
    """A row per variant and measured epoch, each with the variant's final loss."""

    def rows(variants: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        spectra = sweep.spectra[variants][:, sweep.measured_epochs]
        losses = np.nan_to_num(sweep.final_loss[variants], nan=np.inf)
        return spectra.reshape(-1, spectra.shape[-1]), np.repeat(losses, spectra.shape[1])

    return Sample(*rows(train), validation=rows(validation))
