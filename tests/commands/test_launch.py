"""Sweeps as a user runs them: to the end, killed and resumed, damaged, misspelt."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from aelle.runs.reader import read_run, read_status
from aelle.runs.writer import RunFolder
from aelle.sweep.plan import Plan
from aelle.sweep.table import load_sweep
from aelle.tasks import SequenceClassification
from run_files import on_replacing
from sweeps import ROOT, SMALL, command, rows, runs, weights


def test_the_whole_sweep_is_in_its_folder(small_sweep):
    assert sorted(p.name for p in small_sweep.iterdir() if p.is_dir()) == ["pack-0000", "pack-0001", "pack-0002"]
    found = rows(small_sweep)
    assert set(found) == {(n, e) for n in range(12) for e in range(4)}
    row = found[7, 3]
    assert {"val_loss", "val_accuracy", "test_loss", "train_loss", "spectrum_stderr", "clamped"} <= set(row)
    assert len(row["spectrum"]) == 8 and row["spectrum"] == sorted(row["spectrum"], reverse=True)
    assert {state for run in runs(small_sweep) for state in run.variants["state"].to_pylist()} == {"complete"}


def test_a_person_sees_what_is_done_and_what_to_type_next(tmp_path):
    done = command("train.py", "-m", "experiment=digits", *SMALL, "epochs=1", cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("digits: 12 variants in 3 packs, 1 epoch each")
    assert lines[1].startswith("one job at a time, ")
    assert [line.split(":")[0] for line in lines[2:5]] == ["pack 1 of 3", "pack 2 of 3", "pack 3 of 3"]
    assert "5 of 12 variants complete, about" in lines[2] and "left" in lines[2]
    assert lines[-1] == "next: python analyze.py sweep=outputs/digits"
    assert len(lines) == 7 and done.stderr == ""


def test_a_second_call_trains_nothing(small_sweep):
    before = {p: p.stat().st_mtime_ns for p in small_sweep.glob("*/*")}
    again = command("train.py", "-m", "experiment=digits", *SMALL, cwd=small_sweep.parent.parent)
    assert "12 of 12 variants complete already" in again.stdout
    assert {p: p.stat().st_mtime_ns for p in small_sweep.glob("*/*")} == before


def kill_when(sweep, appears: str, line: list[str], cwd) -> None:
    process = subprocess.Popen(line, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not (sweep / appears).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize(
    "after", ["pack-0000/checkpoint.ckpt", pytest.param("pack-0001/epochs.parquet", marks=pytest.mark.long)]
)
def test_a_killed_sweep_goes_on_and_gives_the_same_numbers(small_sweep, tmp_path, after):
    line = [sys.executable, str(ROOT / "train.py"), "-m", "experiment=digits", *SMALL]
    sweep = tmp_path / "outputs" / "digits"
    kill_when(sweep, after, line, tmp_path)
    assert int(load_sweep(sweep).variants["complete"].sum()) < 12
    again = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert rows(sweep) == rows(small_sweep)
    for resumed, uninterrupted in zip(weights(sweep), weights(small_sweep), strict=True):
        assert resumed.keys() == uninterrupted.keys()
        assert all(torch.equal(resumed[name], uninterrupted[name]) for name in resumed)


@pytest.mark.long
def test_a_sweep_killed_a_hundred_times_at_random_moments_gives_the_same_numbers(tmp_path):
    sizes = [o for o in SMALL if not o.startswith("epochs")]
    line = [sys.executable, "-u", str(ROOT / "train.py"), "-m", "experiment=digits", *sizes, "epochs=300"]
    assert subprocess.run([*line, "outputs=whole"], cwd=tmp_path, stdout=subprocess.DEVNULL).returncode == 0
    sweep, rng, hits = tmp_path / "killed" / "digits", random.Random(0), 0
    for _ in range(100):
        process = subprocess.Popen([*line, "outputs=killed"], cwd=tmp_path, stdout=subprocess.PIPE)
        assert process.stdout and process.stdout.readline().startswith(b"digits: 12 variants")
        time.sleep(rng.uniform(0, 1.5))
        process.kill()
        hits += process.wait() == -signal.SIGKILL and len(rows(sweep)) < 12 * 301
        process.stdout.close()
    assert hits >= 60
    assert subprocess.run([*line, "outputs=killed"], cwd=tmp_path, stdout=subprocess.DEVNULL).returncode == 0
    assert rows(sweep) == rows(tmp_path / "whole" / "digits")
    for resumed, whole in zip(weights(sweep), weights(tmp_path / "whole" / "digits"), strict=True):
        assert all(torch.equal(resumed[name], whole[name]) for name in whole)


@pytest.mark.long
def test_two_processes_share_a_sweep(small_sweep, tmp_path):
    line = [sys.executable, str(ROOT / "train.py"), "-m", "experiment=digits", *SMALL]
    both = [subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert all(process.wait(timeout=300) in (0, 1) for process in both)
    assert subprocess.run(line, cwd=tmp_path, stdout=subprocess.DEVNULL).returncode == 0
    sweep = tmp_path / "outputs" / "digits"
    assert rows(sweep) == rows(small_sweep) and len(runs(sweep)) == 3


def test_a_pack_killed_between_its_last_checkpoint_and_its_last_word_is_finished(small_sweep, tmp_path, main):
    sweep = tmp_path / "outputs" / "digits"
    shutil.copytree(small_sweep, sweep)
    before = rows(sweep)
    run = read_run(sweep / "pack-0001")
    folder = RunFolder(run.path, run.config)
    folder.write_variants([Plan(run.config, sweep).variant(n) for n in run.numbers], ["running"] * 5)
    folder.write_status("running", epoch=3)
    code, out, err = main("train.py", "-m", "experiment=digits", *SMALL)
    assert code == 0 and "12 of 12 variants complete" in out, err
    assert set(read_run(run.path).variants["state"].to_pylist()) == {"complete"} and rows(sweep) == before


def test_a_damaged_pack_is_moved_aside_and_trained_again(small_sweep, tmp_path, main):
    sweep = tmp_path / "outputs" / "digits"
    shutil.copytree(small_sweep, sweep)
    (sweep / "pack-0001" / "epochs.parquet").write_bytes(b"")
    code, out, _ = main("train.py", "-m", "experiment=digits", *SMALL)
    assert code == 0 and "moved to pack-0001.damaged-1" in out and "12 of 12 variants complete" in out
    assert rows(sweep) == rows(small_sweep)


def test_variants_trained_before_are_not_trained_again(tmp_path, main):
    code, out, err = main("train.py", "experiment=digits", *SMALL, "epochs=1", "variants=[3,1]")
    assert code == 0 and "2 of 12 variants complete" in out, err
    code, out, err = main("train.py", "-m", "experiment=digits", *SMALL, "epochs=1")
    assert code == 0 and "12 of 12 variants complete" in out, err
    trained = [number for run in runs(tmp_path / "outputs" / "digits") for number in run.numbers]
    assert sorted(trained) == list(range(12))


def test_variants_of_several_shapes_are_trained_shape_by_shape(tmp_path, main):
    several = [o for o in SMALL if not o.startswith("hidden_size")] + ["hidden_size=[4,6]", "epochs=1"]
    code, out, err = main("train.py", "experiment=digits", *several, "variants=0-4")
    assert code == 0 and "5 of 12 variants complete" in out, err
    assert {run.path.name for run in runs(tmp_path / "outputs" / "digits")} == {"variants-0,2,4", "variants-1,3"}


def test_only_the_variants_asked_for_are_swept(tmp_path, main):
    code, out, err = main("train.py", "-m", "experiment=digits", *SMALL, "epochs=1", "variants=3-6")
    assert code == 0 and "4 of 4 variants complete" in out, err
    assert sorted(n for run in runs(tmp_path / "outputs" / "digits") for n in run.numbers) == [3, 4, 5, 6]


def test_a_pack_that_another_process_trains_is_left_to_it(tmp_path, main):
    sweep = tmp_path / "outputs" / "digits"
    sweep.mkdir(parents=True)
    with FileLock(sweep / ".pack-0001.lock"):
        code, out, err = main("train.py", "-m", "experiment=digits", *SMALL, "epochs=1")
    assert code == 0 and err == "" and "outputs/digits/pack-0001 is skipped: it is being trained by" in out
    assert "5 variants are being trained by another process; python -m aelle status outputs/digits shows" in out
    code, out, _ = main("train.py", "-m", "experiment=digits", *SMALL, "epochs=1")
    assert code == 0 and "12 of 12 variants complete" in out


def test_spectra_at_some_epochs_of_the_full_state_under_test_inputs_too(tmp_path, main):
    options = ["lyapunov.every_n_epochs=2", "lyapunov.over=full", "lyapunov.test=true"]
    code, _, err = main("train.py", "-m", "experiment=digits", *SMALL, *options)
    assert code == 0, err
    table = load_sweep(tmp_path / "outputs" / "digits")
    assert table.measured_epochs == [0, 2, 3] and table.spectra.shape == (12, 4, 16)
    row = rows(tmp_path / "outputs" / "digits")[0, 2]
    assert len(row["test_spectrum"]) == 16 and row["test_spectrum"] != row["spectrum"]
    code, _, err = main("analyze.py", "sweep=outputs/digits", "threshold=2.25", "splits=1", "aelle.epochs=2")
    assert code == 0, err


def test_ordinary_hydra_sweeping_trains_one_variant_per_job(tmp_path):
    line = ["-m", "task=digits", "hidden_size=4,6", "p=2.0,2.5", "epochs=1", "lyapunov.sequences=2"]
    done = command("train.py", *line, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = load_sweep(tmp_path / "outputs" / "digits-runs")
    assert sorted(zip(table.variants["hidden_size"], table.variants["p"], strict=True)) == [
        (4, 2.0), (4, 2.5), (6, 2.0), (6, 2.5),
    ]  # fmt: skip
    assert len({run for run in table.variants["run"]}) == 4 and "hidden_size=4" in table.variants["run"][0]
    # Spectra of four and six exponents have come to one length.
    assert table.spectra.shape == (4, 2, 6)


def test_a_mistake_in_a_task_is_recorded_for_every_pack(tmp_path, main, monkeypatch):
    """Also where memory is estimated, which runs a step before anything is written."""

    def mistaken(*_):
        raise KeyError("no such thing")

    monkeypatch.setattr(SequenceClassification, "training_loss", mistaken)
    code, out, _ = main("train.py", "-m", "experiment=digits", *SMALL, "epochs=1")
    assert code == 1 and out.count("failed with KeyError") == 3 and "Traceback" not in out
    statuses = [json.loads(file.read_text()) for file in (tmp_path / "outputs").glob("digits/pack-*/status.json")]
    assert [status["state"] for status in statuses] == ["failed"] * 3


def test_a_failing_pack_is_recorded_and_the_others_go_on(tmp_path, main, monkeypatch):
    blocked = tmp_path / "outputs" / "digits" / "pack-0001"

    def full(path, times):
        if path == Path("outputs/digits/pack-0001/epochs.parquet"):
            raise OSError("No space left on device")

    on_replacing(monkeypatch, before=full)
    code, out, err = main("train.py", "-m", "experiment=digits", *SMALL, "epochs=1")
    assert code == 1 and "pack 2 of 3: failed with OSError: No space left on device" in out
    assert err == (
        "error: 5 variants not complete; failed: pack-0001 (see status.json there); run the same command again to "
        "train what is missing\n"
    )
    status = read_status(blocked)
    assert status["state"] == "failed" and "Traceback" in status["error"]
    monkeypatch.undo()
    os.chdir(tmp_path)
    again = command("train.py", "-m", "experiment=digits", *SMALL, "epochs=1", cwd=tmp_path)
    assert again.returncode == 0 and "12 of 12 variants complete" in again.stdout, again.stderr


def test_other_settings_do_not_mix_into_a_sweep(main, small_sweep):
    os.chdir(small_sweep.parent.parent)
    code, _, err = main("train.py", "-m", "experiment=digits", *SMALL, "epochs=5")
    assert code == 2 and "epochs: 3 there, 5 now" in err and "sweep=NAME" in err
