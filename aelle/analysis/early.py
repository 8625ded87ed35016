"""Early prediction: after epoch k, which variants will end low-error? All predictors are compared on the same splits.

A predictor is fitted to the known variants (training and validation) with all their epochs, and scored on test
variants, of which it sees epochs 0 to k only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn import config_context

from aelle.analysis.predictors import predictors
from aelle.analysis.scores import METRICS, score
from aelle.errors import TooFewError
from aelle.model.estimator import AeLLE
from aelle.model.fitting import fit_side_by_side
from aelle.model.samples import stratified_parts, sweep_sample
from aelle.predictor.early_predictor import EarlyPredictor
from aelle.predictor.observed import INPUTS, observed
from aelle.sweep.table import SweepTable

SPLIT_SHARES = (0.32, 0.08, 0.60)
"""Shares of the variants for training, validation and test: the paper's 64 / 16 / 120."""

STAGES = (0.0, 0.05, 0.2, 0.5, 1.0)
"""Shares of the training at which figures and tables show the predictors."""

INTERVAL = (0.025, 0.975)
"""Quantiles over the splits: a 95 % interval."""


WITHOUT_SPECTRA = ("losses", "hyperparameters")
"""The inputs that a training has without spectra."""


@dataclass(frozen=True)
class Study:
    """`scores`: a row per predictor, epoch and split, a column per metric. `predictions`: the log odds, a row per
    predictor that gives chances, epoch, split and test variant (its `row` in the sweep). `epochs`: the measured ones;
    `end`: the last epoch of training. Per split: `models`, its AeLLE; `tests`, its test variants; `recommended`, its
    combined predictor. `without_spectra`: names of the predictors that see no spectra.
    """

    scores: pd.DataFrame
    predictions: pd.DataFrame
    epochs: list[int]
    end: int
    models: list[AeLLE]
    tests: list[np.ndarray]
    recommended: list[EarlyPredictor]
    without_spectra: list[str]

    @property
    def splits(self) -> int:
        return self.scores["split"].nunique()

    @property
    def first_epoch(self) -> int:
        """The first measured epoch after epoch 0, if it is not the last: where prediction saves most."""
        return next((epoch for epoch in self.epochs if 0 < epoch < self.end), self.epochs[0])

    def stages(self, epochs: int) -> list[int]:
        """The measured epochs nearest to 0, 5, 20, 50 and 100 % of training."""
        return stages(self.epochs, epochs)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """A row per predictor and epoch: each metric's mean over the splits and its 95 % interval (`…_low`, `…_high`).

        Splits where a metric is NaN are left out of it, e.g. the precision where nothing is predicted low-error.
        """
        groups = self.scores.groupby(["predictor", "epoch"], sort=False)[list(METRICS)]
        low, high = (
            groups.quantile(share).add_suffix(end) for share, end in zip(INTERVAL, ("_low", "_high"), strict=True)
        )
        return pd.concat([groups.mean(), low, high], axis=1).reset_index()

    def best_without_spectra(self, epoch: int) -> str:
        """The predictor with the largest mean ROC AUC."""
        at = self.scores[(self.scores["epoch"] == epoch) & self.scores["predictor"].isin(self.without_spectra)]
        return str(at.groupby("predictor", sort=False)["auc"].mean().idxmax())

    def gain(self, epoch: int, predictor: str, other: str, metric: str = "auc") -> tuple[float, float, float]:
        """The mean difference of the two predictors on the same splits, and its 95 % interval over the splits."""
        at = self.scores[self.scores["epoch"] == epoch].pivot(index="split", columns="predictor", values=metric)
        difference = (at[predictor] - at[other]).dropna()
        low, high = difference.quantile(list(INTERVAL))
        return float(difference.mean()), float(low), float(high)

    def overtaken(self, predictor: str) -> int | None:
        """The first epoch from which on the best predictor without spectra has at least the same mean ROC AUC; None if
        there is none. The last epoch does not count: its loss is what was to be predicted.
        """
        means = self.scores.pivot_table(index="epoch", columns="predictor", values="auc")
        means = means[means.index < self.end]
        behind = means[self.without_spectra].max(axis=1) >= means[predictor]
        ahead = behind.index[~behind]
        later = behind.index[behind & (behind.index > (ahead.max() if len(ahead) else -1))]
        return int(later[0]) if len(later) else None

    def chances(self, complete: SweepTable, sweep: SweepTable) -> Float[np.ndarray, "V E"]:
        """Each variant's chance of low error after each epoch, by the combined predictor: the mean over the splits
        that were not fitted to the variant. NaN where the spectrum is not finite, and where every split was fitted to
        the variant.
        """
        V = len(sweep.losses)
        total, counted = np.zeros(sweep.losses.shape), np.zeros((V, 1))
        position = {number: row for row, number in enumerate(sweep.variants["variant"])}
        learned = np.array([position[number] for number in complete.variants["variant"]])
        for predictor, test in zip(self.recommended, self.tests, strict=True):
            unseen = np.ones(V, dtype=bool)
            unseen[learned] = False
            unseen[learned[test]] = True
            part = sweep.take(np.flatnonzero(unseen))
            for k in self.epochs:
                total[unseen, k] += predictor.predict(observed(part, k)).chance
            counted[unseen] += 1
        total[~np.isfinite(sweep.spectra).all(2)] = np.nan
        with np.errstate(invalid="ignore"):
            return total / counted


