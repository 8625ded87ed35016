"""The AeLLE plane of trained networks: their final spectra, embedded and classified (Vogt et al. 2022, Fig. 4)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from aelle.analysis.scores import Scores, score
from aelle.model.estimator import AeLLE
from aelle.model.regions import Region
from aelle.model.samples import class_sample, stratified_parts
from aelle.sweep.table import SweepTable

PLANE_SHARES = (0.64, 0.16, 0.20)
"""Shares of the variants that train the autoencoder, set the classifier, and are scored."""

MAX_VARIANTS = 2000
"""Variants in the plane, at most, drawn at random."""


@dataclass(frozen=True)
class TrainedPlane:
    """`sweep`: the variants with a final spectrum; their `latent` and their `points` on the plane; `region`: where low
    error is more likely; `test` marks those that were not used in fitting and give the `scores`.
    """

    sweep: SweepTable
    latent: Float[np.ndarray, "V L"]
    points: Float[np.ndarray, "V components"]
    region: Region
    test: Bool[np.ndarray, "V"]
    scores: Scores


def trained_plane(sweep: SweepTable, model: AeLLE) -> TrainedPlane:
    """Fit a copy of `model` to the spectra after the last epoch. Raises TooFewError where a part would lack a class."""
    sweep = sweep.measured_at_the_end()
    sweep = sweep.take(class_sample(sweep.low_error, MAX_VARIANTS, model.seed))
    train, validation, test = stratified_parts(sweep.low_error, PLANE_SHARES, model.seed, sweep.draws)
    spectra, losses = sweep.spectra[:, -1], np.nan_to_num(sweep.final_loss, nan=np.inf)
    fitted = AeLLE(**model.get_params())
    groups = None if sweep.draws is None else sweep.draws[train]
    fitted.fit(spectra[train], losses[train], groups=groups, validation=(spectra[validation], losses[validation]))
    is_test = np.zeros(len(losses), dtype=bool)
    is_test[test] = True
    log_odds = fitted.decision_function(spectra[test])
    scores = score(sweep.low_error[test], log_odds, log_odds > 0, chances=True)
    return TrainedPlane(sweep, fitted.latent(spectra), fitted.transform(spectra), fitted.region_, is_test, scores)
