"""Where a pack goes on: from its checkpoint, anew, or beside a run that is not its own."""

import pytest

from aelle.runs.reader import run_folders
from aelle.runs.writer import RunFolder
from aelle.sweep.plan import Plan
from aelle.sweep.resuming import find_place
from run_files import CONFIG, damage, epoch_rows, stopped_run


@pytest.fixture
def plan(tmp_path) -> Plan:
    return Plan(CONFIG, tmp_path)


@pytest.fixture
def run(plan) -> RunFolder:
    return stopped_run(plan)


def place(plan: Plan, *numbers: int):
    return find_place(plan, plan.folder / "pack-0000", [plan.variant(n) for n in numbers])


def test_a_stopped_run_goes_on_from_its_checkpoint(run, plan):
    run.write_epochs(epoch_rows(epochs=2))
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
