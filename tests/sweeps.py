"""Sweeps of seconds: trained by the command line and read back, or made up as a table or an array file."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch

from aelle.runs.reader import read_run, run_folders
from aelle.runs.writer import RunFolder
from aelle.sweep.plan import Plan
from aelle.sweep.table import SweepTable

ROOT = Path(__file__).parent.parent


SMALL = [
    *("hidden_size=8", "size=12", "pack_size=5", "epochs=3", "lyapunov.sequences=4", "reference=null"),
    *("cell=lstm", "p='uniform(2.0, 3.0)'", "learning_rate=0.01", "weight_decay=0.0", "task.threshold=0.5"),
]
"""A sweep of seconds: three packs of five, five and two variants that differ in p."""


def command(script: str, *overrides: str, cwd: Path, **options) -> subprocess.CompletedProcess:
    """Run train.py or analyze.py as a user does, writing below `cwd`."""
    line = [sys.executable, str(ROOT / script), *overrides]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, timeout=300, **options)


QUICK = ["aelle.epochs=4", "splits=2"]


def synthetic(V: int = 60, E: int = 3, M: int = 8, seed: int = 0) -> SweepTable:
    """Variants whose spectrum tells their final loss before training, and whose loss tells it later."""
    rng = np.random.default_rng(seed)
    quality = rng.uniform(0, 1, V)
    share = np.linspace(0, 1, E + 1)
    losses = (1 - share) * rng.uniform(1, 2, (V, 1)) + share * (0.1 + quality[:, None])
    spectra = -(1 + 3 * quality[:, None, None]) * np.linspace(0, 1, M) + 0.05 * rng.standard_normal((V, E + 1, M))
    state = np.where(np.arange(V) % 20 == 19, "diverged", "complete")
    losses[state == "diverged", -1] = np.nan
    columns = {"variant": np.arange(V), "run": "r", "state": state, "error": None, "complete": True, "p": quality}
    variants = pd.DataFrame(columns)
    return SweepTable("s", "t", 0.5, V, ["p"], variants, losses, spectra, [])


def write_arrays(path, **changes) -> None:
    sweep = synthetic()
    arrays = {
        "val_loss": sweep.losses,
        "spectrum": sweep.spectra,
        "p": sweep.variants["p"].to_numpy(),
        "note": np.zeros(3),
    }
    np.savez(path, **{name: array for name, array in (arrays | changes).items() if array is not None})


def of_spectra(spectra: np.ndarray, losses: list[float], **hyperparameters: list) -> SweepTable:
    V = len(losses)
    columns = {"variant": np.arange(V), "run": "r", "state": "complete", "error": None, "complete": True}
    variants = pd.DataFrame({**columns, **hyperparameters})
    grid = np.full((V, 2), np.nan)
    grid[:, 1] = losses
    grid[~np.isfinite(grid)] = np.nan
    return SweepTable("s", "t", 0.5, V, list(hyperparameters), variants, grid, np.stack([spectra, spectra], 1), [])


def runs(sweep):
    return [read_run(path) for path in run_folders(sweep)]


def rows(sweep) -> dict:
    """Every row of a sweep but for the seconds, by variant and epoch."""
    found = {}
    for run in runs(sweep):
        for row in run.epochs.to_pylist():
            row.pop("seconds")
            found[row["variant"], row["epoch"]] = row
    return found


def weights(sweep, packs="*") -> list[dict]:
    """The state of every network and of every optimiser in a sweep's checkpoints."""
    found = []
    for path in sorted(sweep.glob(f"{packs}/checkpoint.ckpt")):
        checkpoint = torch.load(path, weights_only=True)
        moments = checkpoint["optimizer_states"][0]["state"]
        flat = {f"adam {i} {name}": tensor for i, state in moments.items() for name, tensor in state.items()}
        found.append({**checkpoint["state_dict"], **flat})
    return found


class KilledError(BaseException):
    """Not an Exception: nothing of ours may catch it, as nothing could catch a kill."""


def results(folder):
    rows = [{**row, "seconds": None} for row in read_run(folder).epochs.to_pylist()]
    state = torch.load(folder / "checkpoint.ckpt", weights_only=True)["state_dict"]
    return repr(rows), state, pq.ParquetFile(folder / "examples.parquet").read().to_pylist()


def assert_equal(a, b):
    assert a[0] == b[0] and a[2] == b[2] and list(a[1]) == list(b[1])
    for name, tensor in a[1].items():
        assert torch.equal(tensor, b[1][name]), name


def unfinish(sweep, name: str, state: str, epoch: int, error: str | None = None) -> RunFolder:
    """Make a complete run one that has come to that epoch."""
    run = read_run(sweep / name)
    folder = RunFolder(run.path, run.config)
    folder.write_epochs(run.epochs.filter(pq.filters_to_expression([("epoch", "<=", epoch)])))
    folder.write_variants([Plan(run.config, sweep).variant(n) for n in run.numbers], [state] * len(run.numbers), error)
    folder.write_status(state, epoch=epoch, error=error)
    return folder


def report_of(out: str) -> Path:
    """The report that analyze.py said it has written."""
    return Path(re.findall(r"^report: (.*) \(written in", out, re.MULTILINE)[-1])


def results_of(out: str) -> Path:
    """Where the tables, figures and model of that report are."""
    report = report_of(out)
    name = report.stem.removeprefix("report")
    return report.parent / f"analysis{name}" if name else report.parent
