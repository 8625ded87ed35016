"""Lyapunov spectra after every epoch, for any LightningModule that holds a recurrent network."""

from operator import attrgetter

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor, nn

from aelle.errors import UserError
from aelle.lstm import LSTMWeights
from aelle.lyapunov import Spectrum, population_spectrum
from aelle.population import PopulationLSTM


class LyapunovCallback(pl.Callback):
    """Measures the spectrum before training and after every `every_n_epochs`-th epoch.

    `network`: the attribute path of the recurrent module in the LightningModule, an `nn.LSTM` of one layer or a
    population. `probe` [B, T, I]: the sequences that drive it; `test_probe` likewise, on request. `over`: "hidden" or "full".

    `.spectra` maps the epoch (0 = before training) to its `Spectrum`, `.test_spectra` likewise; the largest exponent (a
    population's median) goes to the trainer's logger as `lyapunov/maximum`. Nothing that it watches is changed:
    weights, modes and random states stay as they are, so training gives the same weights with and without it.
    """

    def __init__(
        self,
        network: str,
        probe: Float[Tensor, "B T I"],
        *,
        test_probe: Float[Tensor, "B T I"] | None = None,
        every_n_epochs: int = 1,
        over: str = "hidden",
        dtype: torch.dtype = torch.float64,
    ):
        if every_n_epochs < 1:
            raise UserError(f"every_n_epochs={every_n_epochs}: give a whole number of at least 1")
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
            pl_module.log("lyapunov/maximum", self.spectra[epoch].maximum.nanmedian())

    def _measure(self, pl_module: pl.LightningModule, epoch: int) -> None:
        weights = network_weights(pl_module, self.network)
        for probe, spectra in ((self.probe, self.spectra), (self.test_probe, self.test_spectra)):
            if probe is not None:
                spectra[epoch] = population_spectrum(weights, probe, over=self.over, dtype=self.dtype)


def network_weights(pl_module: nn.Module, path: str) -> LSTMWeights:
    """The weights of the recurrent network at that attribute path."""
    try:
        network = attrgetter(path)(pl_module)
    except AttributeError:
        found = [name for name, m in pl_module.named_modules() if isinstance(m, (nn.LSTM, PopulationLSTM))]
        raise UserError(f"network={path!r} is no attribute of {type(pl_module).__name__}: it has {found}") from None
    if isinstance(network, PopulationLSTM):
        return network.weights
    if not isinstance(network, nn.LSTM) or network.num_layers > 1 or network.bidirectional or network.proj_size:
        raise UserError(
            f"network={path!r} is {network!r}: a one-layer nn.LSTM without projection, or a population, is needed"
        )
    bias = (
        network.bias_ih_l0 + network.bias_hh_l0
        if network.bias
        else network.weight_hh_l0.new_zeros(4 * network.hidden_size)
    )
    return LSTMWeights(network.weight_ih_l0[None], network.weight_hh_l0[None], bias[None])
