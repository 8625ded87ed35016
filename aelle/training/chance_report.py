"""The chances of a pack's variants during training: a printed table, and `chances.csv` in its run folder."""

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytorch_lightning as pl
from jaxtyping import Float

from aelle.predictor.differences import outside_in_words
from aelle.spreadsheets import write_csv
from aelle.tasks.module import PopulationModule
from aelle.terminal import count
from aelle.training.prediction_callback import PredictionCallback
from aelle.training.pruning_callback import PruningCallback
from aelle.training.recorder import variant_states
from aelle.variants import Variant

WIDTH = 80


class ChanceReport(pl.Callback):
    """After each epoch with chances, prints the table and replaces the file, which has a row per variant and epoch.

    Comes after `prediction` and `pruning` among the trainer's callbacks. `rows`: those of a run that is resumed. Which
    variants are outside of what the predictor knows is said when that changes.
    """

    def __init__(
        self,
        folder: Path,
        variants: list[Variant],
        prediction: PredictionCallback,
        pruning: PruningCallback | None,
        say: Callable[..., object],
        rows: pa.Table | None = None,
    ):
        self.path, self.variants = folder / "chances.csv", variants
        self.prediction, self.pruning, self.say = prediction, pruning, say
        self.frames: list[pd.DataFrame] = []
        self.said, self.said_outside = False, ""
        if rows is not None and "outside" in rows.column_names:
            # Null after an epoch without chances, NaN for a diverged variant.
            measured = rows.filter(pc.field("chance").is_valid())
            self.frames.append(measured.select(["variant", "epoch", "chance", "outside"]).to_pandas())

    def on_train_start(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        if trainer.current_epoch == 0:
            self._report(trainer, pl_module, 0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: PopulationModule) -> None:
        self._report(trainer, pl_module, trainer.current_epoch + 1)

    def finish(self, pl_module: PopulationModule) -> None:
        self._write(pl_module, "complete")

    def _report(self, trainer: pl.Trainer, pl_module: PopulationModule, epoch: int) -> None:
        chances = self.prediction.chances.get(epoch)
        if chances is None:
            return
        numbers, outside = [v.number for v in pl_module.variants], self.prediction.outside[epoch]
        columns = {"variant": numbers, "epoch": epoch, "chance": chances, "outside": outside}
        self.frames.append(pd.DataFrame(columns))
        self._write(pl_module, "running")
        if epoch == trainer.max_epochs:
            # Nothing is left to predict.
            return
        said = f"after epoch {epoch} of {trainer.max_epochs}"
        if not self.said:
            threshold = self.prediction.predictor.threshold
            said += f", each variant's chance of a final validation loss below {threshold:.4g}"
        more = chance_table(numbers, chances)
        line = outside_in_words(chances, outside)
        line += ", not stopped" if line and self.pruning is not None else ""
        more += [line] if line and line != self.said_outside else []
        self.said_outside = line
        self.said = True
        if self.pruning is not None and self.pruning.stopping:
            low, left = len(self.pruning.stopping), len(numbers) - len(self.pruning.stopping)
            more.append(
                f"{count(low, 'variant')} below {100 * self.pruning.below:.4g} % stopped, {left or 'none'} left"
            )
        self.say(said, *more)

    def _write(self, pl_module: PopulationModule, alive: str) -> None:
        stopping: Collection[int] = self.pruning.stopping if self.pruning else ()
        if not self.frames:
            return
        states = dict(
            zip([v.number for v in self.variants], variant_states(self.variants, pl_module, alive), strict=True)
        )
        states |= dict.fromkeys(stopping, "pruned")
        table = pd.concat(self.frames, ignore_index=True)
        table["state"] = table["variant"].map(states)
        write_csv(self.path, table, float_format="%.6g")


def chance_table(numbers: list[int], chances: Float[np.ndarray, "V"]) -> list[str]:
    """Variants and chances in columns, the best first, line by line."""
    width, order = len(str(max(numbers))), np.argsort(-np.nan_to_num(chances, nan=-1), kind="stable")
    cells = [f"{numbers[row]:>{width}} {_percent(float(chances[row]))}" for row in order]
    columns = WIDTH // (len(cells[0]) + 3)
    return ["   ".join(cells[at : at + columns]) for at in range(0, len(cells), columns)]


def _percent(chance: float) -> str:
    return f"{100 * chance:3.0f} %" if np.isfinite(chance) else "  – %"
