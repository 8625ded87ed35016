"""Any driven map in, Lyapunov exponents in nats per step out: no Lightning, no files."""

from aelle.lyapunov.estimate import lyapunov_spectrum, population_spectrum
from aelle.lyapunov.spectra_so_far import RunningMean, SpectraSoFar, running_mean
from aelle.lyapunov.spectrum import Spectrum, resample

__all__ = [
    "RunningMean",
    "SpectraSoFar",
    "Spectrum",
    "lyapunov_spectrum",
    "population_spectrum",
    "resample",
    "running_mean",
]
