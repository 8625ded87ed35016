"""Predict early, from Lyapunov spectra, which recurrent networks of a sweep will train well."""

from aelle.callback import LyapunovCallback
from aelle.lyapunov import Spectrum, lyapunov_spectrum
from aelle.model import AeLLE

__all__ = ["AeLLE", "LyapunovCallback", "Spectrum", "lyapunov_spectrum"]
