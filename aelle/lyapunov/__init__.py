"""Any driven map in, Lyapunov exponents in nats per step out: no Lightning, no files."""

from aelle.lyapunov.estimate import lyapunov_spectrum, population_spectrum
from aelle.lyapunov.running_mean import RunningMean
from aelle.lyapunov.spectrum import Spectrum, resample

__all__ = ["RunningMean", "Spectrum", "lyapunov_spectrum", "population_spectrum", "resample"]
