"""Early prediction: after epoch k, which variants will end low-error? AeLLE beside the baselines a reader asks for.

Every predictor learns from the known variants (training and validation), of which it may see everything, and is scored
on test variants, of which it sees epochs 0 to k only. Each keeps the variants whose chance of low error it puts above
one half, but for the two that have nothing to learn.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from aelle.evaluation import Scores, score, stratified_parts
from aelle.model import AeLLE, Sample, fit_side_by_side
from aelle.table import SweepTable

SHARES = (0.32, 0.08, 0.60)
"""Of the variants, for training, validation and test: the paper's 64 / 16 / 120."""

STAGES = (0.0, 0.05, 0.2, 0.5, 1.0)
"""Shares of the training at which pictures and the printed table look."""


@dataclass(frozen=True)
class Study:
    """`scores`: a row per predictor, epoch and split. `models`, `tests`: each split's AeLLE and its test variants."""

    scores: pd.DataFrame
    epochs: list[int]
    models: list[AeLLE]
    tests: list[np.ndarray]

    def stages(self, epochs: int) -> list[int]:
        """The measured epochs nearest to 0, 5, 20, 50 and 100 % of training."""
        measured = np.array(self.epochs)
        return sorted({int(measured[np.abs(measured - share * epochs).argmin()]) for share in STAGES})

    def summary(self) -> pd.DataFrame:
        """Recall, precision and F1 of all splits' choices together, and the mean area, per predictor and epoch."""
        groups = self.scores.groupby(["predictor", "epoch"], sort=False)
        counts, auc = groups[["low", "kept", "hits"]].sum(), groups["auc"].mean()
        pooled = [Scores(*row) for row in zip(counts["low"], counts["kept"], counts["hits"], auc, strict=True)]
        rates = {name: [getattr(scores, name) for scores in pooled] for name in ("recall", "precision", "f1", "auc")}
        return pd.DataFrame(rates, index=counts.index).reset_index()

    def chances(self, ended: SweepTable, sweep: SweepTable) -> Float[np.ndarray, "V E"]:
        """Each variant's chance of ending low-error after each epoch, NaN where its spectrum is not known.

        The mean over the models that have not learned from it; NaN too for a variant that all have learned from.
        """
        V = len(sweep.losses)
        total, models = np.zeros(sweep.losses.shape), np.zeros((V, 1))
        position = {number: row for row, number in enumerate(sweep.variants["variant"])}
        learned = np.array([position[number] for number in ended.variants["variant"]])
        for model, test in zip(self.models, self.tests, strict=True):
            unseen = np.ones(V, dtype=bool)
            unseen[learned] = False
            unseen[learned[test]] = True
            for k in self.epochs:
                total[unseen, k] += _chance(model, sweep.spectra[unseen, k])
            models[unseen] += 1
        total[:, np.setdiff1d(np.arange(sweep.epochs + 1), self.epochs)] = np.nan
        with np.errstate(invalid="ignore"):
            return total / models


def _chance(model: AeLLE, spectra: Float[np.ndarray, "n M"]) -> Float[np.ndarray, "n"]:
    known = np.isfinite(spectra).all(1)
    chance = np.full(len(spectra), np.nan)
    if known.any():
        chance[known] = model.predict_proba(spectra[known])[:, 1]
    return chance


class Predictor(ABC):
    """Scores variants (higher: rather low-error) and decides which to keep, from what epochs 0 to k show."""

    name: str

    @abstractmethod
    def score(self, sweep: SweepTable, k: int) -> Float[np.ndarray, "V"]: ...

    def keep(self, sweep: SweepTable, k: int) -> Bool[np.ndarray, "V"]:
        """Those with a score above 0: log odds of low error."""
        return self.score(sweep, k) > 0


class Plane(Predictor):
    """AeLLE on the spectrum at epoch k; a variant whose spectrum is not finite has diverged."""

    name = "AeLLE"

    def __init__(self, model: AeLLE):
        self.model = model

    def score(self, sweep: SweepTable, k: int) -> Float[np.ndarray, "V"]:
        with np.errstate(divide="ignore"):
            chance = np.nan_to_num(_chance(self.model, sweep.spectra[:, k]))
            return np.log(chance) - np.log1p(-chance)


