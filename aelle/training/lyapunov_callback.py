"""Lyapunov spectra after every epoch, for any LightningModule that contains a recurrent network."""

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import cached_property
from operator import attrgetter
from typing import Any, Protocol, runtime_checkable

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from aelle.cells.in_use import stack_in_use
from aelle.cells.stack import is_recurrent, with_own_forward
from aelle.errors import UserError
from aelle.lyapunov.checks import check_options, check_whole
from aelle.lyapunov.estimate import population_spectrum
from aelle.lyapunov.spectrum import Spectrum
from aelle.training.lasting_callback import LastingCallback, between_epochs, log_now
from aelle.training.probes import Probe, check_probe, fingerprint, probe_inputs


@runtime_checkable
class Measurable(Protocol):
    """A network that measures its own spectrum, as populations do; options as in `lyapunov_spectrum`."""

    def spectrum(
        self, probe: Tensor | None, *, over: str, dtype: torch.dtype, steps: int | None, k: int | None
    ) -> Spectrum: ...


class LyapunovCallback(LastingCallback):
    """Measures the spectrum before training and after every `every_n_epochs`-th epoch, and after the last.

    `network`: the attribute path of the recurrent module in the LightningModule, an `nn.RNN`, `nn.GRU`, `nn.LSTM`, one
    of their Cells, or a population; or any network with a method `spectrum` (see `Measurable`). `probe` [B, T, I]: the
    sequences that drive it; `test_probe` likewise, on request. Where an embedding that is trained precedes the network,
    give a function of the LightningModule, `lambda module: module.embedding(ids)`, or token ids [B, T] and
    `embedding`, the attribute path of what turns them into [B, T, I]; both are called in evaluation mode. None for a
    population that drives itself, whose spectrum is averaged over `steps`. `every_n_epochs` may also list the epochs.
    `over`, `k` and `dtype` as in `lyapunov_spectrum`.

    `.spectra` maps the epoch (0 = before training) to its `Spectrum`, on the CPU, NaN where the network or the probe is
    not finite any more; `.test_spectra` likewise. They are those of one training: saved in its checkpoints, continued
    when it resumes, replaced by the next.

    The weights are those of the next forward pass in evaluation mode, which hooks may compute (`stack_in_use`). The
    largest and the mean exponent (a population's medians) are logged as `lyapunov/maximum` and `lyapunov/mean`, or, if
    the trainer's callbacks are of several networks, as `lyapunov/<network>/maximum`; those before training go directly
    to the loggers. Nothing is changed by measuring: weights, modes, metrics and random states stay as they are, so
    training gives the same weights with and without this callback.

    Raises ValueError for options that nothing could use; when training starts, for a path without a recurrent network,
    with the names of those that there are, and for a probe of another size.
    """

    def __init__(
        self,
        network: str,
        probe: Tensor | Callable[[Any], Any] | None,
        *,
        test_probe: Tensor | Callable[[Any], Any] | None = None,
        embedding: str | None = None,
        every_n_epochs: int | Collection[int] = 1,
        steps: int | None = None,
        k: int | None = None,
        over: str = "hidden",
        dtype: torch.dtype = torch.float64,
    ):
        if not isinstance(network, str):
            raise UserError(
                f"network is of type {type(network).__name__}: give its attribute path in the LightningModule, e.g. "
                '"rnn" for self.rnn'
            )
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
        for name, number in (("steps", steps), ("k", k)):
            if number is not None:
                check_whole(name, number, 1)
        check_options(over, "tangent", "auto", dtype)
        check_probe("probe", probe, embedding)
        if test_probe is not None:
            check_probe("test_probe", test_probe, embedding)
        self.every_n_epochs: int | frozenset[int] = every_n_epochs
        self.probe, self.test_probe, self.embedding = probe, test_probe, embedding
        self.steps, self.k, self.over, self.dtype = steps, k, over, dtype
        super().__init__(network)

    @property
    def spectra(self) -> dict[int, Spectrum]:
        """By epoch, 0 before training: the spectrum driven by the probe, nats per step."""
        self.collect()
        return self._spectra

    @property
    def test_spectra(self) -> dict[int, Spectrum]:
        """By epoch: the spectrum driven by the test probe, nats per step; empty without one."""
        self.collect()
        return self._test_spectra

    @property
    def identity(self) -> dict[str, Any]:
        return {"network": self.network}

    @cached_property
    def details(self) -> str:
        every = self.every_n_epochs if isinstance(self.every_n_epochs, int) else sorted(self.every_n_epochs)
        options = (every, self.embedding, self.steps, self.k, self.over, str(self.dtype))
        return f"{options} {fingerprint(self.probe)} {fingerprint(self.test_probe)}"

    def reset(self) -> None:
        self._spectra: dict[int, Spectrum] = {}
        self._test_spectra: dict[int, Spectrum] = {}
        self.last_epoch = self.last_measured = -1

    def state_dict(self) -> dict[str, Any]:
        spectra, test_spectra = (
            {epoch: dict(vars(spectrum)) for epoch, spectrum in spectra.items()}
            for spectra in (self._spectra, self._test_spectra)
        )
        return {"spectra": spectra, "test_spectra": test_spectra, "last_measured": self.last_measured}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._spectra, self._test_spectra = (
            {epoch: Spectrum(**fields) for epoch, fields in state_dict[name].items()}
            for name in ("spectra", "test_spectra")
        )
        self.last_measured = state_dict["last_measured"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure before training, or what a checkpoint lacks that was written between an epoch and its measurement."""
        find_network(pl_module, self.network)
        epoch = trainer.current_epoch
        if self._is_due(epoch) and epoch > self.last_measured and between_epochs(trainer):
            self._measure(pl_module, epoch)
            log_now(trainer, self._floats(trainer, epoch))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if self._is_due(epoch) or epoch == trainer.max_epochs:
            self._measure(pl_module, epoch)
            for name, value in self._logged(trainer, epoch).items():
                pl_module.log(name, value.to(pl_module.device))
        self.last_epoch = epoch

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure after a training that was stopped early, or by its number of steps."""
        if self.last_epoch > self.last_measured:
            self._measure(pl_module, self.last_epoch)
            log_now(trainer, self._floats(trainer, self.last_epoch))

    def _logged(self, trainer: pl.Trainer, epoch: int) -> dict[str, Tensor]:
        spectrum = self._spectra[epoch]
        return {
            self.logged_as("maximum", trainer): spectrum.maximum.nanmedian(),
            self.logged_as("mean", trainer): spectrum.exponents.mean(-1).nanmedian(),
        }

    def _floats(self, trainer: pl.Trainer, epoch: int) -> dict[str, float]:
        return {name: float(value) for name, value in self._logged(trainer, epoch).items()}

    def _is_due(self, epoch: int) -> bool:
        every = self.every_n_epochs
        return epoch % every == 0 if isinstance(every, int) else epoch in every

    def _measure(self, pl_module: pl.LightningModule, epoch: int) -> None:
        self._spectra[epoch] = self._spectrum(pl_module, "probe", self.probe)
        if self.test_probe is not None:
            self._test_spectra[epoch] = self._spectrum(pl_module, "test_probe", self.test_probe)
        self.last_measured = epoch

    def _spectrum(self, pl_module: pl.LightningModule, name: str, probe: Probe) -> Spectrum:
        network, inputs = find_network(pl_module, self.network), probe_inputs(pl_module, name, probe, self.embedding)
        # An embedding diverges with its network.
        lost = inputs is not None and inputs is not probe and not inputs.isfinite().all()
        inputs = torch.zeros_like(inputs) if lost and inputs is not None else inputs
        if isinstance(network, Measurable):
            spectrum = network.spectrum(inputs, over=self.over, dtype=self.dtype, steps=self.steps, k=self.k)
        else:
            assert inputs is not None
            stack = stack_in_use(network, modules_around(pl_module, self.network))
            spectrum = population_spectrum(stack, inputs, over=self.over, dtype=self.dtype, k=self.k).of_variant(0)
        return _with_tensors(spectrum, _unknown if lost else Tensor.cpu)


def _with_tensors(spectrum: Spectrum, function: Callable[[Tensor], Tensor]) -> Spectrum:
    return replace(
        spectrum, **{key: function(value) for key, value in vars(spectrum).items() if torch.is_tensor(value)}
    )


def _unknown(numbers: Tensor) -> Tensor:
    return torch.full(numbers.shape, torch.nan if numbers.is_floating_point() else 0, dtype=numbers.dtype)


def find_network(pl_module: nn.Module, path: str) -> Any:
    """The recurrent network at that attribute path."""
    try:
        network: Any = attrgetter(path)(pl_module)
    except AttributeError:
        network = None
    if isinstance(network, Measurable) or is_recurrent(network):
        return network
    if own := with_own_forward(network):
        raise UserError(
            f"network={path!r}: {own}; to measure it anyway, give it a method spectrum that calls "
            "aelle.lyapunov_spectrum with its step(x, state) -> state (docs/own-module.md, A network of your own)"
        )
    found = [name for name, m in pl_module.named_modules() if isinstance(m, Measurable) or is_recurrent(m)]
    what = "not an attribute" if network is None else f"a {type(network).__name__}"
    raise ValueError(f"network={path!r} is {what} of {type(pl_module).__name__}: its recurrent networks are {found}")


def modules_around(pl_module: nn.Module, path: str) -> list[nn.Module]:
    """The modules on the way to that attribute path, the innermost first and the LightningModule last."""
    names = path.split(".")
    inner = [attrgetter(".".join(names[:length]))(pl_module) for length in range(len(names) - 1, 0, -1)]
    return [*(part for part in inner if isinstance(part, nn.Module)), pl_module]
