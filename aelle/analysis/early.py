"""Early prediction: after epoch k, which variants will end low-error? All predictors are compared on the same splits.

A predictor is fitted to the known variants (training and validation) with all their epochs, and scored on test
variants, of which it sees epochs 0 to k only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy.special import expit
from scipy.stats import t
from sklearn import config_context

from aelle.analysis.predictors import RECOMMENDED, Heard, predictors
from aelle.analysis.processes import on_all_cores
from aelle.analysis.scores import METRICS, score
from aelle.errors import NothingVariesError, TooFewError
from aelle.model.estimator import AeLLE
from aelle.model.fitting import fit_side_by_side
from aelle.model.samples import LEAST_OF_A_CLASS, class_sample, stratified_parts, sweep_sample
from aelle.predictor.early_predictor import EarlyPredictor
from aelle.predictor.observed import INPUTS, observed
from aelle.sweep.table import SweepTable

SPLIT_SHARES = (0.32, 0.08, 0.60)
"""Shares of the variants for training, validation and test: the paper's 64 / 16 / 120."""

STAGES = (0.0, 0.05, 0.2, 0.5, 1.0)
"""Shares of the training at which figures and tables show the predictors."""

MAX_KNOWN = 800
"""Variants that the predictors of a split are fitted to, at most. Twice as many bring .0001 in ROC AUC to the made-up
sweep of `bench/analysis.py`."""

MAX_TESTED = 300
"""Variants that a split is tested on, at most."""

INTERVAL = (0.025, 0.975)
"""Quantiles over the splits: a 95 % interval."""


class Split(NamedTuple):
    """Rows of the sweep that predictors learn from, and rows that they are tested on."""

    known: Int[np.ndarray, "n"]
    tested: Int[np.ndarray, "m"]


class Chances(NamedTuple):
    """`mean`: the chance of low error; `outside`: whether the variant is unlike all known ones, so that its chance is
    the share of low error among them."""

    mean: Float[np.ndarray, "V E"]
    outside: Bool[np.ndarray, "V E"]


@dataclass(frozen=True)
class Study:
    """`scores`: a row per predictor, epoch and split, a column per metric. `predictions`: the log odds, a row per
    predictor that gives chances, epoch, split and test variant (its `row` in the sweep). `epochs`: the measured ones;
    `end`: the last epoch of training. Per split: `models`, its AeLLE, or an empty list where spectra are all equal;
    `known` and `tests`, the variants that it learned from and that it was tested on; `recommended`, its combined
    predictor. `without_spectra`: names of the predictors that see no spectra. `outside` [splits, E, tests]: which test
    variants the recommended predictor took for unlike all known ones.
    """

    scores: pd.DataFrame
    predictions: pd.DataFrame
    epochs: list[int]
    end: int
    models: list[AeLLE]
    known: list[np.ndarray]
    tests: list[np.ndarray]
    recommended: list[EarlyPredictor]
    without_spectra: list[str]
    outside: list[Bool[np.ndarray, "E _"]]

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
        """The mean difference of the two predictors on the same splits, and its 95 % interval."""
        at = self.scores[self.scores["epoch"] == epoch].pivot(index="split", columns="predictor", values=metric)
        return self.interval((at[predictor] - at[other]).dropna().to_numpy())

    def interval(self, of_splits: Float[np.ndarray, "J"]) -> tuple[float, float, float]:
        """The mean over splits, and its 95 % interval."""
        known, tested = (np.mean([len(rows) for rows in parts]) for parts in (self.known, self.tests))
        return corrected_interval(of_splits, float(known), float(tested))

    @property
    def share_outside(self) -> float:
        """The share of the test variants, before the last epoch, that the recommended predictor took for unlike all
        known ones."""
        early = [k < self.end for k in self.epochs]
        return float(np.mean([marked[early].mean() for marked in self.outside])) if any(early) else 0.0

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

    @property
    def weights(self) -> pd.DataFrame:
        """The mean weights of the recommended predictor's members over the splits: a row per epoch, a column per
        member."""
        given = [one.weights() for one in self.recommended if one.stacks_]
        return pd.concat(given).groupby(level=0, sort=True).mean() if given else pd.DataFrame()

    def chances(self, complete: SweepTable, sweep: SweepTable) -> Chances:
        """Of each variant after each epoch, by the recommended predictor: the mean over the splits that tested the
        variant; of others, by the first split that was not fitted to it. NaN where nothing is known, and where every
        split was fitted to the variant. Outside is what most of these splits take for it.
        """
        total = np.zeros(sweep.losses.shape)
        times, outside = np.zeros_like(total), np.zeros_like(total)
        position = {number: row for row, number in enumerate(sweep.variants["variant"])}
        learned = np.array([position[number] for number in complete.variants["variant"]])
        ours = self.predictions[self.predictions["predictor"] == RECOMMENDED]
        at = learned[ours["row"]], ours["epoch"].to_numpy()
        np.add.at(total, at, expit(ours["log_odds"].to_numpy()))
        np.add.at(times, at, 1)
        for test, marked in zip(self.tests, self.outside, strict=True):
            outside[np.ix_(learned[test], np.array(self.epochs))] += marked.T
        left = np.ones(len(total), dtype=bool)
        left[at[0]] = False
        for predictor, known in zip(self.recommended, self.known, strict=True):
            unseen = left.copy()
            unseen[learned[known]] = False
            part = sweep.take(np.flatnonzero(unseen))
            for k in self.epochs if unseen.any() else ():
                said = predictor.predict(observed(part, k))
                total[unseen, k], times[unseen, k] = said.chance, 1
                outside[unseen, k] = [float(bool(why)) for why in said.outside]
            left &= ~unseen
        # A variant that stopped early has no chance at later epochs.
        told = np.isfinite(sweep.losses) & (times > 0)
        mean = np.where(told, total / np.maximum(times, 1), np.nan)
        return Chances(mean, told & (outside > times / 2))


