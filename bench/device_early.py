"""The part of `bench/device.py` that trains `smnist_early` for two epochs."""

from functools import partial
from time import perf_counter

import pytorch_lightning as pl
import torch
from device_parts import Found, Rows, flops, memory, peak, share, variants
from device_sizes import Clock, Sizes, data_of, seconds, synchronize

from aelle.tasks.classification import SequenceClassification
from aelle.trainer import lean_trainer
from aelle.training.lyapunov_callback import LyapunovCallback


class Stopwatch(pl.Callback):
    """Seconds at the end of each epoch, evaluations and spectra included."""

    def __init__(self):
        self.marks: list[float] = []

    def mark(self, trainer: pl.Trainer, *_: object) -> None:
        synchronize(trainer.strategy.root_device)
        self.marks.append(perf_counter())

    on_train_start = mark
    on_train_epoch_end = mark


class TimedSpectra(LyapunovCallback):
    seconds = 0.0

    def _measure(self, pl_module: pl.LightningModule, epoch: int) -> None:
        self.seconds = seconds(partial(super()._measure, pl_module, epoch), pl_module.device)


def early(device: torch.device, sizes: Sizes, _clock: Clock, found: Found) -> Rows:
    V, H = sizes.early
    data, which = data_of(sizes.images)
    module = SequenceClassification(data, variants(V, H))
    spectra, stopwatch = TimedSpectra("network", data.probe(sizes.sequences)), Stopwatch()
    trainer = lean_trainer(
        max_epochs=2,
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=[torch.cuda.current_device()] if device.type == "cuda" else 1,
        enable_checkpointing=False,
        callbacks=[spectra, stopwatch],
    )
    since = perf_counter()
    trainer.fit(module)
    start, first, second = (b - a for a, b in zip([since, *stopwatch.marks], stopwatch.marks, strict=False))
    module.to(device)
    evaluation = seconds(lambda: [module.evaluated(part) for part in module.val_dataloader()], device)
    steps = len(module.batches)
    taken = (second - spectra.seconds - evaluation) / steps
    yield {
        "what": f"{V} LSTMs of {H}, {which}",
        "start, s": start,
        "first epoch, s": first,
        "second epoch, s": second,
        "of which spectra, s": spectra.seconds,
        "evaluation, s": evaluation,
        "milliseconds per step": 1000 * taken,
        "20 epochs, minutes": (start + first + 19 * second) / 60,
        "goal, minutes": 5,
        "share of float32 peak, %": share(1e-12 * flops(V, H) / taken, peak(found, torch.float32)),
        "memory, GiB": memory(device),
    }
