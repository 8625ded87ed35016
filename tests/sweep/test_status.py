"""What is known of a sweep while it trains, against what its runs hold."""

import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from textwrap import indent

import pandas as pd
import pytest
from filelock import FileLock

from aelle.runs import writer as run_folder
from aelle.runs.locks import lock_file
from aelle.runs.reader import read_run
from aelle.runs.writer import RunFolder
from aelle.sweep.status import run_state, sweep_status
from aelle.sweep.table import load_sweep
from sweeps import ROOT, SMALL, unfinish


def states(sweep) -> list[str]:
    return [pack.state for pack in sweep_status(sweep).packs]


def test_every_state_of_a_pack_is_told(sweep, aelle):
    error = "Traceback (most recent call last):\n  File …\nRuntimeError: the pack fell over"
    unfinish(sweep, "pack-0001", "running", 1)
    unfinish(sweep, "pack-0002", "failed", 2, error)
    with FileLock(sweep / ".pack-0001.lock"):
        assert states(sweep) == ["complete", "running", "failed"]
    assert states(sweep) == ["complete", "stale", "failed"]
    shutil.rmtree(sweep / "pack-0000")
    code, out, err = aelle("status", sweep)
    assert code == 0 and err == ""
    assert "packs     0 complete, 0 running, 1 stale, 1 failed, 1 missing" in out
    assert "variants  0 complete, 0 diverged, 7 in progress, 5 not started" in out
    assert f"first error, in {sweep / 'pack-0002'}:\n{indent(error, '    ')}\n" in out
    assert "pack-0002  epoch 2 of 3, RuntimeError: the pack fell over" in out
    with FileLock(sweep / ".pack-0000.lock"), FileLock(sweep / ".pack-0002.lock"):
        # One reads its data, the other has begun again and not yet ended an epoch.
        assert states(sweep) == ["running", "stale", "running"]


def test_a_run_on_another_host_is_judged_by_its_age(sweep, monkeypatch):
    monkeypatch.setattr(run_folder.platform, "node", lambda: "elsewhere")
    unfinish(sweep, "pack-0001", "running", 1)
    long_ago = (datetime.now(timezone.utc) - timedelta(hours=2)).isoformat()
    monkeypatch.setattr(run_folder, "_now", lambda: long_ago)
    unfinish(sweep, "pack-0002", "running", 1)
    monkeypatch.undo()
    assert states(sweep) == ["complete", "running", "stale"]


def test_the_best_are_those_of_the_lowest_losses(sweep):
    unfinish(sweep, "pack-0002", "running", 1)
    table = load_sweep(sweep)
    best = pd.Series(pd.DataFrame(table.losses).min(axis=1).to_numpy(), table.variants["variant"]).nsmallest(5)
    found = sweep_status(sweep)
    assert [one.number for one in found.best] == best.index.tolist()
    assert [one.loss for one in found.best] == best.tolist()
    assert all(table.losses[one.number, one.epoch] == one.loss for one in found.best)
    p = table.variants.set_index("variant")["p"]
    assert all(one.hyperparameters["p"] == p[one.number] for one in found.best)


def test_the_time_left_is_that_of_the_epochs_left(sweep):
    unfinish(sweep, "pack-0001", "running", 1)
    shutil.rmtree(sweep / "pack-0002")
    found = sweep_status(sweep)
    spent = sum(sum(read_run(sweep / name).epochs["seconds"].to_pylist()) for name in ("pack-0000", "pack-0001"))
    # All variants cost the same: 5 × 3 + 5 × 1 epochs are behind, 5 × 2 + 2 × 3 ahead.
    assert found.spent == pytest.approx(spent) and found.left == pytest.approx(spent / 20 * 16)


def test_a_sweep_seen_while_it_trains_is_running_and_stale_when_killed(tmp_path):
    sweep = tmp_path / "outputs" / "digits"
    line = [sys.executable, str(ROOT / "train.py"), "-m", "experiment=digits", *SMALL, "epochs=300"]
    process = subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 100
        while not (sweep / "pack-0000" / "checkpoint.ckpt").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        for _ in range(20):
            assert states(sweep) == ["running", "missing", "missing"]
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    assert states(sweep) == ["stale", "missing", "missing"]


def test_a_run_is_running_by_its_own_lock_only(sweep):
    """`variants-0-7` is no second copy of `variants-0`, and a second copy of a pack has the lock of the pack."""
    unfinish(sweep, "pack-0001", "running", 1)
    (sweep / "pack-0001").rename(sweep / "variants-0-7")
    run = read_run(sweep / "variants-0-7")
    RunFolder(run.path, run.config).write_status("running", epoch=1)
    run = read_run(run.path)
    with FileLock(sweep / ".variants-0.lock"):
        assert run_state(run) == "stale"
    with FileLock(sweep / ".variants-0-7.lock"):
        assert run_state(run) == "running"
    run.path.rename(sweep / "pack-0001-2")
    RunFolder(sweep / "pack-0001-2", run.config, lock_file(sweep / "pack-0001")).write_status("running", epoch=1)
    run = read_run(sweep / "pack-0001-2")
    with FileLock(sweep / ".pack-0001.lock"):
        assert run_state(run) == "running"
    assert run_state(run) == "stale"
