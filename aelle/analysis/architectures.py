"""Can a spectrum tell the architecture of its network?"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from scipy.stats import binomtest
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from aelle.lyapunov.spectrum import curve, signed_log
from aelle.sweep.table import SweepTable

ARCHITECTURE = "cell"
"""The hyperparameter that names it."""

MIN_ARCHITECTURES = 3
FOLDS = 5
MAX_POINTS = 32
"""Points of a spectrum that are read."""


class Told(NamedTuple):
    """After `epoch`: the share of the `n` networks whose architecture was told from spectra by trees that were fitted
    to others, with its 95 % interval; the share of the most frequent architecture, which a guess would reach; and how
    often a network of each of the `names` (rows) was taken for each of them (columns)."""

    epoch: int
    accuracy: float
    low: float
    high: float
    guess: float
    n: int
    names: list[str]
    confusion: Int[np.ndarray, "A A"]


def architectures_told(sweep: SweepTable, seed: int) -> list[Told]:
    """At the first and at the last epoch with spectra. Empty for fewer than three architectures.

    Only the shape of a spectrum is read: all have the same number of points. Architectures of a single network are left
    out.
    """
    if ARCHITECTURE not in sweep.varied:
        return []
    epochs = dict.fromkeys(sweep.measured_epochs[:1] + sweep.measured_epochs[-1:])
    return [told for k in epochs if (told := _told(sweep, k, seed)) is not None]


def _told(sweep: SweepTable, k: int, seed: int) -> Told | None:
    spectra, cells = sweep.spectra[:, k], sweep.variants[ARCHITECTURE].astype(str).to_numpy()
    rows = np.flatnonzero(np.isfinite(spectra).all(1))
    names, counts = np.unique(cells[rows], return_counts=True)
    rows = rows[np.isin(cells[rows], names[counts > 1])]
    names, counts = np.unique(cells[rows], return_counts=True)
    if len(names) < MIN_ARCHITECTURES:
        return None
    points = signed_log(curve(spectra[rows], min(spectra.shape[1], MAX_POINTS)))
    folds = StratifiedKFold(min(FOLDS, int(counts.min())), shuffle=True, random_state=seed)
    trees = ExtraTreesClassifier(300, random_state=seed)
    said = np.array(cross_val_predict(trees, points, cells[rows], cv=folds))
    right = int(np.sum(said == cells[rows]))
    low, high = binomtest(right, len(rows)).proportion_ci(method="wilson")
    guess = float(counts.max() / len(rows))
    confusion = confusion_matrix(cells[rows], said, labels=names)
    return Told(k, right / len(rows), low, high, guess, len(rows), names.tolist(), confusion)
