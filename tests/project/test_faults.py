"""What may befall a sweep from outside: stopped by a signal, no room, no folder, a variant that runs away."""

import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from aelle.runs.reader import run_folders
from aelle.sweep.status import sweep_status
from aelle.terminal import option
from aelle.training.recorder import RunRecorder
from run_files import on_replacing
from sweeps import ROOT, SMALL, command, rows, runs

WHOLE = ["-m", "experiment=digits", *SMALL]
ONE = ["experiment=digits", *SMALL, "pack=1"]


@pytest.fixture(autouse=True)
def _one_thread():
    """Networks of eight units only lose by a second one."""
    torch.set_num_threads(1)


@pytest.fixture
def _ctrl_c():
    """Python's own answer to SIGINT, which a shell takes from what it starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c")
@pytest.mark.parametrize(
    ("start", "number"), [(WHOLE, signal.SIGINT), (WHOLE, signal.SIGTERM), (ONE, signal.SIGINT), (ONE, signal.SIGTERM)]
)
def test_a_signal_ends_in_one_line_and_the_sweep_goes_on_from_there(
    small_sweep, tmp_path, main, monkeypatch, start, number
):
    written = []

    def stopped_after_the_second_checkpoint(path, times):
        written.append(path.name)
        if (path.name, times) == ("checkpoint.ckpt", 2):
            os.kill(os.getpid(), number)

    on_replacing(monkeypatch, after=stopped_after_the_second_checkpoint)
    before = signal.getsignal(signal.SIGTERM)
    code, _, err = main("train.py", *start)
    assert code == 128 + number
    assert err == "interrupted: finished work is saved; run the same command again to resume\n"
    assert signal.getsignal(signal.SIGTERM) == before and written.count("checkpoint.ckpt") == 2
    assert "stale" in [pack.state for pack in sweep_status(tmp_path / "outputs" / "digits").packs]
    code, _, err = main("train.py", *start)
    assert code == 0 and err == "" and written.count("checkpoint.ckpt") == (9 if start == WHOLE else 3)
    found = rows(tmp_path / "outputs" / "digits")
    assert found == {key: row for key, row in rows(small_sweep).items() if key in found}


def test_a_process_that_is_told_to_stop_stops(tmp_path):
    line = [sys.executable, str(ROOT / "train.py"), *WHOLE, "epochs=1000"]
    process = subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while not list(tmp_path.glob("outputs/*/pack-0000/checkpoint.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM and err.startswith("interrupted: ") and err.count("\n") == 1


@pytest.mark.parametrize(("start", "writes"), [(WHOLE, 1), (WHOLE, 20), (ONE, 0), (ONE, 3), (ONE, 6)])
def test_a_full_disk_is_one_line_and_what_was_written_stays_whole(
    small_sweep, tmp_path, main, monkeypatch, start, writes
):
    """Full after so many files."""
    replaced = []
    replace = os.replace

    def full(source, target):
        if len(replaced) >= writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replaced.append(target)
        replace(source, target)

    monkeypatch.setattr("aelle.files.os.replace", full)
    code, _, err = main("train.py", *start)
    assert code == 2 and err.count("\n") == 1, err
    assert re.fullmatch(r"error: outputs/digits\S* cannot be written \(No space left on device\): .*\n", err)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    sweep = tmp_path / "outputs" / "digits"
    assert not list(sweep.glob("**/.*.tmp"))
    for path in run_folders(sweep):
        # Either a run that never began, or one that can be read: nothing is cut off.
        assert not (path / "status.json").exists() or path in {run.path for run in runs(sweep)}
    code, out, err = main("train.py", *start)
    assert code == 0 and ".damaged-" not in out, err
    found = rows(sweep)
    assert len(found) == (48 if start == WHOLE else 20)
    assert found == {key: row for key, row in rows(small_sweep).items() if key in found}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, of 100 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "none", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a file system: what a real full disk does is not tried")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_real_disk_that_is_full_or_read_only(small_disk, main, small_sweep):
    code, _, err = main("train.py", *WHOLE, f"outputs={small_disk}")
    assert code == 2 and "No space left on device" in err and err.count("\n") == 1
    subprocess.run(["mount", "-o", "remount,size=10m,ro", str(small_disk)], check=True)
    for line in (["train.py", *WHOLE, f"outputs={small_disk}"], ["analyze.py", f"sweep={small_disk / 'digits'}"]):
        code, _, err = main(*line)
        assert code == 2 and "Read-only file system" in err and err.count("\n") == 1
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert main("train.py", *WHOLE, f"outputs={small_disk}")[0] == 0
    assert rows(small_disk / "digits") == rows(small_sweep)


@pytest.mark.parametrize("kilobytes", [1, 20, 40])
def test_a_limit_of_file_sizes_is_no_traceback_and_the_sweep_goes_on_without_it(small_sweep, tmp_path, kilobytes):
    """`ulimit -f`: from the first file on, in the first checkpoint, and in those of some packs only."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * kilobytes, 1024 * kilobytes))

    done = command("train.py", *WHOLE, cwd=tmp_path, preexec_fn=limit)
    assert done.returncode in (1, 2) and done.stderr.count("\n") == 1 and done.stderr.startswith("error: ")
    assert "File too large" in done.stdout + done.stderr and "Traceback" not in done.stdout
    sweep = tmp_path / "outputs" / "digits"
    assert command("train.py", *WHOLE, cwd=tmp_path).returncode == 0
    assert rows(sweep) == rows(small_sweep)
    for line in (["analyze.py", f"sweep={sweep}"], ["-m", "aelle", "collect", str(sweep)]):
        words = [sys.executable, *([str(ROOT / line[0]), *line[1:]] if line[0] != "-m" else line)]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300, preexec_fn=limit)
        assert done.returncode == 2 and re.fullmatch(
            r"error: \S+ cannot be written \(File too large\): .*\n", done.stderr
        )


