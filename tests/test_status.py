"""What is said of a sweep while it trains, and its rows for other tools, against what its runs hold."""

import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone

import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, SMALL
from filelock import FileLock

from aelle import __main__
from aelle.commands.status_text import status_text
from aelle.errors import UserError
from aelle.runs import writer as run_folder
from aelle.runs.locks import lock_file
from aelle.runs.reader import read_run
from aelle.runs.writer import RunFolder
from aelle.sweep.plan import Plan
from aelle.sweep.status import run_state, sweep_status
from aelle.sweep.table import load_sweep


@pytest.fixture
def aelle(monkeypatch, capsys):
    """Call `python -m aelle` in this process: (exit code, stdout, stderr)."""

    def call(*words) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["aelle", *map(str, words)])
        code = 0
        try:
            with __main__.errors_in_one_line():
                __main__.main()
        except SystemExit as exit_:
            code = exit_.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def sweep(small_sweep, tmp_path):
    shutil.copytree(small_sweep, tmp_path / "digits")
    return tmp_path / "digits"


def unfinish(sweep, name: str, state: str, epoch: int, error: str | None = None) -> RunFolder:
    """Make a complete run one that has come to that epoch."""
    run = read_run(sweep / name)
    folder = RunFolder(run.path, run.config)
    folder.write_epochs(run.epochs.filter(pq.filters_to_expression([("epoch", "<=", epoch)])))
    folder.write_variants([Plan(run.config, sweep).variant(n) for n in run.numbers], [state] * len(run.numbers), error)
    folder.write_status(state, epoch=epoch, error=error)
    return folder


def states(sweep) -> list[str]:
    return [pack.state for pack in sweep_status(sweep).packs]


def test_every_state_of_a_pack_is_told(sweep, aelle):
    error = "Traceback (most recent call last):\n  File …\nRuntimeError: the pack fell over"
    unfinish(sweep, "pack-0001", "running", 1)
    unfinish(sweep, "pack-0002", "failed", 2, error)
    with FileLock(sweep / ".pack-0001.lock"):
        assert states(sweep) == ["done", "running", "failed"]
    assert states(sweep) == ["done", "stale", "failed"]
    shutil.rmtree(sweep / "pack-0000")
    code, out, err = aelle("status", sweep)
    assert code == 0 and err == ""
    assert "packs     0 done, 0 running, 1 stale, 1 failed, 1 missing" in out
    assert "variants  0 complete, 0 diverged, 7 in progress, 5 not started" in out
    assert f"first error, in {sweep / 'pack-0002'}:\n{error}\n" in out
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
    assert states(sweep) == ["done", "running", "stale"]


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


def test_a_damaged_run_and_a_damaged_plan_are_named(sweep, aelle):
    (sweep / "pack-0001" / "epochs.parquet").write_bytes(b"")
    code, out, err = aelle("status", sweep)
    assert code == 0 and "1 missing" in out and "damaged   pack-0001 is left out: epochs.parquet" in out
    (sweep / "sweep.json").write_text("{}")
    code, out, err = aelle("status", sweep)
    assert code == 0 and "sweep.json is damaged" in " ".join(out.split()) and err == ""
    (sweep / "sweep.json").unlink()
    assert "12 variants in 2 packs" in aelle("status", sweep)[1]


def test_a_sweep_that_has_just_begun_is_all_missing(sweep, tmp_path, aelle):
    begun = tmp_path / "begun"
    begun.mkdir()
    shutil.copy(sweep / "sweep.json", begun)
    code, out, _ = aelle("status", begun)
    assert code == 0 and "0 failed, 3 missing" in out and "12 not started" in out
    assert "known after the first epoch" in out


