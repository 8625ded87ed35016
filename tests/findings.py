"""Findings of made-up sweeps, for the report."""

from pathlib import Path

import numpy as np

from aelle.analysis.early import Chances, study
from aelle.analysis.features import correlations
from aelle.analysis.findings import Findings
from aelle.model.estimator import AeLLE
from aelle.sweep.retraining import Retraining
from aelle.sweep.table import SweepTable


def found_of(sweep: SweepTable, splits: int = 2, **changes) -> Findings:
    early = study(sweep.complete(), AeLLE(0.5, epochs=4), splits)
    parts = {
        "shares": {},
        "correlations": correlations(sweep.complete()),
        "examples": [],
        "plane": None,
        "comparison": None,
        "no_plane": "none",
    }
    rest = {"reason": "", "elsewhere": [], "split_shares": [0.32, 0.08, 0.6], "settings": ""}
    return Findings(
        **{
            "sweep": sweep,
            "verdict": "Spectra help.",
            "outside": {},
            "complete": sweep.complete(),
            "early": early,
            **parts,
            **rest,
            **changes,
        }
    )


def retraining_of(sweep: SweepTable) -> Retraining:
    config = {"outputs": "outputs", "sweep": "s", "size": len(sweep.losses)}
    return Retraining(Path("outputs/s"), ["experiment=x"], sweep.variants, config)


def with_chances(found: Findings, chances: np.ndarray, outside: tuple[int, ...] = ()) -> Findings:
    """Of every variant after the first epoch."""
    grid = np.full(found.sweep.losses.shape, np.nan)
    grid[:, 1] = chances
    unlike = np.zeros(grid.shape, dtype=bool)
    unlike[list(outside), 1] = True
    found.__dict__["chances"] = Chances(grid, unlike)
    return found
