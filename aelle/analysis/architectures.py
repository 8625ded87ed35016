"""How well the architecture of a network is predicted from its spectrum."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from scipy.stats import binomtest
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict

from aelle.lyapunov.spectrum import curve, signed_log
from aelle.model.samples import class_sample
from aelle.sweep.table import SweepTable

ARCHITECTURE = "cell"
"""The hyperparameter that names it."""

MIN_ARCHITECTURES = 3
FOLDS = 5
"""Of the networks; an architecture needs as many networks."""

MAX_NETWORKS = 2000
"""Networks that are used, about; of more, a stratified sample."""

MAX_POINTS = 32
"""Points of a spectrum that are used."""


class ArchitectureAccuracy(NamedTuple):
    """After `epoch`: the cross-validated accuracy of predicting the architecture of `n` networks, a sample of the
    `measured` ones, with its 95 % interval; the share of the most frequent architecture (`chance_level`); and how often
    a network of each of the `names` (rows) is predicted as each of them (columns). `too_few`: the architectures with
    fewer than five networks, which are left out."""

    epoch: int
    accuracy: float
    low: float
    high: float
    chance_level: float
    n: int
    measured: int
    names: list[str]
    too_few: list[str]
    confusion: Int[np.ndarray, "A A"]


def architecture_accuracies(sweep: SweepTable, seed: int) -> list[ArchitectureAccuracy]:
    """At the first and at the last epoch with spectra. Empty for fewer than three architectures of five networks.
    Networks that share a draw of the hyperparameters are predicted by fits to others.

    Only the shape of a spectrum is used: all have the same number of points.
    """
    if ARCHITECTURE not in sweep.varied:
        return []
    epochs = dict.fromkeys(sweep.measured_epochs[:1] + sweep.measured_epochs[-1:])
    return [found for k in epochs if (found := _accuracy(sweep, k, seed)) is not None]


def _accuracy(sweep: SweepTable, k: int, seed: int) -> ArchitectureAccuracy | None:
    spectra, cells = sweep.spectra[:, k], sweep.variants[ARCHITECTURE].astype(str).to_numpy(str)
    rows = np.flatnonzero(np.isfinite(spectra).all(1))
    names, counts = np.unique(cells[rows], return_counts=True)
    too_few = sorted({*np.unique(cells).tolist()} - {*names[counts >= FOLDS].tolist()})
    rows = rows[~np.isin(cells[rows], too_few)]
    measured = len(rows)
    rows = rows[class_sample(cells[rows], MAX_NETWORKS, seed)]
    names, counts = np.unique(cells[rows], return_counts=True)
    if len(names) < MIN_ARCHITECTURES:
        return None
    points = signed_log(curve(spectra[rows], min(spectra.shape[1], MAX_POINTS)))
    draws = None if sweep.draws is None else sweep.draws[rows]
    folds = (StratifiedKFold if draws is None else StratifiedGroupKFold)(FOLDS, shuffle=True, random_state=seed)
    trees = ExtraTreesClassifier(300, random_state=seed)
    predicted = np.array(cross_val_predict(trees, points, cells[rows], groups=draws, cv=folds))
    right = int(np.sum(predicted == cells[rows]))
    low, high = binomtest(right, len(rows)).proportion_ci(method="wilson")
    return ArchitectureAccuracy(
        epoch=k,
        accuracy=right / len(rows),
        low=low,
        high=high,
        chance_level=float(counts.max() / len(rows)),
        n=len(rows),
        measured=measured,
        names=names.tolist(),
        too_few=too_few,
        confusion=confusion_matrix(cells[rows], predicted, labels=names),
    )
