"""Predict early, from Lyapunov spectra, which recurrent networks of a sweep will train well."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from aelle.lyapunov.estimate import lyapunov_spectrum
    from aelle.lyapunov.spectra_so_far import SpectraSoFar, spectra_so_far
    from aelle.lyapunov.spectrum import Spectrum
    from aelle.model.estimator import AeLLE
    from aelle.model.scoring import LossRegressor, loss_scorer
    from aelle.predictor.early_predictor import EarlyPredictor
    from aelle.sweep.table import load_sweep
    from aelle.training.lyapunov_callback import LyapunovCallback
    from aelle.training.prediction_callback import PredictionCallback

__all__ = [
    "AeLLE",
    "EarlyPredictor",
    "LossRegressor",
    "LyapunovCallback",
    "PredictionCallback",
    "SpectraSoFar",
    "Spectrum",
    "load_sweep",
    "loss_scorer",
    "lyapunov_spectrum",
    "spectra_so_far",
]

HOMES = {
    "AeLLE": "aelle.model.estimator",
    "EarlyPredictor": "aelle.predictor.early_predictor",
    "LossRegressor": "aelle.model.scoring",
    "LyapunovCallback": "aelle.training.lyapunov_callback",
    "PredictionCallback": "aelle.training.prediction_callback",
    "SpectraSoFar": "aelle.lyapunov",
    "Spectrum": "aelle.lyapunov",
    "load_sweep": "aelle.sweep.table",
    "loss_scorer": "aelle.model.scoring",
    "lyapunov_spectrum": "aelle.lyapunov",
    "spectra_so_far": "aelle.lyapunov.spectra_so_far",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first access: `train.py --help` need not wait seconds for PyTorch and Lightning."""
    if name not in HOMES:
        raise AttributeError(f"module 'aelle' has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)
