"""A model that was fitted to a whole sweep, and the chances that it predicts for the variants of another.

Axes: V variant, E epoch, M point of the model's spectra.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from aelle.lyapunov.spectra_so_far import SpectraSoFar
from aelle.lyapunov.spectrum import curve
from aelle.model.estimator import AeLLE
from aelle.model.samples import sweep_sample
from aelle.sweep.table import SweepTable


def fit_to_all(complete: SweepTable, model: AeLLE) -> AeLLE:
    """A copy of `model`, fitted to every complete variant."""
    rows = sweep_sample(complete, np.arange(len(complete.losses)))
    fitted = AeLLE(**model.get_params()).fit(rows.spectra, rows.losses, groups=rows.groups)
    fitted.learned_from_ = {"task": complete.task, "epochs": complete.epochs, "variants": len(complete.losses)}
    return fitted


def chances(model: AeLLE, sweep: SweepTable, epochs: Sequence[int] | None = None) -> Float[np.ndarray, "V E"]:
    """The chance of low error after each epoch, or after the given ones; NaN where no spectrum was measured. Spectra of
    another length are resampled to the model's."""
    found = np.full(sweep.losses.shape, np.nan)
    V, _, M = sweep.spectra.shape
    exponents = np.full(V, M) if sweep.exponents is None else sweep.exponents
    spectra = curve(sweep.spectra, model.n_features_in_)
    at_length = replace(sweep, spectra=spectra, test_spectra=None, exponents=exponents)
    for k in sweep.measured_epochs if epochs is None else epochs:
        found[:, k] = chances_of(model, at_length.seen(k))
    return found


def chances_of(model: AeLLE, seen: SpectraSoFar) -> Float[np.ndarray, "V"]:
    """The chance of low error of each variant; NaN where its spectra are not finite."""
    found, known = np.full(len(seen), np.nan), seen.known
    if known.any():
        found[known] = model.predict_proba(seen.take(known))[:, 1]
    return found
