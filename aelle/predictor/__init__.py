"""EarlyPredictor: losses, spectra and hyperparameters so far in; the chance of low error out, or "outside"."""
