"""A sweep's progress: its packs, variants, time and errors, from its folder alone."""

import platform
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aelle.errors import UserError
from aelle.hyperparameters import default
from aelle.runs.locks import is_held, lock_file
from aelle.runs.reader import Run, run_folders
from aelle.runs.settings import fingerprint
from aelle.sweep.options import reference_size
from aelle.sweep.plan import Plan
from aelle.sweep.selection import Selection, select
from aelle.variants import Variant, cost

STATES = ("complete", "running", "stale", "failed", "missing")
MAX_SILENCE_SECONDS = 600.0
"""Seconds without an update, besides five epochs' time, after which a run on another host is taken for dead."""

SHOWN_VARIANTS = 5


class PackStatus(NamedTuple):
    """A pack of the sweep's plan, or a run of a sweep without one. `run`: the one that determines its state."""

    name: str
    state: str
    run: Run | None


class Reached(NamedTuple):
    """The lowest finite validation loss of a variant so far."""

    loss: float
    epoch: int
    number: int
    run: str
    hyperparameters: dict[str, Any]


@dataclass(frozen=True)
class Status:
    """`size`: of all variants, with the `reference` ones. `variants`: how many are complete, diverged, pruned, running
    or failed at their last update, or missing. `spent`: seconds of training so far; `left`: seconds for the rest with
    `workers` packs at a time, None if unknown.
    `best`: lowest losses first. `varied`: the hyperparameters in which variants differ; `fixed`: others that do
    not have their default.
    `problems`: what could not be read, a line each.
    """

    folder: Path
    size: int
    reference: int
    epochs: int
    packs: list[PackStatus]
    variants: Counter[str]
    spent: float
    left: float | None
    workers: int
    best: list[Reached]
    varied: list[str]
    fixed: dict[str, Any]
    problems: list[str]


def sweep_status(folder: Path) -> Status:
    """The status of the sweep in this folder. Raises UserError if there is none."""
    found, plan, problems = select(folder, _without_spectra), None, []
    try:
        plan = Plan.started(folder)
    except UserError as error:
        problems.append(str(error))
    if plan is None and not run_folders(folder):
        raise UserError(f"{folder} contains no sweep: give the folder of a sweep, e.g. outputs/digits")
    if plan and found.runs and _settings(plan.config) != _settings(found.runs[0].config):
        problems.append(f"{plan.file} has other settings than {found.runs[0].path.name}")
        plan = None
    states = [run_state(run) for run in found.runs]
    if plan and not plan.searched:
        packs = _planned(plan, found, states)
    else:
        packs = [PackStatus(run.path.name, state, run) for run, state in zip(found.runs, states, strict=True)]
    config = plan.config if plan else found.runs[0].config if found.runs else {"size": None, "epochs": 0}
    last = Counter(run.variants["state"][row].as_py() for run, rows in _counting(found) for row in rows)
    size = (plan.total if plan else config["size"]) or last.total()
    last["missing"] = max(size - last.total(), 0)
    workers = max(sum(pack.state == "running" for pack in packs), 1)
    spent = sum(_seconds(run).sum() for run in found.runs)
    done, left = _work(plan, found)
    values = _hyperparameters(found)
    varied = [name for name, different in values.items() if len({*different} - {None}) > 1]
    return Status(
        folder=folder,
        size=size,
        reference=reference_size(config),
        epochs=config["epochs"],
        packs=packs,
        variants=last,
        spent=float(spent),
        left=float(left * spent / done / workers) if done else None,
        workers=workers,
        best=_best(found),
        varied=varied,
        fixed={name: one[0] for name, one in values.items() if len(one) == 1 and one[0] not in (None, default(name))},
        problems=[*problems, *found.problems],
    )


def _settings(config: dict[str, Any]) -> tuple[str, int | None]:
    # A search can be continued with a larger size.
    return fingerprint(config), None if config.get("search") else config["size"]


def run_state(run: Run) -> str:
    """One of STATES. An unfinished run is running if its lock is held, and stale if not. A run on another host, whose
    locks may not be visible from here, is stale only after a long time without an update."""
    if run.status["state"] == "complete":
        return "complete"
    if is_held(run.lock):
        return "running"
    if run.status["state"] == "failed":
        return "failed"
    # `seconds` is each variant's share of an epoch's time; with pruning there are fewer shares.
    epoch = np.unique(run.epochs["epoch"].to_numpy(), return_inverse=True)[1]
    slowest = float(np.bincount(epoch, _seconds(run), minlength=1).max())
    if run.status["host"] == platform.node() or silence(run) > MAX_SILENCE_SECONDS + 5 * slowest:
        return "stale"
    return "running"


