"""What is not complete when a sweep's jobs have ended, and why."""

from pathlib import Path

from aelle.runs.locks import is_held, lock_file
from aelle.runs.reader import DamagedRunError, Run, read_run, read_status, run_folders
from aelle.sweep.plan import Plan
from aelle.terminal import command, say


def in_training(plan: Plan) -> set[int]:
    """The variants that another process is training: those of packs whose lock it has."""
    runs = [run for run in plan.runs() if run.status["state"] != "complete" and is_held(run.lock)]
    packs = [] if plan.config["size"] is None else list(enumerate(plan.packs()))
    held = [pack for number, pack in packs if is_held(lock_file(plan.pack_folder(number)))]
    return {number for run in runs for number in run.numbers} | {variant.number for pack in held for variant in pack}


def failed_runs(plan: Plan) -> list[Path]:
    """The failed runs, except those whose variants are complete in other runs."""
    complete = plan.complete() if plan.config["size"] is not None else set()
    return [folder for folder in run_folders(plan.folder) if _has_failed(folder) and not _within(folder, complete)]


def _has_failed(folder: Path) -> bool:
    """Not if another process has taken it up again."""
    try:
        status = read_status(folder)
    except DamagedRunError:
        return False
    return status["state"] == "failed" and not is_held(folder.parent / status["lock"])


def _within(folder: Path, complete: set[int]) -> bool:
    """Whether all of a run's variants are complete; of a damaged run nobody knows."""
    try:
        return set(read_run(folder).numbers) <= complete
    except DamagedRunError:
        return False


def refused_run(folder: Path) -> Run | None:
    """The run, if it is one that is refused and can be read."""
    try:
        run = read_run(folder)
    except DamagedRunError:
        return None
    return run if run.refused else None


def say_in_training(plan: Plan, variants: int) -> None:
    """Say that another process trains so many variants."""
    shows = f"{command('status', str(plan.folder))} shows how far they are"
    say(f"{variants} {'variant is' if variants == 1 else 'variants are'} being trained by another process; {shows}")