def corrected_interval(of_splits: Float[np.ndarray, "J"], known: float, tested: float) -> tuple[float, float, float]:
    """The mean over J splits, and its 95 % interval. `known`, `tested`: how many variants each split has.

    Splits share variants, so that their spread alone would be too small: the corrected resampled interval of Nadeau and
    Bengio (2003). Infinite for one split.
    """
    J = len(of_splits)
    mean = float(of_splits.mean()) if J else np.nan
    if J < 2:
        return mean, -np.inf, np.inf
    half = float(t.ppf(0.975, J - 1) * of_splits.std(ddof=1) * np.sqrt(1 / J + tested / known))
    return mean, mean - half, mean + half


def stages(measured: Sequence[int], epochs: int) -> list[int]:
    """The measured epochs nearest to the report's shares of `epochs` of training."""
    known = np.array(measured)
    return sorted({int(known[np.abs(known - share * epochs).argmin()]) for share in STAGES})


def study(sweep: SweepTable, model: AeLLE, splits: int, split_shares: Sequence[float] = SPLIT_SHARES) -> Study:
    """Score every predictor after every measured epoch, on `splits` random splits of the variants into training,
    validation and test.

    `model` gives AeLLE's parameters; split s has seed `model.seed` + s. Variants that share a draw of the
    hyperparameters are in one part. Raises TooFewError where a part of a split would lack a class.
    """
    seeds = range(model.seed, model.seed + splits)
    parts = [stratified_parts(sweep.low_error, split_shares, seed, sweep.draws) for seed in seeds]
    # A committee sets its classifier by the variants that it leaves out in turn, a single autoencoder by a fifth.
    return study_of(sweep, model, [Split(np.union1d(train, validation), test) for train, validation, test in parts])


