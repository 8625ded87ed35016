"""The launchers of a sweep's jobs: how many run at a time, with how many CPU threads, and what a lost job means."""

import multiprocessing
import os
import shutil
import time
from threading import Thread
from typing import Any

from aelle.errors import UserError, in_one_line

INSTALL = {
    "joblib": "hydra-joblib-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "ray": "hydra-ray-launcher",
}
"""The package that has a launcher."""

AFTER_A_LOST_JOB = {
    "joblib": "the other running jobs were stopped",
    "submitit": "the other submitted jobs continue",
    "ray": "the other running jobs were stopped",
}


SECONDS_BETWEEN_LOOKS = 1.0
"""How often a worker looks whether the process that started it is still there."""

_watching: list[Thread] = []
"""The thread of this process that does."""


def kind(hydra: Any) -> str:
    """The class of the launcher, in short: `basic` runs one job after another in this process."""
    return hydra.launcher["_target_"].rpartition(".")[2].removesuffix("Launcher").lower()


def end_with_parent() -> None:
    """End this process, a worker of joblib's, soon after the one that started it: if that is killed, joblib's workers
    finish their jobs and wait for more for ever. What a pack has written is whole, and is resumed."""
    parent = multiprocessing.parent_process()
    if parent is not None and not _watching:
        _watching.append(Thread(target=_watch, args=(parent.pid,), daemon=True))
        _watching[0].start()


def _watch(parent: int | None) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)


def check_launcher(hydra: Any) -> None:
    """Raises UserError if the launcher could not start a job."""
    if kind(hydra) == "slurm" and not (shutil.which("srun") and shutil.which("sbatch")):
        raise UserError(
            "hydra.launcher: there is no srun or sbatch on this machine; start the sweep where Slurm jobs are submitted"
        )
    jobs = hydra.launcher.get("n_jobs", 1)
    if kind(hydra) == "joblib" and not (jobs > 0 or jobs == -1):
        raise UserError(f"hydra.launcher.n_jobs={jobs}: give a whole number of at least 1, or -1 for every core")


def side_by_side(hydra: Any) -> int | None:
    """How many jobs run at the same time, or None if the cluster decides."""
    if kind(hydra) == "basic":
        return 1
    if kind(hydra) != "joblib":
        return None
    return hydra.launcher.n_jobs if hydra.launcher.n_jobs > 0 else _cores()


def _cores() -> int:
    # joblib is not needed for --help, and takes long to import.
    from joblib import cpu_count

    return cpu_count()


def threads(hydra: Any) -> int:
    """CPU threads of one job: PyTorch's default if it runs alone, else its share of the cores or what it reserves."""
    if kind(hydra) == "basic":
        import torch

        return torch.get_num_threads()
    if jobs := side_by_side(hydra):
        return max(1, _cores() // jobs)
    reserved = (
        hydra.launcher.ray.remote.get("num_cpus") if kind(hydra) == "ray" else hydra.launcher.get("cpus_per_task")
    )
    return max(1, int(reserved or 1))


def lost_job(error: BaseException) -> str | None:
    """One line for an error of the launcher itself: a job ended without a result, or was refused."""
    library = type(error).__module__.partition(".")[0]
    if isinstance(error, ConnectionError) and "Ray" in str(error):
        library = "ray"
    if library not in AFTER_A_LOST_JOB:
        return None
    cause = in_one_line(error).rstrip(".")
    return f"{library}: {cause}; {AFTER_A_LOST_JOB[library]}; run the same command again to train what is missing"
