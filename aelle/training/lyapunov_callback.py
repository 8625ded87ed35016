"""Lyapunov spectra after every epoch, for any LightningModule that contains a recurrent network."""

from collections.abc import Collection
from operator import attrgetter
from typing import Any, Protocol, runtime_checkable

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from aelle.cells.stack import is_recurrent, stack_of
from aelle.errors import UserError
from aelle.lyapunov.checks import check_whole
from aelle.lyapunov.estimate import population_spectrum
from aelle.lyapunov.spectrum import Spectrum


@runtime_checkable
class Measurable(Protocol):
    """A network that measures its own spectrum, as populations do; options as in `lyapunov_spectrum`."""

    def spectrum(
        self, probe: Tensor | None, *, over: str, dtype: torch.dtype, steps: int | None, k: int | None
    ) -> Spectrum: ...


class LyapunovCallback(pl.Callback):
    """Measures the spectrum before training and after every `every_n_epochs`-th epoch, and after the last.

    `network`: the attribute path of the recurrent module in the LightningModule, an `nn.RNN`, `nn.GRU`, `nn.LSTM`, one
    of their Cells, or a population. `probe` [B, T, I]: the sequences that drive it; `test_probe` likewise, on request.
    None for a population that drives itself, whose spectrum is averaged over `steps`. `every_n_epochs` may also list
    the epochs. `over`, `k` and `dtype` as in `lyapunov_spectrum`.

    `.spectra` maps the epoch (0 = before training) to its `Spectrum`, NaN where the network has diverged;
    `.test_spectra` likewise. The largest and the mean exponent (a population's medians) are logged by the trainer's
    logger as `lyapunov/maximum` and `lyapunov/mean`. Nothing is changed by measuring: weights, modes and random states
    stay as they are, so training gives the same weights with and without this callback.
    """

    def __init__(
        self,
        network: str,
        probe: Tensor | None,
        *,
        test_probe: Tensor | None = None,
        every_n_epochs: int | Collection[int] = 1,
        steps: int | None = None,
        k: int | None = None,
        over: str = "hidden",
        dtype: torch.dtype = torch.float64,
    ):
        if isinstance(every_n_epochs, Collection) and not isinstance(every_n_epochs, str):
            for epoch in every_n_epochs:
                check_whole("every_n_epochs", epoch, 0)
            every_n_epochs = frozenset(map(int, every_n_epochs))
        else:
            check_whole("every_n_epochs", every_n_epochs, 1)
            every_n_epochs = int(every_n_epochs)
        if (probe is None) == (steps is None):
            remedy = (
                "give steps for a network without a probe"
                if probe is None
                else "leave it out, the probe's length decides"
            )
            raise UserError(f"steps={steps}: {remedy}")
        self.network = network
        self.every_n_epochs: int | frozenset[int] = every_n_epochs
        self.probe, self.test_probe = probe, test_probe
        self.steps, self.k, self.over, self.dtype = steps, k, over, dtype
        self.spectra: dict[int, Spectrum] = {}
        self.test_spectra: dict[int, Spectrum] = {}
        self.last_epoch: int | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 0 and self._is_due(0):
            self._measure(pl_module, 0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if self._is_due(epoch) or epoch == trainer.max_epochs:
            self._measure(pl_module, epoch)
            for name, value in self._logged(epoch).items():
                pl_module.log(name, value)
        self.last_epoch = epoch

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure after a training that was stopped early, or by its number of steps."""
        if self.last_epoch is not None and self.last_epoch not in self.spectra:
            self._measure(pl_module, self.last_epoch)
            for logger in trainer.loggers:
                logged = {name: float(value) for name, value in self._logged(self.last_epoch).items()}
                logger.log_metrics(logged, step=trainer.global_step)

    def _logged(self, epoch: int) -> dict[str, Tensor]:
        spectrum = self.spectra[epoch]
        return {
            "lyapunov/maximum": spectrum.maximum.nanmedian(),
            "lyapunov/mean": spectrum.exponents.mean(-1).nanmedian(),
        }

    def _is_due(self, epoch: int) -> bool:
        every = self.every_n_epochs
        return epoch % every == 0 if isinstance(every, int) else epoch in every

    def _measure(self, pl_module: pl.LightningModule, epoch: int) -> None:
        network = find_network(pl_module, self.network)
        self.spectra[epoch] = self._spectrum(network, self.probe)
        if self.test_probe is not None:
            self.test_spectra[epoch] = self._spectrum(network, self.test_probe)

    def _spectrum(self, network: Any, probe: Tensor | None) -> Spectrum:
        if isinstance(network, Measurable):
            return network.spectrum(probe, over=self.over, dtype=self.dtype, steps=self.steps, k=self.k)
        assert probe is not None
        measured = population_spectrum(stack_of(network), probe, over=self.over, dtype=self.dtype, k=self.k)
        return measured.of_variant(0)


def find_network(pl_module: nn.Module, path: str) -> Any:
    """The recurrent network at that attribute path."""
    try:
        network: Any = attrgetter(path)(pl_module)
    except AttributeError:
        network = None
    if isinstance(network, Measurable) or is_recurrent(network):
        return network
    found = [name for name, m in pl_module.named_modules() if isinstance(m, Measurable) or is_recurrent(m)]
    what = "not an attribute" if network is None else f"a {type(network).__name__}"
    raise ValueError(f"network={path!r} is {what} of {type(pl_module).__name__}: its recurrent networks are {found}")