@pytest.mark.parametrize("word", ["status", "collect"])
def test_a_folder_without_a_sweep_is_one_line(word, aelle, tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        code, out, err = aelle(word, folder)
        assert code == 2 and out == "" and err.startswith("error: ") and err.count("\n") == 1


def test_what_is_printed_fits_80_columns_and_cannot_steer_the_terminal(sweep, aelle):
    name = "pack-0002"
    unfinish(sweep, name, "failed", 1, "Error: \x1b[2J\x1b]0;title\x07 " + "long " * 40)
    _, out, _ = aelle("status", sweep)
    assert "\x1b" not in out and "\x07" not in out and "\\x1b[2J" in out
    error = out.index("first error")
    assert max(map(len, out[:error].replace(str(sweep), "outputs/digits").splitlines())) <= 80


def test_runs_put_together_by_hand_are_packs_of_their_own(tmp_path, aelle, main):
    line = ["-m", "task=digits", "hidden_size=4,6", "epochs=1", "lyapunov.sequences=2"]
    assert main("train.py", *line)[0] == 0
    sweep = tmp_path / "outputs" / "digits-runs"
    text = status_text(sweep_status(sweep))
    assert "2 variants in 2 packs" in text and "2 done" in text and "hidden_size=4" in text
    assert aelle("collect", sweep)[0] == 0
    rows = pd.read_parquet(sweep / "collected.parquet")
    assert sorted(rows["hidden_size"]) == [4, 4, 6, 6] and sorted(map(len, rows["spectrum"])) == [4, 4, 6, 6]


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


def test_collected_rows_are_those_of_the_runs(sweep, aelle, tmp_path):
    unfinish(sweep, "pack-0001", "running", 1)
    (sweep / "pack-0002" / "variants.parquet").write_bytes(b"PAR1")
    to = tmp_path / "rows.parquet"
    code, out, err = aelle("collect", sweep, "--to", to)
    assert code == 1 and out == f"{to}: 30 rows of 2 runs; incomplete: 1 warning above\n"
    assert err.startswith("warning: pack-0002 is left out: variants.parquet") and err.count("\n") == 1
    assert pq.ParquetFile(to).num_row_groups == 2
    table = pq.read_table(to)
    assert table.column_names[:3] == ["run", "variant", "epoch"]
    for name in ("pack-0000", "pack-0001"):
        run = read_run(sweep / name)
        mine = table.filter(pq.filters_to_expression([("run", "==", name)]))
        assert mine.select(run.epochs.column_names).to_pylist() == run.epochs.to_pylist()
        of_variant = {row["variant"]: row for row in run.variants.to_pylist()}
        for row in mine.select([*run.variants.column_names, "ended"]).to_pylist():
            assert row == {**of_variant[row["variant"]], "ended": name == "pack-0000"}


def test_a_variant_that_two_runs_hold_is_collected_once(sweep, aelle):
    shutil.copytree(sweep / "pack-0001", sweep / "variants-1-5")
    unfinish(sweep, "variants-1-5", "running", 2)
    assert aelle("collect", sweep)[0] == 0
    rows = pd.read_parquet(sweep / "collected.parquet")
    assert len(rows) == 48 and not rows.duplicated(["variant", "epoch"]).any() and rows["ended"].all()


def test_only_parquet_files_are_written(sweep, aelle, tmp_path):
    code, _, err = aelle("collect", sweep, "--to", tmp_path / "rows.csv")
    assert code == 2 and err.count("\n") == 1 and "give a name that ends with .parquet" in err
    assert not (tmp_path / "rows.csv").exists()


def test_a_file_that_cannot_be_written_is_one_line_and_leaves_the_old_one(sweep, aelle, monkeypatch):
    code, _, err = aelle("collect", sweep, "--to", sweep / "nowhere" / "rows.parquet")
    assert code == 2 and "cannot be written" in err and err.count("\n") == 1
    to = sweep / "collected.parquet"
    assert aelle("collect", sweep)[0] == 0
    before = to.read_bytes()

    def full(self, table, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    code, _, err = aelle("collect", sweep)
    assert code == 2 and "No space left on device" in err and err.count("\n") == 1
    assert to.read_bytes() == before and not list(sweep.glob(".*.tmp"))


def test_a_run_that_changes_while_it_is_collected_is_named(sweep, aelle, monkeypatch):
    seen = []

    def read(path):
        run = read_run(path)
        seen.append(path.name)
        if seen == ["pack-0000", "pack-0001", "pack-0002"]:
            (sweep / "pack-0001" / "status.json").write_text("")
        return run

    monkeypatch.setattr("aelle.sweep.selection.read_run", read)
    code, out, err = aelle("collect", sweep)
    assert code == 1 and "28 rows of 2 runs" in out and "pack-0001 is left out: status.json" in err


def test_plans_that_are_none_are_refused(sweep):
    for text in ("[]", "{", '{"size": -1}', '{"size": 1e99}', "[" * 100_000):
        (sweep / "sweep.json").write_text(text)
        with pytest.raises(UserError, match="is damaged"):
            Plan.started(sweep)


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
