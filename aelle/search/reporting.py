"""Reports a pack's losses to the study after every epoch, and stops the variants that Optuna's pruner picks."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from jaxtyping import Bool

from aelle.errors import in_one_line
from aelle.search.study import STORAGE_ERRORS, Study
from aelle.tasks.module import PopulationModule
from aelle.training.pruning_callback import Stopping


class StudyCallback(Stopping):
    """All losses of an epoch are reported before any variant is judged. `rows`: those of a run that is resumed.

    What cannot be reported is reported later, at the latest when the pack has ended: a storage that is out of reach for
    a while does not stop the training.
    """

    def __init__(self, study: Study, rows: pa.Table | None, say: Callable[[str], object]):
        super().__init__()
        self.study, self.say, self.complained = study, say, False
        self.losses: dict[int, dict[int, float]] = {}
        for row in [] if rows is None else rows.select(["variant", "epoch", "val_loss"]).to_pylist():
            if row["epoch"] > 0:
                self.losses.setdefault(row["variant"], {})[row["epoch"]] = row["val_loss"]

    def judge(self, pl_module: PopulationModule, epoch: int) -> Bool[np.ndarray, "V"]:
        """Those that have diverged are not trained any more, but stay in the population: their losses say nothing."""
        nobody = np.zeros(len(pl_module.variants), dtype=bool)
        if epoch == 0:
            return nobody
        numbers = [variant.number for variant in pl_module.variants]
        diverged = pl_module.diverged().cpu().numpy()
        alive = [number for number, gone in zip(numbers, diverged, strict=True) if not gone]
        for row, number in enumerate(numbers):
            known = self.losses.setdefault(number, {})
            if epoch not in known:
                known[epoch] = float(pl_module.metrics["val_loss"][row])
        try:
            for number in alive:
                self.study.report(number, self.losses[number])
            return np.array([number in alive and self.study.prunes(number, epoch) for number in numbers], dtype=bool)
        except STORAGE_ERRORS as error:
            if not self.complained:
                self.say(f"warning: the study cannot be written ({in_one_line(error)}); training continues")
            self.complained = True
            return nobody
