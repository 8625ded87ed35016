"""The report's first sentence: which predictor to trust here, from which epoch, and whether spectra add anything."""

from typing import NamedTuple

import numpy as np

from aelle.analysis.baselines import TunedLoss
from aelle.analysis.early import Study
from aelle.analysis.predictors import RECOMMENDED, WITHOUT_SPECTRA
from aelle.terminal import count

TOLERANCE = 0.01
"""A predictor is as good as another if its mean ROC AUC is at most this much lower."""

UNDECIDED = 0.03
"""If spectra may add more than this to the ROC AUC, it is not said that they add nothing."""

MIN_SPLITS = 10
"""Splits that a statement on spectra needs."""

MIN_VARIANTS = 30
"""Complete variants, below which no number means much."""


def verdict(study: Study | None, complete: int, size: int, reason: str = "") -> str:
    """`complete`: how many of the sweep's `size` variants are; `reason`: why there is no study."""
    few = f"Only {complete} of {size} variants are complete" if complete < size else f"Only {complete} variants"
    warning = f"{few}: these numbers mean little. " if complete < MIN_VARIANTS else ""
    if study is None:
        return f"{warning}No classification: {reason}."
    early = [k for k in study.epochs if k < study.end]
    if not early:
        return f"{warning}No early prediction: spectra were measured after the last epoch only, when the loss is known."
    enough = _as_good_from(study, TunedLoss.name, early)
    until = [k for k in early if enough is None or k < enough]
    loss = f"the last loss is enough from epoch {enough} on" if enough is not None else ""
    gain = gain_of_spectra(study, until or early)
    said = gain.in_words("losses and hyperparameters")
    if gain.too_few:
        return f"{warning}{said}: use splits=20."
    if not until:
        return f"{warning}Here {loss}; spectra add nothing."
    if gain.positive:
        return f"{warning}Here " + (f"{loss}; before that, {said}." if loss else f"{said}.")
    k = study.first_epoch
    means = study.summary.set_index(["predictor", "epoch"])["auc"]
    others = f"without them, the ROC AUC after epoch {k} is {means[WITHOUT_SPECTRA, k]:.2f}"
    others += f", and {loss}." if loss else "."
    said = said[0].upper() + said[1:] if gain.undecided else f"Here {said}"
    return f"{warning}{said}: {others}"


class Gain(NamedTuple):
    """What spectra add to the ROC AUC: the mean over some epochs and `splits`, and its 95 % interval."""

    mean: float
    low: float
    high: float
    splits: int

    @property
    def too_few(self) -> bool:
        return self.splits < MIN_SPLITS

    @property
    def positive(self) -> bool:
        return self.low > 0

    @property
    def undecided(self) -> bool:
        return self.low <= 0 and self.high > UNDECIDED

    def in_words(self, others: str) -> str:
        """Whether spectra help. `others`: what is known without them."""
        if self.too_few:
            verb = "is" if self.splits == 1 else "are"
            return f"{count(self.splits, 'split')} {verb} too few to say whether spectra help here"
        if self.positive:
            return f"spectra add {self.mean:.3f} ({self.low:.3f} to {self.high:.3f}) to the ROC AUC of {others}"
        interval = f"{self.mean:.3f} in ROC AUC, {self.low:.3f} to {self.high:.3f}"
        if self.undecided:
            return f"whether spectra add anything here cannot be told ({interval})"
        return f"spectra add nothing beyond noise ({interval})"


def gain_of_spectra(study: Study, epochs: list[int]) -> Gain:
    """The mean over the epochs, rounded as it is printed."""
    at = study.scores[study.scores["epoch"].isin(epochs)]
    by_split = at.pivot_table(index="split", columns="predictor", values="auc")
    differences = (by_split[RECOMMENDED] - by_split[WITHOUT_SPECTRA]).dropna().to_numpy()
    # Zero has no sign.
    mean, low, high = (round(one, 3) + 0.0 for one in study.interval(differences))
    return Gain(mean, low, high, len(differences))


def _as_good_from(study: Study, name: str, early: list[int]) -> int | None:
    """The first epoch from which on the predictor is as good as the recommended one; None if there is none."""
    means = study.summary.pivot(index="epoch", columns="predictor", values="auc").loc[early]
    behind = np.flatnonzero(means[name] < means[RECOMMENDED] - TOLERANCE)
    first = behind[-1] + 1 if len(behind) else 0
    return early[first] if first < len(early) else None
