"""AeLLE: spectra in; latent, predicted loss and chance of low error out. scikit-learn's conventions."""

from aelle.model.estimator import AeLLE

__all__ = ["AeLLE"]
