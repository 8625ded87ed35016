"""Lyapunov spectra after every epoch, for any LightningModule that holds a recurrent network."""

from operator import attrgetter
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from aelle.lyapunov import Spectrum, lyapunov_spectrum, population_spectrum
from aelle.networks import is_recurrent
from aelle.population import Population


class LyapunovCallback(pl.Callback):
    """Measures the spectrum before training and after every `every_n_epochs`-th epoch, and after the last.

    `network`: the attribute path of the recurrent module in the LightningModule, an `nn.RNN`, `nn.GRU`, `nn.LSTM`, one
    of their Cells, or a population. `probe` [B, T, I]: the sequences that drive it; `test_probe` likewise, on request.
    `over` and `dtype` as in `lyapunov_spectrum`.

    `.spectra` maps the epoch (0 = before training) to its `Spectrum`, `.test_spectra` likewise; the largest and the
    mean exponent (a population's medians) go to the trainer's logger as `lyapunov/maximum` and `lyapunov/mean`. Nothing
    that it watches is changed: weights, modes and random states stay as they are, so training gives the same weights
    with and without it.
    """

    def __init__(
        self,
        network: str,
        probe: Tensor,
        *,
        test_probe: Tensor | None = None,
        every_n_epochs: int = 1,
        over: str = "hidden",
        dtype: torch.dtype = torch.float64,
    ):
        if every_n_epochs < 1:
            raise ValueError(f"every_n_epochs={every_n_epochs}: give a whole number of at least 1")
        self.network, self.probe, self.test_probe = network, probe, test_probe
        self.every_n_epochs, self.over, self.dtype = every_n_epochs, over, dtype
        self.spectra: dict[int, Spectrum] = {}
        self.test_spectra: dict[int, Spectrum] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 0:
            self._measure(pl_module, 0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs:
            self._measure(pl_module, epoch)
            spectrum = self.spectra[epoch]
            pl_module.log("lyapunov/maximum", spectrum.maximum.nanmedian())
            pl_module.log("lyapunov/mean", spectrum.exponents.mean(-1).nanmedian())

    def _measure(self, pl_module: pl.LightningModule, epoch: int) -> None:
        network = find_network(pl_module, self.network)
        for probe, spectra in ((self.probe, self.spectra), (self.test_probe, self.test_spectra)):
            if probe is None:
                continue
            if isinstance(network, Population):
                spectra[epoch] = population_spectrum(network.stack, probe, over=self.over, dtype=self.dtype)
            else:
                spectra[epoch] = lyapunov_spectrum(network, probe, over=self.over, dtype=self.dtype)


def find_network(pl_module: nn.Module, path: str) -> nn.Module:
    """The recurrent network at that attribute path."""
    try:
        network: Any = attrgetter(path)(pl_module)
    except AttributeError:
        network = None
    if isinstance(network, Population) or is_recurrent(network):
        return network
    found = [name for name, m in pl_module.named_modules() if isinstance(m, Population) or is_recurrent(m)]
    what = "no attribute" if network is None else f"a {type(network).__name__}"
    raise ValueError(f"network={path!r} is {what} of {type(pl_module).__name__}: its recurrent networks are {found}")
