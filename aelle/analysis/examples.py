"""What three trained networks put out: one of low, one of middle and one of high error (Vogt et al. 2022, Fig. 4)."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aelle.runs.reader import DamagedRunError, read_example
from aelle.sweep.table import SweepTable

QUANTILES = (0.05, 0.5, 0.95)
"""Of the final loss, among the variants that have one."""


class Example(NamedTuple):
    """A variant and the row that its task has written for it: `output` by name."""

    number: int
    loss: float
    output: dict[str, Any]


def load_examples(folder: Path, sweep: SweepTable) -> tuple[list[Example], list[str]]:
    """Those of the variants at the three quantiles, and what could not be read; none where fewer have ended."""
    finite = np.flatnonzero(np.isfinite(sweep.final_loss) & sweep.variants["ended"].to_numpy(bool))
    order = finite[np.argsort(sweep.final_loss[finite], kind="stable")]
    if len(order) < len(QUANTILES):
        return [], []
    examples, problems = [], []
    for quantile in QUANTILES:
        row = order[round(quantile * (len(order) - 1))]
        variant = sweep.variants.iloc[row]
        try:
            output = read_example(folder / variant["run"], int(variant["number"]))
        except DamagedRunError as error:
            problems.append(f"{variant['run']}: examples are left out: {error}")
            continue
        examples.append(Example(int(variant["variant"]), float(sweep.final_loss[row]), output))
    return examples, list(dict.fromkeys(problems))