def study_of(sweep: SweepTable, model: AeLLE, splits: Sequence[Split], guarded: bool = True) -> Study:
    """Score every predictor after every measured epoch, on the given splits; otherwise as `study`. `guarded`: the
    recommended predictor gives test variants that are outside of what it knows the base rate, as where it is used;
    otherwise they are only counted."""
    if not sweep.measured_epochs:
        raise TooFewError(
            "no complete variant has a measured spectrum; they are measured in training (see its options lyapunov.…)"
        )
    seeds = range(model.seed, model.seed + len(splits))
    known = [_of_at_most(sweep, split.known, MAX_KNOWN, seed) for split, seed in zip(splits, seeds, strict=True)]
    # Of each class its share: precision, Brier score and calibration depend on it.
    tests = [
        _of_at_most(sweep, split.tested, MAX_TESTED, seed, least=1) for split, seed in zip(splits, seeds, strict=True)
    ]
    models = [AeLLE(**{**model.get_params(), "seed": seed}) for seed in seeds]
    try:
        fit_side_by_side(models, [sweep_sample(sweep, rows) for rows in known])
    except NothingVariesError:
        models = []

    def scored(split: int) -> Scored:
        base_rate = float(sweep.low_error[splits[split].known].mean())
        recommended = EarlyPredictor(sweep.threshold, seed=seeds[split])
        of_spectra = models[split] if models else None
        return _scored(sweep, recommended, of_spectra, known[split], tests[split], split, base_rate, guarded)

    with config_context(assume_finite=True, skip_parameter_validation=True):
        found = on_all_cores(scored, len(splits))
    return Study(
        scores=pd.DataFrame([row for one in found for row in one.rows]),
        predictions=pd.concat([one.predictions for one in found], ignore_index=True),
        epochs=sweep.measured_epochs,
        end=sweep.epochs,
        models=models,
        known=known,
        tests=tests,
        recommended=[one.fitted for one in found],
        without_spectra=list(dict.fromkeys(name for one in found for name in one.without_spectra)),
        outside=[one.outside for one in found],
    )


def _of_at_most(
    sweep: SweepTable, rows: Int[np.ndarray, "n"], most: int, seed: int, least: int = LEAST_OF_A_CLASS
) -> Int[np.ndarray, "m"]:
    return rows[class_sample(sweep.low_error[rows], most, seed, least=least)]


class Scored(NamedTuple):
    """One split: its rows of `Study.scores` and of `Study.predictions`, and the names of the rows without spectra."""

    fitted: EarlyPredictor
    rows: list[dict]
    predictions: pd.DataFrame
    without_spectra: list[str]
    outside: Bool[np.ndarray, "E tests"]


def _that_occur(sweep: SweepTable, epochs: Sequence[int]) -> list[tuple[str, ...]]:
    """The sets of inputs that networks have at some epoch, with and without their spectra."""
    at = [observed(sweep, k) for k in epochs]
    has = np.concatenate([np.stack([one.known(name) for name in INPUTS], 1) for one in at])
    found = {tuple(np.array(INPUTS)[pattern].tolist()) for pattern in np.unique(has, axis=0)}
    without = {tuple(name for name in inputs if name != "spectra") for inputs in found}
    return sorted(filter(None, found | without))


def _scored(
    sweep: SweepTable,
    recommended: EarlyPredictor,
    model: AeLLE | None,
    of_known: np.ndarray,
    test: np.ndarray,
    split: int,
    base_rate: float,
    guarded: bool,
) -> Scored:
    known, scored, epochs = sweep.take(of_known), sweep.take(test), sweep.measured_epochs
    fitted = recommended.fit_to(known, model, epochs, _that_occur(sweep, epochs), base_rate)
    heard = Heard(fitted, guarded)
    candidates, rows = predictors(known, heard), []
    told = [predictor.name for predictor in candidates if predictor.gives_chances]
    log_odds = np.empty((len(epochs), len(told), len(test)))
    outside = np.zeros((len(epochs), len(test)), dtype=bool)
    for e, k in enumerate(epochs):
        outside[e] = list(map(bool, heard(scored, k).combined.outside))
        for predictor in candidates:
            found = predictor.score(scored, k)
            metrics = score(scored.low_error, found, found > 0, predictor.gives_chances)
            rows.append({"predictor": predictor.name, "epoch": k, "split": split, **metrics._asdict()})
            if predictor.gives_chances:
                log_odds[e, told.index(predictor.name)] = found
    E, m, V = log_odds.shape
    columns = {
        "predictor": pd.Categorical.from_codes(np.tile(np.repeat(np.arange(m), V), E), dtype=pd.CategoricalDtype(told)),
        "epoch": np.repeat(epochs, m * V),
        "split": np.full(log_odds.size, split),
        "row": np.tile(test, E * m),
        "log_odds": log_odds.ravel(),
        "low_error": np.tile(scored.low_error, E * m),
    }
    predictions = pd.DataFrame(columns)
    return Scored(fitted, rows, predictions, [row.name for row in candidates if not row.sees_spectra], outside)
