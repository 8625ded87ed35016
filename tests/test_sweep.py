"""Sweeps as a user runs them: to the end, killed and resumed, damaged, misspelt."""

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, SMALL, command

from aelle.runs import read_status, read_table
from aelle.table import load_sweep


def rows(sweep, name="epochs.parquet") -> dict:
    """Every row of a sweep but for the seconds, by variant and epoch."""
    found = {}
    for path in sorted(sweep.glob(f"*/{name}")):
        for row in read_table(path).to_pylist():
            row.pop("seconds", None)
            found[row["variant"], row.get("epoch")] = row
    return found


def test_the_whole_sweep_is_in_its_folder(small_sweep):
    assert sorted(p.name for p in small_sweep.iterdir() if p.is_dir()) == ["pack-0000", "pack-0001", "pack-0002"]
    found = rows(small_sweep)
    assert set(found) == {(n, e) for n in range(12) for e in range(4)}
    row = found[7, 3]
    assert {"val_loss", "val_accuracy", "test_loss", "train_loss", "spectrum_stderr", "clamped"} <= set(row)
    assert len(row["spectrum"]) == 8 and row["spectrum"] == sorted(row["spectrum"], reverse=True)
    assert {row["state"] for row in rows(small_sweep, "variants.parquet").values()} == {"complete"}


def test_a_person_sees_what_is_done_and_what_to_type_next(tmp_path):
    done = command("train.py", "-m", "experiment=digits", *SMALL, "epochs=1", cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("digits: 12 variants in 3 packs, 1 epoch each")
    assert [line.split(":")[0] for line in lines[1:4]] == ["pack 1 of 3", "pack 2 of 3", "pack 3 of 3"]
    assert "5 of 12 variants done, about" in lines[1] and "left" in lines[1]
    assert lines[-1] == "next: python analyze.py sweep=outputs/digits"
    assert len(lines) == 6 and done.stderr == ""


def test_a_second_call_trains_nothing(small_sweep):
    before = {p: p.stat().st_mtime_ns for p in small_sweep.glob("*/*")}
    again = command("train.py", "-m", "experiment=digits", *SMALL, cwd=small_sweep.parent.parent)
    assert "12 of 12 variants are complete already" in again.stdout
    assert {p: p.stat().st_mtime_ns for p in small_sweep.glob("*/*")} == before


@pytest.mark.parametrize("after", ["pack-0000/checkpoint.ckpt", "pack-0001/epochs.parquet"])
def test_a_killed_sweep_goes_on_and_gives_the_same_numbers(small_sweep, tmp_path, after):
    line = [sys.executable, str(ROOT / "train.py"), "-m", "experiment=digits", *SMALL]
    process = subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sweep = tmp_path / "outputs" / "digits"
    deadline = time.monotonic() + 120
    while not (sweep / after).exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL and len(load_sweep(sweep).ended().losses) < 12
    again = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert rows(sweep) == rows(small_sweep)


def test_variants_trained_one_by_one_are_not_trained_again(tmp_path):
    first = command("train.py", "experiment=digits", *SMALL, "variants=[3,1]", cwd=tmp_path)
    assert first.returncode == 0 and "2 of 12 variants complete" in first.stdout, first.stderr
    command("train.py", "-m", "experiment=digits", *SMALL, cwd=tmp_path)
    trained = [v for v, e in rows(tmp_path / "outputs" / "digits") if e == 0]
    counts = [
        sum(row.num_rows for row in [read_table(p)]) for p in (tmp_path / "outputs/digits").glob("*/epochs.parquet")
    ]
    assert len(trained) == 12 and sum(counts) == 12 * 4


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


def test_a_failing_pack_is_recorded_and_the_others_go_on(tmp_path):
    # Two processes on one folder where the second pack's place is taken by a file.
    blocked = tmp_path / "outputs" / "digits" / "pack-0001" / "epochs.parquet"
    blocked.mkdir(parents=True)
    (blocked / "in-the-way").touch()
    done = command("train.py", "-m", "experiment=digits", *SMALL, "epochs=1", cwd=tmp_path)
    assert done.returncode == 1
    assert "error: 1 run failed: pack-0001" in done.stderr and "pack 2 of 3: failed with" in done.stdout
    status = read_status(blocked.parent)
    assert status["state"] == "failed" and "Traceback" in status["error"]
    (blocked / "in-the-way").unlink()
    blocked.rmdir()
    again = command("train.py", "-m", "experiment=digits", *SMALL, "epochs=1", cwd=tmp_path)
    assert again.returncode == 0 and "12 of 12 variants complete" in again.stdout


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["experiment=nosuch"], "experiment=nosuch does not exist: choose one of digits, smnist"),
        (["experiment=digits", "hidden_size=-4"], "hidden_size=-4: give a whole number of at least 1"),
        (["experiment=digits", "p=[]"], "leaves nothing to deal out"),
        (["experiment=digits", "epochs=0"], "epochs=0: give a whole number of at least 1"),
        (["experiment=digits", "size=zero"], "size=zero: give a whole number"),
        (["experiment=digits", "hyperparameters=[]"], "search space is empty"),
        (["experiment=digits", "variants=200"], "from 0 to 199"),
        (["experiment=digits", "sweep=../elsewhere"], "folder below outputs"),
        (["experiment=digits", "lyapunov.over=both"], "choose hidden or full"),
        (["experiment=digits", "lyapunov.sequences=1000"], "1 to 360"),
        (["experiment=digits", "hiden_size=4"], "hiden_size"),
        (["experiment=smnist", "task.data.root=/nonexistent/data"], "task.data.root"),
        (["task=nosuch"], "choose one of digits, smnist"),
        (["-m", "experiment=digits", "epochs=0"], "epochs=0"),
        (["-m", "experiment=digits", "p='uniform(3,2)'"], "lower bound"),
    ],
)
def test_bad_input_is_one_line_and_trains_nothing(main, tmp_path, overrides, says):
    code, _, err = main("train.py", *overrides)
    assert code == 2 and err.count("\n") == 1 and err.startswith("error: ") and says in err
    assert not list(tmp_path.glob("**/*.parquet"))


def test_other_settings_do_not_mix_into_a_sweep(main, small_sweep):
    os.chdir(small_sweep.parent.parent)
    code, _, err = main("train.py", "-m", "experiment=digits", *SMALL, "epochs=5")
    assert code == 2 and "epochs: 3 there, 5 now" in err and "sweep=NAME" in err
