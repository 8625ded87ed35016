"""The report's first sentence: which predictor to trust here, from which epoch, and whether spectra add anything."""

import numpy as np

from aelle.analysis.baselines import TunedLoss
from aelle.analysis.early import Study
from aelle.analysis.predictors import RECOMMENDED, WITHOUT_SPECTRA

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
    if study.splits < MIN_SPLITS:
        return f"{warning}{study.splits} splits are too few to say whether spectra help here: use splits=20."
    if not until:
        return f"{warning}Here {loss}; spectra add nothing."
    # Zero has no sign.
    mean, low, high = (round(one, 3) + 0.0 for one in gain_over(study, until))
    if low > 0:
        trust = f"spectra add {mean:.3f} ({low:.3f} to {high:.3f}) to the ROC AUC of losses and hyperparameters"
        return f"{warning}Here " + (f"{loss}; before that, {trust}." if loss else f"{trust}.")
    k = study.first_epoch
    means = study.summary.set_index(["predictor", "epoch"])["auc"]
    others = f"without them, the ROC AUC after epoch {k} is {means[WITHOUT_SPECTRA, k]:.2f}"
    others += f", and {loss}." if loss else "."
    interval = f"{mean:.3f} in ROC AUC, {low:.3f} to {high:.3f}"
    if high > UNDECIDED:
        return f"{warning}Whether spectra add anything here cannot be told ({interval}): {others}"
    return f"{warning}Here spectra add nothing beyond noise ({interval}): {others}"


def gain_over(study: Study, epochs: list[int]) -> tuple[float, float, float]:
    """What spectra add to the ROC AUC, as the mean over the epochs, and its 95 % interval."""
    at = study.scores[study.scores["epoch"].isin(epochs)]
    by_split = at.pivot_table(index="split", columns="predictor", values="auc")
    return study.interval((by_split[RECOMMENDED] - by_split[WITHOUT_SPECTRA]).dropna().to_numpy())


def _as_good_from(study: Study, name: str, early: list[int]) -> int | None:
    """The first epoch from which on the predictor is as good as the recommended one; None if there is none."""
    means = study.summary.pivot(index="epoch", columns="predictor", values="auc").loc[early]
    behind = np.flatnonzero(means[name] < means[RECOMMENDED] - TOLERANCE)
    first = behind[-1] + 1 if len(behind) else 0
    return early[first] if first < len(early) else None
