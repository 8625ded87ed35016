"""Jobs on all cores: results in order, errors as they are, nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from aelle.analysis import processes
from aelle.analysis.processes import on_all_cores
from aelle.errors import TooFewError, UserError
from aelle.model.autoencoder import Autoencoders
from sweeps import ROOT

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")


@pytest.fixture
def cores(monkeypatch):
    monkeypatch.setattr(processes, "cpu_count", lambda: 2)


def test_results_are_in_order_and_those_of_one_core(cores, monkeypatch):
    weights = torch.randn(3, 50, 50, dtype=torch.float64)

    def job(n: int) -> tuple[int, np.ndarray]:
        time.sleep(0.05 * (n == 0))
        return n, torch.linalg.svdvals(weights[n]).numpy()

    found = on_all_cores(job, 3)
    monkeypatch.setattr(processes, "cpu_count", lambda: 1)
    for (n, values), (m, expected) in zip(found, on_all_cores(job, 3), strict=True):
        assert n == m
        np.testing.assert_allclose(values, expected, rtol=1e-12)


@linux
def test_jobs_run_in_processes_of_their_own(cores):
    assert os.getpid() not in on_all_cores(lambda _: os.getpid(), 2)


@linux
def test_errors_are_raised_as_they_are(cores):
    def too_few(n: int) -> int:
        raise TooFewError(f"{n} are too few")

    def unpicklable(n: int) -> int:
        class LocalError(Exception):
            pass

        raise LocalError(f"job {n}")

    with pytest.raises(TooFewError, match="0 are too few"):
        on_all_cores(too_few, 2)
    with pytest.raises(RuntimeError, match="LocalError: job 0"):
        on_all_cores(unpicklable, 2)


@linux
def test_a_killed_process_is_named(cores):
    with pytest.raises(UserError, match="one of 2 processes was killed"):
        on_all_cores(lambda n: os.kill(os.getpid(), signal.SIGKILL) if n else time.sleep(0.1), 2)


def test_where_no_process_can_be_started_it_goes_on_alone(cores, monkeypatch):
    def no_room(*_: object) -> None:
        raise OSError("Cannot allocate memory")

    monkeypatch.setattr(processes, "_forked", no_room)
    assert on_all_cores(lambda n: (n, os.getpid()), 2) == [(0, os.getpid()), (1, os.getpid())]


@linux
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_end_of_the_parent_is_the_end_of_its_children(tmp_path, how):
    script = f"""
import os, time
from pathlib import Path
from aelle.analysis import processes
processes.cpu_count = lambda: 2
def job(n):
    Path("{tmp_path}", str(n)).write_text(str(os.getpid()))
    time.sleep(600)
processes.on_all_cores(job, 2)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    until = time.monotonic() + 60
    while not all((tmp_path / str(n)).is_file() and (tmp_path / str(n)).read_text() for n in (0, 1)):
        assert time.monotonic() < until and parent.poll() is None
        time.sleep(0.05)
    children = [int((tmp_path / str(n)).read_text()) for n in (0, 1)]
    if how == signal.SIGINT:
        os.killpg(parent.pid, how)
    else:
        parent.kill()
    parent.wait(30)
    while any(Path(f"/proc/{pid}").exists() and "Z" not in _state(pid) for pid in children):
        assert time.monotonic() < until
        time.sleep(0.05)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"


@linux
def test_a_fitted_model_comes_back_without_a_file_per_tensor(cores):
    networks = Autoencoders.drawn(8, 4, [torch.Generator().manual_seed(0)] * 3).double()
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    before = len(os.listdir("/proc/self/fd"))
    found = on_all_cores(lambda _: networks, 2)
    assert len(os.listdir("/proc/self/fd")) <= before
    for one in found:
        torch.testing.assert_close(one.encode(x), networks.encode(x), rtol=0, atol=0)
