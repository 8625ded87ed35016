"""Where a pack goes on: from its checkpoint, anew, or beside a run that is not its own."""

import zipfile

import pyarrow.parquet as pq
import pytest
import torch

from aelle.runs.reader import run_folders
from aelle.runs.writer import RunFolder
from aelle.sweep.plan import Plan
from aelle.sweep.resuming import find_place
from run_files import (
    CONFIG,
    checkpoint_of,
    damage,
    endorse,
    epoch_rows,
    killed_before_its_last_status,
    stopped_run,
)


@pytest.fixture
def plan(tmp_path) -> Plan:
    return Plan(CONFIG, tmp_path)


@pytest.fixture
def run(plan) -> RunFolder:
    return stopped_run(plan)


def place(plan: Plan, *numbers: int):
    return find_place(plan, plan.folder / "pack-0000", [plan.variant(n) for n in numbers])


def test_a_run_killed_between_its_files_goes_on_from_its_checkpoint(run, plan, monkeypatch):
    run.write_epochs(epoch_rows(epochs=2))
    killed_before_its_last_status(monkeypatch, run, "running", epoch=2)
    assert pq.read_table(run.path / "epochs.parquet").num_rows == 6
    found, damaged = place(plan, 0, 1)
    assert damaged is None and found.path == run.path and found.rows.equals(epoch_rows(epochs=1))
    assert found.variants == [plan.variant(0), plan.variant(1)]


def test_a_run_without_a_checkpoint_starts_anew_in_its_place(run, plan):
    run.checkpoint.unlink()
    found, damaged = place(plan, 0, 1)
    assert found.path == run.path and found.rows is None and damaged is None


@pytest.mark.parametrize(
    "name", ["status.json", "config.yaml", "variants.parquet", "epochs.parquet", "checkpoint.ckpt"]
)
@pytest.mark.parametrize("how", ["empty", "truncated", "flipped", "folder"])
def test_a_damaged_run_is_moved_aside_whole_and_trained_anew(run, plan, name, how):
    damage(run.path / name, how)
    before = {file.name: file.is_dir() or file.read_bytes() for file in run.path.iterdir()}
    found, damaged = place(plan, 0, 1)
    assert found.path == run.path and found.rows is None
    assert damaged == run.path.with_name("pack-0000.damaged-1")
    assert {file.name: file.is_dir() or file.read_bytes() for file in damaged.iterdir()} == before
    assert run_folders(plan.folder) == []


@pytest.mark.parametrize("last", ["config.yaml", "variants.parquet"])
def test_a_run_stopped_while_it_begins_is_begun_again_in_its_place(run, plan, last):
    for name in ("status.json", "epochs.parquet", "checkpoint.ckpt"):
        (run.path / name).unlink()
    if last == "config.yaml":
        (run.path / "variants.parquet").unlink()
    found, damaged = place(plan, 0, 1)
    assert found.path == run.path and found.rows is None and damaged is None


def test_a_folder_that_another_run_has_taken_is_left_alone(run, plan):
    other = Plan({**CONFIG, "epochs": 3}, plan.folder)
    assert place(other, 0, 1)[0].path.name == "pack-0000-2"
    assert place(plan, 2)[0].path.name == "pack-0000-2"
    run.write_epochs(epoch_rows(epochs=2))
    run.write_status("complete", epoch=2)
    assert place(plan, 0, 1)[0].path.name == "pack-0000-2" and plan.complete() == {0, 1}


def of_other_variants(run, plan):
    torch.save(checkpoint_of(CONFIG, [0, 2]), run.checkpoint)


def of_another_sweep(run, plan):
    torch.save(checkpoint_of({**CONFIG, "seed": 1}, [0, 1]), run.checkpoint)


def of_nobody(run, plan):
    torch.save({"epoch": 0}, run.checkpoint)


def compressed(run, plan):
    with zipfile.ZipFile(run.checkpoint) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(run.checkpoint, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("swap", [of_other_variants, of_another_sweep, of_nobody, compressed])
@pytest.mark.parametrize("endorsed", [True, False])
def test_a_checkpoint_of_another_run_is_moved_aside_and_the_pack_trained_anew(run, plan, swap, endorsed):
    swap(run, plan)
    if endorsed:
        endorse(run.path)
    found, damaged = place(plan, 0, 1)
    assert found.path == run.path and found.rows is None and (damaged / "checkpoint.ckpt").exists()
