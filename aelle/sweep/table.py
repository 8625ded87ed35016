"""A sweep's folder as arrays: every variant, epoch and spectrum that can be read, and a list of what cannot.

Axes: V variant, E epoch (0 = before training), K exponent, M point of the common-length spectrum.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from aelle.errors import UserError
from aelle.lyapunov.spectra_so_far import SpectraSoFar, mean_curves
from aelle.lyapunov.spectrum import curve
from aelle.runs.reader import Run
from aelle.sweep.anomalies import Anomaly, in_measurements, missing_spectra
from aelle.sweep.draws import repeated_draws
from aelle.sweep.options import reference_values
from aelle.sweep.selection import Selection, select
from aelle.terminal import command

MAX_ENTRIES = 100_000_000
"""Of a table of spectra: 0.8 GB."""


class Reference(NamedTuple):
    """Networks to compare the sweep with: what they have instead of draws, and their final losses, ascending."""

    values: dict[str, Any]
    losses: Float[np.ndarray, "R"]

    @property
    def median(self) -> float:
        return float(np.median(self.losses))

    def __str__(self) -> str:
        default = self.values.get("init") == "default"
        name = "PyTorch's default initialisation" if default else "reference"
        values = ", ".join(f"{name} {value}" for name, value in self.values.items() if not (default and name == "init"))
        return f"{name} ({values})" if values else name


@dataclass(frozen=True)
class SweepTable:
    """All of a sweep of that `name`, of a `task` whose low-error variants have final losses below `threshold`.
    `variants` has a row per variant: variant, run, its number and row there, state, error, whether its training is
    complete, and the `hyperparameters`.

    `losses` [V, E]: validation loss, NaN where not measured or not finite. `spectra` [V, E, M]: nats per step, NaN
    where not measured; `test_spectra` likewise, driven by the test probe, None if there is none. `exponents` [V]: how
    many exponents a variant has, of which its common-length spectra are made; None if all have M. `draws` [V]: which
    draw of the hyperparameters a variant has, where several share one (`repeated_draws`); None if each has its own.
    `problems`: what could not be read or used, a line each; `anomalies`: what was, and looks wrong. `size`: how many
    variants the sweep has when complete. `reference`: networks besides its variants, complete and with a finite loss.
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
    test_spectra: Float[np.ndarray, "V E M"] | None = None
    exponents: Int[np.ndarray, "V"] | None = None
    reference: Reference | None = None
    draws: Int[np.ndarray, "V"] | None = None
    anomalies: Sequence[Anomaly] = ()

    @property
    def warnings(self) -> list[str]:
        """All that a user should know of what is left out of the sweep, or looks wrong in it, a line each."""
        return [*self.problems, *map(str, self.anomalies)]

    @property
    def epochs(self) -> int:
        """Of a whole training."""
        return self.losses.shape[1] - 1

    @property
    def final_loss(self) -> Float[np.ndarray, "V"]:
        """The validation loss after the last epoch, NaN where a variant has not come so far or has diverged."""
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
        """The variants of these `rows`."""
        variants = self.variants.iloc[rows].reset_index(drop=True)
        test = None if self.test_spectra is None else self.test_spectra[rows]
        exponents = None if self.exponents is None else self.exponents[rows]
        draws = None if self.draws is None else self.draws[rows]
        return replace(
            self,
            variants=variants,
            losses=self.losses[rows],
            spectra=self.spectra[rows],
            test_spectra=test,
            exponents=exponents,
            draws=draws,
        )

    @property
    def over(self) -> Bool[np.ndarray, "V"]:
        """Whether a variant's training is over: complete, or stopped early."""
        return (self.variants["complete"] | (self.variants["state"] == "pruned")).to_numpy(bool)

    def complete(self) -> "SweepTable":
        """The variants whose training is over: trained to the end, or diverged in a run that has come to its end."""
        return self.take(np.flatnonzero(self.variants["complete"].to_numpy()))

    @cached_property
    def running_means(self) -> Float[np.ndarray, "V E M"]:
        """The mean of the spectra up to each epoch; NaN where none was measured at that epoch."""
        return mean_curves(self.spectra)

    def seen(self, epoch: int) -> SpectraSoFar:
        """What spectra say after `epoch`, a row per variant; NaN where none was measured then."""
        V, _, M = self.spectra.shape
        exponents = np.full(V, M) if self.exponents is None else self.exponents
        share = np.full(V, epoch / self.epochs)
        return SpectraSoFar(self.spectra[:, epoch], self.running_means[:, epoch], share, exponents)

    def measured_at_the_end(self) -> "SweepTable":
        """The variants with a finite spectrum after the last epoch."""
        measured = np.isfinite(self.spectra[:, -1]).all(axis=1) & (self.spectra.shape[2] > 0)
        return self.take(np.flatnonzero(measured))

    @property
    def pruned(self) -> int:
        """How many variants were stopped early."""
        return int((self.variants["state"] == "pruned").sum())

    @cached_property
    def measured_epochs(self) -> list[int]:
        """The epochs at which spectra were measured."""
        return [int(e) for e in np.flatnonzero(np.isfinite(self.spectra).any(axis=(0, 2)))]


