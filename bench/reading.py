"""The sweeps that a benchmark is given: `SWEEP=THRESHOLD`, an .npz file or a sweep's folder."""

from dataclasses import replace
from pathlib import Path

from aelle.sweep.arrays import load_arrays
from aelle.sweep.table import SweepTable, load_sweep


def read(one: str) -> SweepTable:
    """Its complete variants."""
    place, threshold = one.rsplit("=", 1)
    path = Path(place)
    sweep = load_arrays(path) if path.suffix == ".npz" else load_sweep(path)
    return replace(sweep, threshold=float(threshold)).complete()
