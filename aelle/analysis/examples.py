"""Outputs of three trained networks, of low, median and high error (Vogt et al. 2022, Fig. 4)."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aelle.runs.reader import DamagedRunError, read_example
from aelle.sweep.table import SweepTable

QUANTILES = (0.05, 0.5, 0.95)
"""Quantiles of the final loss, among the variants where it is finite."""


class Example(NamedTuple):
    """A variant's number, its final loss, and the `output` that its task saved, by name."""

    number: int
    loss: float
    output: dict[str, Any]


def load_examples(folder: Path, sweep: SweepTable) -> tuple[list[Example], list[str]]:
    """The examples at the three quantiles, and what could not be read; none where fewer than three are complete."""
    finite = np.flatnonzero(np.isfinite(sweep.final_loss) & sweep.variants["complete"].to_numpy(bool))
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