@pytest.mark.parametrize("name", ["x" * 5000, "é" * 200, "/".join(["xyz"] * 1300)], ids=["letters", "bytes", "path"])
def test_a_name_that_is_too_long_is_one_short_line(tmp_path, main, aelle, name):
    given, told = option("sweep", name), []
    for many in ([], ["-m"]):
        told.append(main("train.py", *many, "experiment=digits", "size=2", given))
        told.append(main("train.py", *many, "experiment=digits", "size=2", option("outputs", name)))
    told += [main("analyze.py", given), main("analyze.py", option("sweep", f"{name}.npz"), "threshold=1")]
    told += [main("train.py", "experiment=digits", option("prediction.model", name)), aelle("status", name)]
    told += [aelle("collect", name)]
    for code, out, err in told:
        assert code == 2 and out == "" and err.count("\n") == 1 and err.startswith("error: ") and len(err) < 700, err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["outputs", "outputs/digits", "outputs/digits/pack-0001"])
@pytest.mark.parametrize("start", [WHOLE, ONE], ids=["sweep", "single"])
def test_a_file_in_place_of_a_folder_is_one_line(tmp_path, main, place, start):
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("mine")
    code, _, err = main("train.py", *start)
    assert code == 2 and err.count("\n") == 1 and err.startswith("error: ") and place in err, err
    assert (tmp_path / place).read_text() == "mine"


def test_a_variant_that_runs_away_in_the_middle_spoils_no_other(small_sweep, tmp_path, main, monkeypatch):
    """Variant 7 becomes infinite after the first of three epochs."""
    recorded = RunRecorder.on_train_epoch_end

    def run_away(self, trainer, pl_module):
        recorded(self, trainer, pl_module)
        for v, variant in enumerate(pl_module.variants):
            if variant.number == 7 and trainer.current_epoch == 0:
                with torch.no_grad():
                    pl_module.network.weight_hh_l0[v] = torch.inf

    monkeypatch.setattr(RunRecorder, "on_train_epoch_end", run_away)
    code, out, err = main("train.py", *WHOLE)
    assert code == 0 and "1 diverged" in out and "12 of 12 variants complete" in out, err
    sweep = tmp_path / "outputs" / "digits"
    states = {row["variant"]: row["state"] for run in runs(sweep) for row in run.variants.to_pylist()}
    assert states == {n: "diverged" if n == 7 else "complete" for n in range(12)}
    expected = rows(small_sweep)
    for key, row in rows(sweep).items():
        assert (key >= (7, 2) and key[0] == 7) or row == expected[key]
    assert sweep_status(sweep).variants == {"complete": 11, "diverged": 1, "missing": 0}
