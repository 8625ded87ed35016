"""Sweeps by other projects' launchers, each in real processes, of which some fail and some are killed."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from aelle.commands.launch import register_resolvers
from aelle.commands.launchers import check_launcher, lost_job, side_by_side, threads
from aelle.runs.reader import DamagedRunError, read_run, read_status, run_folders
from sweeps import ROOT, SMALL, command, rows

FAILING = """
from pathlib import Path
from aelle.tasks import SequenceClassification

class Failing(SequenceClassification):
    def on_train_epoch_start(self):
        super().on_train_epoch_start()
        if len(self.variants) == 2 and Path("broken").exists():
            raise RuntimeError("no luck")
"""


def needs(plugin: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(f"hydra_plugins.hydra_{plugin}_launcher") is None
    return pytest.mark.skipif(missing, reason=f"hydra-{plugin}-launcher is not installed")


def trained(sweep: Path) -> list[int]:
    """Numbers of the variants of all complete runs, as often as they have been trained."""
    runs = [read_run(folder) for folder in run_folders(sweep)]
    return sorted(n for run in runs if run.status["state"] == "complete" for n in run.numbers)


@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param("joblib", marks=[needs("joblib"), pytest.mark.long]),
        pytest.param("submitit_local", marks=[needs("submitit"), pytest.mark.long]),
        pytest.param("ray", marks=[needs("ray"), pytest.mark.long]),
    ],
)
def test_a_failing_job_is_recorded_with_its_traceback_and_alone_is_started_again(tmp_path, launcher):
    (tmp_path / "failing.py").write_text(FAILING)
    (tmp_path / "broken").touch()
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    line = [
        "-m",
        "experiment=digits",
        *SMALL,
        "size=7",
        "task.module._target_=failing.Failing",
        f"hydra/launcher={launcher}",
    ]
    done = command("train.py", *line, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path})
    sweep = tmp_path / "outputs" / "digits"
    assert done.returncode == 1 and "2 variants not complete; failed: pack-0001" in done.stderr
    assert "1 CPU thread each" in done.stdout and len(trained(sweep)) == 5
    traceback = read_status(sweep / "pack-0001")["error"]
    assert 'failing.py", line' in traceback and traceback.endswith("RuntimeError: no luck\n")

    (tmp_path / "broken").unlink()
    files = {file: file.stat().st_mtime_ns for file in sweep.glob("pack-0000/*")}
    again = command("train.py", *line, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path})
    assert again.returncode == 0 and "7 of 7 variants complete" in again.stdout, again.stderr
    assert "failed" not in again.stdout and trained(sweep) == list(range(7))
    assert files == {file: file.stat().st_mtime_ns for file in sweep.glob("pack-0000/*")}


def start(cwd: Path, *overrides: str) -> subprocess.Popen:
    line = [sys.executable, str(ROOT / "train.py"), "-m", "experiment=digits", *overrides]
    return subprocess.Popen(line, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


KILLED = [*SMALL, "size=4", "pack_size=2", "epochs=30"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict:
    """The rows of that sweep, trained to its end in one process, with as many threads as a job of a launcher has."""
    cwd = tmp_path_factory.mktemp("alone")
    done = command("train.py", "-m", "experiment=digits", *KILLED, cwd=cwd, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return rows(cwd / "outputs" / "digits")


def wait_for(folder: Path, condition) -> None:
    """Until the status of a run is as asked for."""
    end = time.monotonic() + 240
    while time.monotonic() < end:
        try:
            if condition(read_status(folder)):
                return
        except DamagedRunError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"{folder} has not come so far")


TWO_AT_A_TIME = {
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "submitit_local": ["hydra/launcher=submitit_local"],
    # Of its own, wherever it runs: two workers, no dashboard, no questions to other machines.
    "ray": [
        *("hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2", "+hydra.launcher.ray.init.num_gpus=0"),
        *("+hydra.launcher.ray.init.include_dashboard=false", "+hydra.launcher.ray.remote.max_retries=0"),
    ],
}


@pytest.mark.long
@pytest.mark.parametrize(
    ("launcher", "says"),
    [
        pytest.param("joblib", "the other running jobs were stopped", marks=needs("joblib")),
        pytest.param("submitit_local", "the other submitted jobs continue", marks=needs("submitit")),
        pytest.param("ray", "the other running jobs were stopped", marks=needs("ray")),
    ],
)
def test_a_killed_job_is_one_line_and_goes_on_at_the_next_start(tmp_path, alone, launcher, says):
    """What a kill in the middle has left is resumed, and the rows are in the end those of one job after the other."""
    sweep = tmp_path / "outputs" / "digits"
    line = [*KILLED, *TWO_AT_A_TIME[launcher]]
    with start(tmp_path, *line) as running:
        killed = sweep / "pack-0000"
        wait_for(killed, lambda status: status["epoch"] >= 1)
        os.kill(read_status(killed)["process"], signal.SIGKILL)
        _, err = running.communicate(timeout=240)
    assert running.returncode == 1
    # joblib's own tracker of temporary files may add a warning, and Ray the reasons that it can think of.
    (line_of_error,) = [text for text in err.splitlines() if text.startswith("error: ")]
    assert says in line_of_error and "the same command again" in line_of_error and "Traceback" not in err
    if launcher == "submitit_local":
        wait_for(sweep / "pack-0001", lambda status: status["state"] == "complete")
    stopped = read_status(killed)
    assert stopped["state"] == "running" and 1 <= stopped["epoch"] < 30
    again = command("train.py", "-m", "experiment=digits", *line, cwd=tmp_path)
    assert again.returncode == 0 and trained(sweep) == [0, 1, 2, 3], again.stderr
    assert len(run_folders(sweep)) == 2
    assert rows(sweep) == alone


@needs("ray")
@pytest.mark.long
def test_ray_starts_a_killed_job_again(tmp_path, alone):
    sweep = tmp_path / "outputs" / "digits"
    line = [*KILLED, *TWO_AT_A_TIME["ray"][:-1], "+hydra.launcher.ray.remote.max_retries=3"]
    with start(tmp_path, *line) as running:
        killed = sweep / "pack-0001"
        wait_for(killed, lambda status: status["epoch"] >= 1)
        first = read_status(killed)["process"]
        os.kill(first, signal.SIGKILL)
        out, err = running.communicate(timeout=240)
    assert running.returncode == 0 and "4 of 4 variants complete" in out, err
    assert read_status(killed)["process"] not in (first, running.pid)
    assert trained(sweep) == [0, 1, 2, 3] and rows(sweep) == alone


def test_two_sweeps_at_once_never_train_a_pack_twice(tmp_path):
    with start(tmp_path, *SMALL) as first, start(tmp_path, *SMALL) as second:
        printed, errors = zip(*(process.communicate(timeout=240) for process in (first, second)), strict=True)
        assert errors == ("", "") and (first.returncode, second.returncode) == (0, 0)
    for pack in (1, 2, 3):
        assert sum(out.count(f"pack {pack} of 3: {2 if pack == 3 else 5} variants in") for out in printed) == 1, printed
    assert trained(tmp_path / "outputs" / "digits") == list(range(12))


def hydra_with(*overrides: str):
    register_resolvers()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", ["experiment=digits", *overrides], return_hydra_config=True).hydra


@needs("joblib")
@pytest.mark.parametrize(("n_jobs", "jobs", "each"), [(-1, 8, 1), (1, 1, 8), (3, 3, 2), (8, 8, 1), (20, 20, 1)])
def test_jobs_of_joblib_share_the_cores(monkeypatch, n_jobs, jobs, each):
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    hydra = hydra_with("hydra/launcher=joblib", f"hydra.launcher.n_jobs={n_jobs}")
    assert (side_by_side(hydra), threads(hydra)) == (jobs, each)


def test_a_job_has_the_threads_that_its_launcher_reserves():
    assert (side_by_side(hydra_with()), threads(hydra_with())) == (1, torch.get_num_threads())


@needs("submitit")
def test_a_job_of_slurm_has_the_threads_that_it_reserves():
    hydra = hydra_with("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=4")
    assert (side_by_side(hydra), threads(hydra)) == (None, 4)
    assert threads(hydra_with("hydra/launcher=submitit_slurm")) == 1
    # The plugin's own options are there beside ours.
    assert hydra.launcher.max_num_timeout == 10 and "partition" in hydra.launcher


@needs("ray")
def test_a_task_of_ray_has_the_threads_that_it_reserves():
    assert threads(hydra_with("hydra/launcher=ray_cluster", "hydra.launcher.ray.remote.num_cpus=3")) == 3
    assert threads(hydra_with("hydra/launcher=ray")) == 1


@pytest.mark.parametrize(
    ("launcher", "file", "installs"),
    [
        ("joblib", "joblib", "hydra-joblib-launcher"),
        ("submitit_local", "submitit_local", "hydra-submitit-launcher"),
        ("slurm", "submitit_slurm", "hydra-submitit-launcher"),
        ("ray_cluster", "ray", "hydra-ray-launcher"),
    ],
)
def test_a_launcher_that_is_not_installed_is_one_line(main, monkeypatch, tmp_path, launcher, file, installs):
    Plugins.instance()
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], f"{file}.yaml", raising=False)
    code, _, err = main("train.py", "-m", "experiment=digits", f"hydra/launcher={launcher}")
    assert code == 2 and err.count("\n") == 1 and f"pip install {installs}\n" in err
    assert list(tmp_path.iterdir()) == []


@needs("submitit")
def test_slurm_without_slurm_is_one_line(main, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = main("train.py", "-m", "experiment=digits", "hydra/launcher=slurm")
    assert code == 2 and err.count("\n") == 1 and "no srun or sbatch" in err and list(tmp_path.iterdir()) == []


@needs("joblib")
@pytest.mark.parametrize("n_jobs", [0, -2])
def test_no_jobs_at_all_is_refused(n_jobs):
    with pytest.raises(ValueError, match=f"n_jobs={n_jobs}: give a whole number of at least 1, or -1"):
        check_launcher(hydra_with("hydra/launcher=joblib", f"hydra.launcher.n_jobs={n_jobs}"))


def test_what_is_not_a_launchers_error_keeps_its_traceback():
    assert lost_job(RuntimeError("no luck")) is None and lost_job(ConnectionError("no route")) is None
    assert "could not find any running Ray" in (lost_job(ConnectionError("could not find any running Ray")) or "")


def test_more_packs_than_slurm_takes_at_once_come_in_batches():
    assert hydra_with().sweeper.max_batch_size == 1000


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@needs("joblib")
def test_workers_end_with_the_process_that_started_them(tmp_path):
    line = [*SMALL, "size=4", "pack_size=2", "epochs=300", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    sweep = tmp_path / "outputs" / "digits"
    with start(tmp_path, *line) as running:
        for pack in ("pack-0000", "pack-0001"):
            wait_for(sweep / pack, lambda status: status["epoch"] >= 1)
        workers = {read_status(sweep / pack)["process"] for pack in ("pack-0000", "pack-0001")}
        assert len(workers) == 2 and running.pid not in workers
        os.kill(running.pid, signal.SIGKILL)
        end = time.monotonic() + 30
        while any(map(alive, workers)) and time.monotonic() < end:
            time.sleep(0.1)
        left = [worker for worker in workers if alive(worker)]
        for worker in left:
            os.kill(worker, signal.SIGKILL)
    assert left == []
    assert all(read_run(sweep / pack).status["epoch"] < 300 for pack in ("pack-0000", "pack-0001"))


@pytest.mark.parametrize("how", ["link", "folder", "pipe"])
def test_a_lock_that_is_no_file_is_one_line_and_leads_nowhere(tmp_path, main, aelle, how):
    sweep, precious = tmp_path / "outputs" / "digits", tmp_path / "precious"
    precious.write_text("mine")
    assert main("train.py", "-m", "experiment=digits", *SMALL, "epochs=1", "variants=0-4")[0] == 0
    lock = sweep / ".pack-0001.lock"
    lock.unlink(missing_ok=True)
    {"link": lambda: lock.symlink_to(precious), "folder": lock.mkdir, "pipe": lambda: os.mkfifo(lock)}[how]()
    for many in ([], ["-m"]):
        words = ["pack=1"] if not many else []
        code, _, err = main("train.py", *many, "experiment=digits", *SMALL, "epochs=1", *words)
        assert code == 2 and err.count("\n") == 1 and f"is a {how}" in err and "remove it" in err
    assert trained(sweep) == [0, 1, 2, 3, 4] and precious.read_text() == "mine"
    assert aelle("status", sweep)[0] == 0
