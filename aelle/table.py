"""A sweep's folder as arrays: every variant, epoch and spectrum that can be read, and a list of what cannot.

Axes: V variant, E epoch (0 = before training), K exponent, M point of the common-length spectrum.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from aelle.errors import UserError
from aelle.lyapunov import curve
from aelle.runs import DamagedRunError, fingerprint, read_config, read_status, read_table
from aelle.sweep import run_folders


@dataclass(frozen=True)
class SweepTable:
    """All of a sweep. `variants` has a row per variant: variant, run, state, error and the hyperparameters.

    `losses` [V, E]: validation loss, NaN where not measured or not finite. `spectra` [V, E, M]: nats per step, NaN
    where not measured. `problems`: what could not be read, a line each. `size`: how many variants the sweep is to have.
    """

    name: str
    task: str
    threshold: float
    size: int
    hyperparameters: list[str]
    variants: pd.DataFrame
    losses: Float[np.ndarray, "V E"]
    spectra: Float[np.ndarray, "V E M"]
    problems: list[str]

    @property
    def epochs(self) -> int:
        return self.losses.shape[1] - 1

    @property
    def final_loss(self) -> Float[np.ndarray, "V"]:
        return self.losses[:, -1]

    @property
    def low_error(self) -> Bool[np.ndarray, "V"]:
        """A variant that has diverged has no finite final loss, and is high-error."""
        return self.final_loss < self.threshold

    @property
    def varied(self) -> list[str]:
        """The hyperparameters in which the variants differ."""
        return [name for name in self.hyperparameters if self.variants[name].nunique() > 1]

    def take(self, rows: Int[np.ndarray, "n"]) -> "SweepTable":
        variants = self.variants.iloc[rows].reset_index(drop=True)
        return replace(self, variants=variants, losses=self.losses[rows], spectra=self.spectra[rows])

    def ended(self) -> "SweepTable":
        """The variants that trained to the end or diverged, and have a spectrum at every measured epoch."""
        measured = np.all(np.isfinite(self.spectra), axis=2)
        whole = np.all(measured[:, measured.any(0)], axis=1)
        return self.take(np.flatnonzero(whole & self.variants["state"].isin(("complete", "diverged")).to_numpy()))

    @property
    def measured_epochs(self) -> list[int]:
        """The epochs at which every variant's spectrum is known."""
        return [int(e) for e in np.flatnonzero(np.isfinite(self.spectra).all((0, 2)))]


@dataclass(frozen=True)
class _Run:
    name: str
    config: dict[str, Any]
    variants: pd.DataFrame
    epochs: pa.Table


def load_sweep(folder: Path) -> SweepTable:
    """Read every run in a sweep's folder. Raises UserError where there is nothing to read."""
    if not folder.is_dir():
        raise UserError(f"sweep={folder} does not exist: give the folder of a sweep, e.g. outputs/digits")
    folders = run_folders(folder)
    if not folders:
        raise UserError(f"{folder} holds no runs: train some first, e.g. python train.py -m experiment=digits")
    runs, problems = [], []
    for path in folders:
        try:
            runs.append(_read_run(path))
        except DamagedRunError as error:
            problems.append(f"{path.name} is left out: {error}")
    if not runs:
        raise UserError(f"no run in {folder} can be read: {'; '.join(problems)}")
    first = runs[0].config
    size = first["size"]
    kept = [run for run in runs if _belongs(run.config, first)]
    problems += [
        f"{run.name} is left out: its settings differ from {runs[0].name}'s" for run in runs if run not in kept
    ]
    return _assemble(folder.name, kept, size, problems)


def _belongs(config: dict[str, Any], first: dict[str, Any]) -> bool:
    """A sweep's runs share all settings; runs put together by hand share the task and the number of epochs."""
    if first["size"] is not None:
        return fingerprint(config) == fingerprint(first)
    return config["task"]["name"] == first["task"]["name"] and config["epochs"] == first["epochs"]