def stages(measured: Sequence[int], epochs: int) -> list[int]:
    """The measured epochs nearest to the report's shares of `epochs` of training."""
    known = np.array(measured)
    return sorted({int(known[np.abs(known - share * epochs).argmin()]) for share in STAGES})


def study(sweep: SweepTable, model: AeLLE, splits: int, split_shares: Sequence[float] = SPLIT_SHARES) -> Study:
    """Score every predictor after every measured epoch, on `splits` random splits of the variants into training,
    validation and test.

    `model` gives AeLLE's parameters; split s has seed `model.seed` + s. Raises TooFewError where a part of a split
    would lack a class.
    """
    if not sweep.measured_epochs:
        raise TooFewError(
            "no complete variant has a measured spectrum; train.py measures them (see its options lyapunov.…)"
        )
    seeds = range(model.seed, model.seed + splits)
    parts = [stratified_parts(sweep.low_error, split_shares, seed) for seed in seeds]
    models = [AeLLE(**{**model.get_params(), "seed": seed}) for seed in seeds]
    # A committee sets its classifier by the variants that it leaves out in turn, a single autoencoder by a fifth.
    known = [np.union1d(train, validation) for train, validation, _ in parts]
    fit_side_by_side(models, [sweep_sample(sweep, rows) for rows in known])
    with config_context(assume_finite=True, skip_parameter_validation=True):
        return _scored(sweep, models, [(rows, test) for rows, (_, _, test) in zip(known, parts, strict=True)])


def _scored(sweep: SweepTable, models: list[AeLLE], parts: list[tuple[np.ndarray, np.ndarray]]) -> Study:
    rows, predictions, recommended, without_spectra = [], [], [], {}
    for split, (model, (of_known, test)) in enumerate(zip(models, parts, strict=True)):
        known, scored = sweep.take(of_known), sweep.take(test)
        fitted = EarlyPredictor(sweep.threshold, seed=model.seed)
        fitted.fit_to(known, model, sweep.measured_epochs, (INPUTS, WITHOUT_SPECTRA))
        candidates = predictors(known, fitted, sweep.varied)
        recommended.append(fitted)
        for predictor in candidates:
            if not predictor.sees_spectra:
                without_spectra[predictor.name] = True
            for k in sweep.measured_epochs:
                found = predictor.score(scored, k)
                at = {"predictor": predictor.name, "epoch": k, "split": split}
                metrics = score(scored.low_error, found, found > 0, predictor.gives_chances)
                rows.append(at | metrics._asdict())
                if predictor.gives_chances:
                    log_odds = pd.DataFrame({**at, "row": test, "log_odds": found, "low_error": scored.low_error})
                    predictions.append(log_odds)
    tests = [test for _, test in parts]
    chances = pd.concat(predictions, ignore_index=True)
    epochs = sweep.measured_epochs
    return Study(pd.DataFrame(rows), chances, epochs, sweep.epochs, models, tests, recommended, list(without_spectra))
