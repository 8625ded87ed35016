"""What a trial's run folder says of its variant, in the terms of Optuna's study."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch

from aelle.lyapunov.spectrum import kaplan_yorke_dimension
from aelle.runs.reader import Run


@dataclass(frozen=True)
class Ending:
    """`state`: that of variants.parquet. `losses`: validation losses by epoch, from epoch 1 on. `summary`: values for
    the trial's user attributes, each of a name."""

    state: str
    losses: dict[int, float]
    summary: dict[str, Any]

    @property
    def value(self) -> float | None:
        """The final validation loss; None of a variant that was stopped or has diverged."""
        last = self.losses[max(self.losses)] if self.losses else math.nan
        return last if self.state == "complete" and math.isfinite(last) else None


def ending(run: Run, number: int) -> Ending:
    """How the variant of this number has ended in a complete run."""
    state = run.variants["state"][run.numbers.index(number)].as_py()
    rows = run.epochs.filter(pc.field("variant") == number).sort_by("epoch").to_pylist()
    losses = {row["epoch"]: row["val_loss"] for row in rows if row["epoch"] > 0}
    reached = max(losses, default=0)
    # Those of a diverged variant stay as they were reported while it was alive.
    losses = {} if state == "diverged" else losses
    summary: dict[str, Any] = {"run": run.path.name, "state": state, "epochs trained": reached}
    if spectra := {row["epoch"]: np.array(row["spectrum"]) for row in rows if row.get("spectrum") is not None}:
        last = spectra[max(spectra)]
        summary["largest exponent"] = _number(last.max())
        summary["mean exponent"] = _number(last.mean())
        summary["Kaplan-Yorke dimension"] = _number(kaplan_yorke_dimension(torch.from_numpy(last)))
        summary["largest exponent by epoch"] = {str(epoch): _number(one.max()) for epoch, one in spectra.items()}
    if chances := {row["epoch"]: row["chance"] for row in rows if row.get("chance") is not None}:
        summary["chance"] = _number(chances[max(chances)])
        summary["chance by epoch"] = {str(epoch): _number(chance) for epoch, chance in chances.items()}
    return Ending(state, losses, summary)


def _number(value: Any) -> float | None:
    """JSON has no NaN."""
    return float(value) if math.isfinite(value) else None