def _read_run(path: Path) -> _Run:
    status = read_status(path)
    config = read_config(path, status)
    variants, epochs = read_table(path / "variants.parquet"), read_table(path / "epochs.parquet")
    for name, table, needed in (
        ("variants.parquet", variants, ("variant", "state", "error", *config["hyperparameters"])),
        ("epochs.parquet", epochs, ("variant", "epoch", "val_loss", "spectrum")),
    ):
        missing = [column for column in needed if column not in table.column_names]
        if missing:
            raise DamagedRunError(f"{name}: it lacks {', '.join(missing)}")
    frame = variants.to_pandas()
    if not set(epochs["variant"].unique().to_pylist()) <= set(frame["variant"]):
        raise DamagedRunError("epochs.parquet: it has variants that variants.parquet lacks")
    frame["run"] = path.name
    return _Run(path.name, config, frame, epochs)


def _assemble(name: str, runs: list[_Run], size: int | None, problems: list[str]) -> SweepTable:
    config = runs[0].config
    E = config["epochs"] + 1
    M = max(_longest(run.epochs) for run in runs)
    rank = {"complete": 0, "diverged": 0, "running": 1, "failed": 2}
    chosen: dict[Any, tuple[int, int, int]] = {}
    for r, run in enumerate(runs):
        for row, (number, state) in enumerate(zip(run.variants["variant"], run.variants["state"], strict=True)):
            key = number if size is not None else (run.name, number)
            place = (rank.get(state, 3), r, row)
            chosen[key] = min(chosen.get(key, place), place)
    frames, losses, spectra = [], [], []
    for r, run in enumerate(runs):
        rows = sorted(row for _, chosen_run, row in chosen.values() if chosen_run == r)
        if rows:
            frames.append(run.variants.iloc[rows])
            loss, spectrum = _grids(run.epochs, run.variants["variant"].to_numpy()[rows], E, M)
            losses.append(loss)
            spectra.append(spectrum)
    variants = pd.concat(frames, ignore_index=True)
    order = np.argsort(variants["variant"].to_numpy(), kind="stable")
    if size is None:
        order = np.arange(len(variants))
        variants["variant"] = order
    return SweepTable(
        name=name,
        task=config["task"]["name"],
        threshold=config["task"]["threshold"],
        size=len(variants) if size is None else size,
        hyperparameters=list(config["hyperparameters"]),
        variants=variants.iloc[order].reset_index(drop=True),
        losses=np.concatenate(losses)[order],
        spectra=np.concatenate(spectra)[order],
        problems=problems,
    )


def _longest(epochs: pa.Table) -> int:
    spectra = epochs["spectrum"].combine_chunks()
    return int(spectra.value_lengths().to_numpy(zero_copy_only=False).max()) if len(spectra) else 0


def _grids(epochs: pa.Table, numbers: np.ndarray, E: int, M: int) -> tuple[np.ndarray, np.ndarray]:
    """One run's validation losses [V, E] and common-length spectra [V, E, M], NaN where there is none."""
    losses, spectra = np.full((len(numbers), E), np.nan), np.full((len(numbers), E, M), np.nan)
    place = {number: v for v, number in enumerate(numbers)}
    v = np.array([place.get(number, -1) for number in epochs["variant"].to_pylist()])
    e = epochs["epoch"].to_numpy()
    wanted = (v >= 0) & (e < E)
    losses[v[wanted], e[wanted]] = epochs["val_loss"].to_numpy()[wanted]
    column = epochs["spectrum"].combine_chunks()
    lengths = np.nan_to_num(column.value_lengths().to_numpy(zero_copy_only=False)).astype(int)
    values, starts = column.flatten().to_numpy(), np.cumsum(lengths) - lengths
    for K in np.unique(lengths[lengths > 0]):
        rows = np.flatnonzero(wanted & (lengths == K))
        spectra[v[rows], e[rows]] = curve(values[starts[rows, None] + np.arange(K)], M)
    losses[~np.isfinite(losses)] = np.nan
    return losses, spectra


def numeric(variants: pd.DataFrame, names: Sequence[str]) -> Float[np.ndarray, "V P"]:
    """Hyperparameters as numbers; one that is not numeric as a column per value."""
    return pd.get_dummies(variants[list(names)]).to_numpy(dtype=float)