def load_sweep(folder: str | Path) -> SweepTable:
    """Read and check every run in a sweep's `folder`, as `outputs/digits`. What cannot be read or used is listed in the
    table's `problems`.

    Raises UserError if there is nothing to read, or if the table would not fit into memory."""
    folder = Path(folder)
    found = select(folder)
    if not found.runs and found.problems:
        raise UserError(f"no run in {folder} can be read: {'; '.join(found.problems)}")
    if not found.runs:
        raise UserError(
            f"{folder} contains no runs: train some first, e.g. {command('train', '-m', 'experiment=digits')}"
        )
    return _assemble(folder.name, found)


def _assemble(name: str, found: Selection) -> SweepTable:
    config = max((run.config for run in found.runs), key=lambda config: config["size"] or 0)
    size, E = config["size"], config["epochs"] + 1
    M = max(_longest(run.epochs) for run in found.runs)
    used = [(run, rows) for run, rows in zip(found.runs, found.rows, strict=True) if rows]
    variants = _frame(used)
    numbers = variants["number"].to_numpy()
    if size is None:
        variants["variant"] = np.arange(len(variants))
    order = np.argsort(variants["variant"].to_numpy(), kind="stable")
    places = np.argsort(order).tolist()
    V = len(variants)
    if V * E * max(M, 1) > MAX_ENTRIES:
        raise UserError(
            f"{found.runs[0].path.parent}: a table of {V} variants, {E} epochs and {M} exponents would take "
            f"{8e-9 * V * E * M:.1f} GB of memory: measure fewer exponents, or analyse fewer variants"
        )
    losses, spectra = np.full((V, E), np.nan), np.full((V, E, M), np.nan)
    with_test = any("test_spectrum" in run.epochs.column_names for run, _ in used)
    test_spectra = np.full((V, E, M), np.nan) if with_test else None
    exponents = np.full(V, M)
    since = 0
    for run, rows in used:
        mine = slice(since, since := since + len(rows))
        places_of = dict(zip(numbers[mine].tolist(), places[mine], strict=True))
        _fill(losses, spectra, test_spectra, exponents, run.epochs, places_of)
    variants, hyperparameters = variants.iloc[order].reset_index(drop=True), list(config["hyperparameters"])
    table = SweepTable(
        name=name,
        task=config["task"]["name"],
        threshold=found.threshold,
        size=len(variants) if size is None else size,
        hyperparameters=hyperparameters,
        variants=variants,
        losses=losses,
        spectra=spectra,
        problems=found.problems,
        test_spectra=test_spectra,
        exponents=exponents,
        draws=repeated_draws(variants, hyperparameters, config["repeats"]),
    )
    table = table if size is None else _without_reference(table, reference_values(config))
    numbers = table.variants["variant"].to_numpy()
    anomalies = in_measurements(numbers, table.losses, table.spectra)
    if table.test_spectra is not None:
        anomalies += missing_spectra("test spectrum", numbers, table.losses, table.test_spectra)
    return replace(table, anomalies=anomalies)


