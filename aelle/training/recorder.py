"""Writes the run folder during training."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from aelle.lyapunov.spectrum import Spectrum
from aelle.runs.checkpoint import IDENTITY, identity
from aelle.runs.settings import fingerprint
from aelle.runs.writer import RunFolder
from aelle.tasks.module import PopulationModule
from aelle.training.lyapunov_callback import LyapunovCallback
from aelle.variants import Variant

if TYPE_CHECKING:
    from aelle.training.prediction_callback import PredictionCallback


class RunRecorder(Checkpoint):
    """After each epoch writes the rows so far, then states, then checkpoint and status, each replaced atomically.

    In this order a checkpoint never contains an epoch without rows, nor lacks a variant that is not recorded as pruned;
    rows later than the checkpoint are discarded on resuming. A checkpoint says whose it is. `variants` are all of the
    pack, pruned ones included. Lightning runs its `Checkpoint`s last, so the rows contain what the module and the other
    callbacks measured. `seconds` is the pack's time for that epoch, measuring and writing included, divided by its
    number of variants. Every tensor [V] in the module's `metrics` becomes a column, and so does what `prediction` calls
    `outside`. `tell` is called with an epoch's rows once written.
    """

    def __init__(
        self,
        folder: RunFolder,
        lyapunov: LyapunovCallback,
        variants: Sequence[Variant],
        rows: pa.Table | None = None,
        tell: Callable[[pa.Table], object] = lambda rows: None,
        prediction: "PredictionCallback | None" = None,
    ):
        self.folder, self.lyapunov, self.variants, self.tell = folder, lyapunov, variants, tell
        self.prediction = prediction
        self.rows = [rows] if rows is not None else []
        self.since = time.perf_counter()
        self.device = ""

    def setup(self, trainer: pl.Trainer, pl_module: PopulationModule, stage: str) -> None:
        # Not the module's device, which is the CPU again when training has ended.
        self.device = str(trainer.strategy.root_device)

    def on_train_start(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        if trainer.current_epoch == 0:
            self._write_epoch(trainer, pl_module, 0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        self._write_epoch(trainer, pl_module, trainer.current_epoch + 1)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: PopulationModule, checkpoint: dict[str, Any]) -> None:
        numbers = [v.number for v in pl_module.variants]
        checkpoint[IDENTITY] = identity(fingerprint(self.folder.config), numbers)

    def finish(self, pl_module: PopulationModule) -> None:
        # If all variants were pruned, there are no examples.
        if pl_module.variants:
            examples = {name: _column(values) for name, values in pl_module.example_outputs().items()}
            self.folder.write_examples(pl_module.variants, examples)
        self.folder.write_variants(self.variants, variant_states(self.variants, pl_module, "complete"))
        self.folder.write_status("complete", epoch=self.folder.config["epochs"], device=self.device)

    def _write_epoch(self, trainer: pl.Trainer, pl_module: PopulationModule, epoch: int) -> None:
        now = time.perf_counter()
        V = len(pl_module.variants)
        columns: dict[str, object] = {
            "variant": [v.number for v in pl_module.variants],
            "epoch": [epoch] * V,
            "seconds": [(now - self.since) / V] * V,
        }
        self.since = now
        columns |= {name: _floats(values) for name, values in sorted(pl_module.metrics.items())}
        if self.prediction is not None and epoch in self.prediction.outside:
            columns["outside"] = self.prediction.outside[epoch]
        for prefix, spectra in (("", self.lyapunov.spectra), ("test_", self.lyapunov.test_spectra)):
            spectrum: Spectrum | None = spectra.get(epoch)
            if spectrum is not None:
                columns[f"{prefix}spectrum"] = _lists(spectrum.exponents)
                columns[f"{prefix}spectrum_stderr"] = _lists(spectrum.stderr)
                columns[f"{prefix}clamped"] = spectrum.clamped.tolist()
            # The rows keep them, and the checkpoint need not.
            spectra.clear()
        self.rows.append(pa.table(columns))
        self.folder.write_epochs(pa.concat_tables(self.rows, promote_options="default"))
        self.folder.write_variants(self.variants, variant_states(self.variants, pl_module, "running"))
        if epoch > 0:
            self.folder.write_checkpoint(trainer.save_checkpoint)
        self.folder.write_status("running", epoch=epoch, device=self.device)
        self.tell(self.rows[-1])


def variant_states(variants: Sequence[Variant], pl_module: PopulationModule, alive: str) -> list[str]:
    """The states of all variants of the pack; those that are no longer in the module were pruned."""
    members = zip(pl_module.variants, pl_module.diverged().tolist(), strict=True)
    states = {v.number: "diverged" if diverged else alive for v, diverged in members}
    return [states.get(v.number, "pruned") for v in variants]


def _floats(values: Tensor) -> Sequence[float]:
    return values.double().tolist()


def _column(values: Tensor | list) -> pa.Array:
    """For each variant, lists of floats nested like the tensor's axes, or the task's own entries."""
    return pa.array(values.double().tolist() if isinstance(values, Tensor) else values)


def _lists(values: Tensor) -> pa.Array:
    V, K = values.shape
    flat = pa.array(values.double().cpu().numpy().ravel())
    return pa.ListArray.from_arrays(pa.array(range(0, V * K + 1, K), pa.int32()), flat)
