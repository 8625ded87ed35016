"""What Weights & Biases costs a pack, offline: `python bench/tracking.py [variants] [epochs]`."""

import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from aelle.tracking.heat_map import heat_maps
from aelle.tracking.rows import rows_of
from aelle.tracking.tracker import Pack
from aelle.tracking.wandb import WandbRuns
from aelle.variants import Variant

V, E = (int(number) for number in (*sys.argv[1:], 25, 20)[:2])
METRICS = ("train_loss", "val_loss", "val_accuracy", "test_loss", "test_accuracy", "seconds", "clamped")
EXPONENTS = np.linspace(0.1, -5, 64)


def resident(process: str = "self") -> float:
    """Megabytes."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096 / 1e6


def core() -> str:
    """The id of the one process that Weights & Biases starts."""
    started = Path("/proc/self/task").glob("*/children")
    return next(pid for file in started for pid in file.read_text().split())


with tempfile.TemporaryDirectory() as sweep:
    before = resident()
    space = {"lyapunov": {}, "seed": 0, "repeats": 1, "trainer": {}, "hyperparameters": []}
    config = {**space, "sweep": "bench", "epochs": E, "task": {"name": "bench", "threshold": 1.0, "data": {}}}
    pack = Pack(Path(sweep) / "pack-0000", config, [Variant(n, {"p": n / V}, {}) for n in range(V)], resumed=False)
    tracker = WandbRuns("bench", None, "offline")
    since = [time.perf_counter()]
    tracker.start(pack)
    since.append(time.perf_counter())
    tables = []
    for epoch in range(E + 1):
        metrics = {name: np.full(V, 0.5) for name in METRICS}
        spectra = list(EXPONENTS - np.random.rand(V, 64))
        tables.append(pa.table({"variant": range(V), "epoch": [epoch] * V, **metrics, "spectrum": spectra}))
        tracker.epoch(rows_of(tables[-1]))
    since.append(time.perf_counter())
    tracker.pictures(heat_maps(tables))
    since.append(time.perf_counter())
    memory = f"{resident() - before:.0f} MB here and {resident(core()):.0f} MB in its own process"
    tracker.finish([{"state": "complete", "final_loss": 0.5, "low_error": 1}] * V)
    since.append(time.perf_counter())
    files = [file for file in Path(sweep).rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files) / 1e3
    begin, epochs, pictures, end = (b - a for a, b in pairwise(since))
    print(f"{V} runs begin in {begin:.2f} s and end in {end:.2f} s; an epoch takes {1e3 * epochs / (E + 1):.0f} ms")
    print(f"their heat maps take {pictures:.2f} s, once")
    print(f"{memory}; {len(files)} files of {size:.0f} kB in all")