def _without_reference(table: SweepTable, values: dict[str, Any]) -> SweepTable:
    others = table.variants["variant"].to_numpy() >= table.size
    if not others.any():
        return table
    losses = table.take(np.flatnonzero(others)).complete().final_loss
    losses = np.sort(losses[np.isfinite(losses)])
    table, lost = table.take(np.flatnonzero(~others)), int(others.sum()) - len(losses)
    why = f"reference: {lost} of {int(others.sum())} networks are left out: they have no finite final loss"
    reference = Reference(values, losses) if len(losses) else None
    return replace(table, reference=reference, problems=[*table.problems, *([why] if lost else [])])


def _frame(used: list[tuple[Run, list[int]]]) -> pd.DataFrame:
    """A row per variant, run after run; `row` is its row in the run's checkpoint, which contains no pruned variants.

    Tables of one schema are joined before they become a frame, which is faster.
    """
    frames = []
    for _, part in groupby(used, key=lambda one: one[0].variants.schema.remove_metadata()):
        some = list(part)
        frame = pa.concat_tables([run.variants.take(rows) for run, rows in some]).to_pandas()
        lengths = [len(rows) for _, rows in some]
        run = np.repeat([run.path.name for run, _ in some], lengths)
        not_pruned = (frame["state"] != "pruned").to_numpy()
        complete = not_pruned & np.repeat([run.status["state"] == "complete" for run, _ in some], lengths)
        row = np.concatenate([_members(run)[rows] for run, rows in some])
        frames.append(frame.assign(number=frame["variant"], run=run, row=row, complete=complete))
    return pd.concat(frames, ignore_index=True)


def _members(run: Run) -> Int[np.ndarray, "V"]:
    states = run.variants["state"].to_numpy()
    return np.cumsum(states != "pruned") - 1


def _longest(epochs: pa.Table) -> int:
    if "spectrum" not in epochs.column_names:
        return 0
    lengths = epochs["spectrum"].combine_chunks().value_lengths().drop_null().to_numpy()
    return int(lengths.max(initial=0))


def _fill(
    losses: np.ndarray,
    spectra: np.ndarray,
    test_spectra: np.ndarray | None,
    exponents: np.ndarray,
    epochs: pa.Table,
    places: dict[int, int],
) -> None:
    """Write one run's validation losses into [V, E], its common-length spectra into [V, E, M] and how many exponents
    they are made of into [V], at its places."""
    v = np.array([places.get(number, -1) for number in epochs["variant"].to_pylist()])
    e = epochs["epoch"].to_numpy()
    wanted = (v >= 0) & (e < losses.shape[1])
    if not wanted.any():
        return
    loss = epochs["val_loss"].to_numpy()[wanted]
    losses[v[wanted], e[wanted]] = np.where(np.isfinite(loss), loss, np.nan)
    for name, into in (("spectrum", spectra), ("test_spectrum", test_spectra)):
        if into is None or name not in epochs.column_names:
            continue
        column = epochs[name].combine_chunks()
        lengths = np.nan_to_num(column.value_lengths().to_numpy(zero_copy_only=False)).astype(int)
        values, starts = column.flatten().to_numpy(zero_copy_only=False), np.cumsum(lengths) - lengths
        for K in np.unique(lengths[lengths > 0]):
            rows = np.flatnonzero(wanted & (lengths == K))
            into[v[rows], e[rows]] = curve(values[starts[rows, None] + np.arange(K)], into.shape[2])
            exponents[v[rows]] = K