class LossAgainstFinalThreshold(Predictor):
    """The paper's baseline: the loss at epoch k held against the threshold of the final loss."""

    name = "loss below the final threshold"

    def score(self, sweep: SweepTable, k: int) -> Float[np.ndarray, "V"]:
        return sweep.threshold - np.nan_to_num(sweep.losses[:, k], nan=np.inf)


class TunedLoss(Predictor):
    """The logarithm of the loss at epoch k in a logistic regression: a threshold of its own for every epoch."""

    name = "loss, threshold tuned per epoch"

    def __init__(self, known: SweepTable):
        self.known = known

    def score(self, sweep: SweepTable, k: int) -> Float[np.ndarray, "V"]:
        worst = np.nanmax(self.known.losses[:, k], initial=self.known.threshold)

        def logs(table: SweepTable) -> Float[np.ndarray, "V 1"]:
            return np.log(np.fmin(np.nan_to_num(table.losses[:, k, None], nan=np.inf), worst))

        regression = make_pipeline(StandardScaler(), LogisticRegression())
        return regression.fit(logs(self.known), self.known.low_error).decision_function(logs(sweep))


class Hyperparameters(Predictor):
    """The hyperparameters that vary, alone, in a logistic regression."""

    def __init__(self, known: SweepTable):
        names = known.varied
        self.name, self.names = f"{', '.join(names)} alone", names
        numbers = make_column_selector(dtype_include="number")
        words = make_column_selector(dtype_exclude="number")
        columns = make_column_transformer((StandardScaler(), numbers), (OneHotEncoder(handle_unknown="ignore"), words))
        self.regression = make_pipeline(columns, LogisticRegression()).fit(known.variants[names], known.low_error)

    def score(self, sweep: SweepTable, k: int) -> Float[np.ndarray, "V"]:
        return self.regression.decision_function(sweep.variants[self.names])


class EveryVariant(Predictor):
    """Keeps all: what any predictor must beat."""

    name = "every variant"

    def score(self, sweep: SweepTable, k: int) -> Float[np.ndarray, "V"]:
        return np.ones(len(sweep.losses))


def study(sweep: SweepTable, model: AeLLE, splits: int) -> Study:
    """Score every predictor after every measured epoch, on `splits` random splits of the variants.

    `model` gives AeLLE's parameters; split s has seed `model.seed` + s. Raises TooFewError where a part would lack a
    class.
    """
    seeds = range(model.seed, model.seed + splits)
    parts = [stratified_parts(sweep.low_error, SHARES, seed) for seed in seeds]
    models = [AeLLE(**{**model.get_params(), "seed": seed}) for seed in seeds]
    fit_side_by_side(models, [_sample(sweep, train, validation) for train, validation, _ in parts])
    rows = []
    for split, (fitted, (train, validation, test)) in enumerate(zip(models, parts, strict=True)):
        known, scored = sweep.take(np.union1d(train, validation)), sweep.take(test)
        for predictor in predictors(known, fitted):
            for k in sweep.measured_epochs:
                found = score(scored.low_error, predictor.score(scored, k), predictor.keep(scored, k))
                rows.append({"predictor": predictor.name, "epoch": k, "split": split, **found._asdict()})
    return Study(pd.DataFrame(rows), sweep.measured_epochs, models, [test for _, _, test in parts])


def predictors(known: SweepTable, model: AeLLE) -> list[Predictor]:
    """All predictors, tuned on the variants that are not scored."""
    alone = [Hyperparameters(known)] if known.varied else []
    return [Plane(model), LossAgainstFinalThreshold(), TunedLoss(known), *alone, EveryVariant()]


def _sample(sweep: SweepTable, train: np.ndarray, validation: np.ndarray) -> Sample:
    """A row per variant and measured epoch with a finite spectrum, each with the variant's final loss."""

    def rows(variants: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        spectra = sweep.spectra[variants][:, sweep.measured_epochs]
        losses = np.repeat(np.nan_to_num(sweep.final_loss[variants], nan=np.inf), spectra.shape[1])
        spectra = spectra.reshape(-1, spectra.shape[-1])
        finite = np.isfinite(spectra).all(1)
        return spectra[finite], losses[finite]

    return Sample(*rows(train), validation=rows(validation))
