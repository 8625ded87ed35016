"""What pruning saves and costs, next to no pruning and successive halving: `python bench/pruning.py /tmp/pruning`.

A model is fitted to one sweep of `digits` and prunes another sweep with another seed. All packs are trained here, one
after the other; what is in the folder already is not trained again and has no time. The table is in Markdown. "Trained"
is the share of all epochs, "best loss" the lowest final validation loss of a variant that was not pruned, "low-error"
how many of the unpruned sweep's low-error variants were trained to the end. Successive halving (Jamieson and Talwalkar
2016) trains all variants as one population, without spectra or run folders, and after epochs 1, 2, 4, … continues with
the half that has the lower validation losses.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from many_runs import planned

from aelle.data.images import digits
from aelle.model.chances import fit_to_all
from aelle.model.estimator import AeLLE
from aelle.sweep.plan import Plan
from aelle.sweep.table import SweepTable, load_sweep
from aelle.tasks.classification import SequenceClassification
from aelle.tasks.module import PopulationModule
from aelle.trainer import lean_trainer
from aelle.training.pack import train_pack
from aelle.training.parts import Parts
from aelle.training.progress import Progress


def trained(folder: Path, name: str, *overrides: str) -> tuple[SweepTable, float | None]:
    """The sweep of that name, and the seconds of its training; None where some of it was there already."""
    plan = planned(folder, f"sweep={name}", *overrides)
    there = bool(plan.complete())
    since = time.perf_counter()
    for pack, variants in enumerate(plan.packs()):
        of_pack = Plan({**plan.config, "pack": pack}, plan.folder)
        if not train_pack(of_pack, plan.pack_folder(pack), variants, Parts(of_pack.config), Progress(of_pack, 1)):
            raise SystemExit(f"{plan.pack_folder(pack)} has failed")
    seconds = time.perf_counter() - since
    return load_sweep(plan.folder), None if there else seconds


def row(way: str, seconds: float | None, share: float, best: float, low: str) -> str:
    wall = "–" if seconds is None else f"{seconds:.0f} s"
    return f"| {way} | {wall} | {100 * share:.0f} % | {best:.4f} | {low} |"


def measured(way: str, seconds: float | None, sweep: SweepTable, whole: SweepTable) -> str:
    """The row of a sweep beside the one that was trained to its end."""
    epochs = np.isfinite(sweep.losses[:, 1:]).sum()
    complete = sweep.variants["complete"].to_numpy(bool)
    best = float(np.nanmin(sweep.final_loss)) if np.isfinite(sweep.final_loss).any() else np.nan
    low = f"{int((whole.low_error & complete).sum())} of {int(whole.low_error.sum())}"
    return row(way, seconds, epochs / np.isfinite(whole.losses[:, 1:]).sum(), best, low)


class Halving(pl.Callback):
    """After epochs 1, 2, 4, … the half with the larger validation loss is cut; `epochs` counts what was trained."""

    epochs = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        k, V = trainer.current_epoch, len(pl_module.variants)
        if k > 0 and k & (k - 1) == 0 and V > 1:
            order = torch.argsort(pl_module.metrics["val_loss"].nan_to_num(torch.inf), stable=True)
            pl_module.take(sorted(order[: -(-V // 2)].tolist()), trainer.optimizers)
        self.epochs += len(pl_module.variants)


def halved(plan: Plan, whole: SweepTable) -> str:
    module = SequenceClassification(digits(), [plan.variant(n) for n in sorted(plan.wanted())])
    halving, since = Halving(), time.perf_counter()
    epochs = plan.config["epochs"]
    lean_trainer(max_epochs=epochs, accelerator="cpu", callbacks=[halving], enable_checkpointing=False).fit(module)
    seconds = time.perf_counter() - since
    left = [v.number for v in module.variants]
    low = f"{int(whole.low_error[left].sum())} of {int(whole.low_error.sum())}"
    best = float(module.metrics["val_loss"].min())
    return row("successive halving", seconds, halving.epochs / np.isfinite(whole.losses[:, 1:]).sum(), best, low)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--variants", type=int, default=50, help="of each of the two sweeps")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--prune", type=float, default=0.1, help="the chance below which a variant is stopped")
    parser.add_argument("overrides", nargs="*", help="for every sweep, as hidden_size=16")
    options = parser.parse_intermixed_args()

    sweeps = [f"size={options.variants}", f"epochs={options.epochs}", *options.overrides]
    learned, _ = trained(options.folder, "learned", *sweeps, "seed=1")
    model = fit_to_all(learned.complete(), AeLLE(learned.threshold))
    model.save(options.folder / "model")
    pruning = [f"prediction.model={(options.folder / 'model').resolve()}", f"prediction.prune={options.prune}"]
    last, first = "lyapunov.every_n_epochs=[]", "lyapunov.every_n_epochs=[0,1]"
    unmeasured, seconds = trained(options.folder, "unmeasured", *sweeps, last)
    whole, seconds_of_whole = trained(options.folder, "whole", *sweeps)
    pruned, seconds_of_pruned = trained(options.folder, "pruned", *sweeps, *pruning)
    once, seconds_of_once = trained(options.folder, "once", *sweeps, *pruning, first)

    print(f"\n{options.variants} variants of digits, {options.epochs} epochs, {torch.get_num_threads()} threads")
    print("\n| | wall time | trained | best loss | low-error |\n|---|---|---|---|---|")
    print(measured("no pruning, spectra after the last epoch only", seconds, unmeasured, whole))
    print(measured("no pruning, spectra after every epoch", seconds_of_whole, whole, whole))
    print(measured(f"pruned below {options.prune} after every epoch", seconds_of_pruned, pruned, whole))
    print(measured(f"pruned below {options.prune} once, after epoch 1", seconds_of_once, once, whole))
    print(halved(planned(options.folder, "sweep=whole", *sweeps), whole))


if __name__ == "__main__":
    main()