def silence(run: Run) -> float:
    """Seconds since the run's last update."""
    return max((datetime.now(timezone.utc) - datetime.fromisoformat(run.status["updated"])).total_seconds(), 0.0)


def _without_spectra(run: Run) -> Run:
    wanted = [name for name in ("variant", "epoch", "val_loss", "seconds") if name in run.epochs.column_names]
    return replace(run, epochs=run.epochs.select(wanted))


def _counting(found: Selection) -> list[tuple[Run, list[int]]]:
    return list(zip(found.runs, found.rows, strict=True))


def _planned(plan: Plan, found: Selection, states: list[str]) -> list[PackStatus]:
    """A pack is complete when all its variants are, in whichever run; else it has the state of its liveliest run."""
    holder = {run.numbers[row]: r for r, (run, rows) in enumerate(_counting(found)) for row in rows}
    packs = []
    for i, variants in enumerate(plan.packs()):
        holders = {holder[v.number] for v in variants if v.number in holder}
        by_state = {states[r]: found.runs[r] for r in sorted(holders, reverse=True)}
        if set(by_state) == {"complete"} and all(v.number in holder for v in variants):
            state = "complete"
        else:
            begun = "running" if is_held(lock_file(plan.pack_folder(i))) else "missing"
            state = next((state for state in ("running", "stale", "failed") if state in by_state), begun)
        packs.append(PackStatus(plan.pack_folder(i).name, state, by_state.get(state)))
    return packs


def _seconds(run: Run) -> np.ndarray:
    known = "seconds" in run.epochs.column_names
    return run.epochs["seconds"].to_numpy() if known else np.zeros(run.epochs.num_rows)


def _work(plan: Plan | None, found: Selection) -> tuple[float, float]:
    """Finished and remaining work, in epochs weighted by their cost."""
    reached, weights, done = {}, {}, 0.0
    for r, (run, rows) in enumerate(_counting(found)):
        names = run.config["hyperparameters"]
        values = run.variants.select(names).to_pylist()
        costs = [cost(Variant(number, one, {})) for number, one in zip(run.numbers, values, strict=True)]
        epochs_of = Counter(run.epochs["variant"].to_pylist())
        pruned = run.pruned
        done += sum(
            cost_of * (epochs_of[number] - 1 if number in pruned else run.status["epoch"])
            for number, cost_of in zip(run.numbers, costs, strict=True)
        )
        for row in rows:
            key = (r if run.config["size"] is None else None, run.numbers[row])
            # A pruned variant needs no more training.
            reached[key] = run.config["epochs"] if run.numbers[row] in pruned else run.status["epoch"]
            weights[key] = costs[row]
    if plan and plan.searched:
        usual = sum(weights.values()) / max(len(weights), 1)
        for number in range(plan.total or 0):
            weights.setdefault((None, number), usual)
    elif plan:
        for pack in plan.packs():
            for variant in pack:
                weights.setdefault((None, variant.number), cost(variant))
    epochs = (plan or found.runs[0]).config["epochs"] if plan or found.runs else 0
    return done, sum(weight * (epochs - reached.get(key, 0)) for key, weight in weights.items())


def _hyperparameters(found: Selection) -> dict[str, list[Any]]:
    """The different values of each, in order of appearance; None for variants that do not read it."""
    values: dict[str, dict[Any, None]] = {}
    for run, rows in _counting(found):
        rows = _variants_of(run, rows)
        for name in run.config["hyperparameters"]:
            column = run.variants[name].to_pylist()
            values.setdefault(name, {}).update(dict.fromkeys(column[row] for row in rows))
    return {name: list(different) for name, different in values.items()}


def _variants_of(run: Run, rows: list[int]) -> list[int]:
    """Without the networks for reference."""
    size = run.config["size"]
    return [row for row in rows if size is None or run.numbers[row] < size]


def _best(found: Selection) -> list[Reached]:
    reached = []
    for run, rows in _counting(found):
        losses = run.epochs["val_loss"].to_numpy() if run.epochs.num_rows else np.empty(0)
        numbers, epochs = run.epochs["variant"].to_numpy(), run.epochs["epoch"].to_numpy()
        values = run.variants.select(run.config["hyperparameters"]).to_pylist()
        # The first row of each variant, of those sorted by loss.
        order = np.flatnonzero(np.isfinite(losses))
        order = order[np.argsort(losses[order], kind="stable")]
        lowest = dict(zip(*(part.tolist() for part in np.unique(numbers[order], return_index=True)), strict=True))
        for row in _variants_of(run, rows):
            if (place := lowest.get(run.numbers[row])) is not None:
                at = order[place]
                reached.append(
                    Reached(float(losses[at]), int(epochs[at]), run.numbers[row], run.path.name, values[row])
                )
    return sorted(reached, key=lambda one: one[:4])[:SHOWN_VARIANTS]
