"""What of a sweep is complete: always as if everything were read anew, but without reading it."""

import shutil

import pytest

from aelle.runs.reader import DamagedRunError, read_run, run_folders
from aelle.runs.settings import fingerprint
from aelle.runs.writer import RunFolder
from aelle.sweep import completion
from aelle.sweep.plan import Plan
from run_files import CONFIG, damage, epoch_rows

SETTINGS = {**CONFIG, "size": 5, "pack_size": 2, "variants": None}


@pytest.fixture
def plan(tmp_path) -> Plan:
    return Plan(SETTINGS, tmp_path)


def write(plan: Plan, name: str, numbers: list[int], state: str = "complete") -> RunFolder:
    run = RunFolder(plan.folder / name, plan.config)
    run.begin([plan.variant(n) for n in numbers])
    pairs = epoch_rows(epochs=plan.config["epochs"], variants=len(numbers))
    run.write_epochs(pairs.set_column(0, "variant", [[numbers[v] for v in pairs["variant"].to_pylist()]]))
    run.write_status(state, epoch=plan.config["epochs"])
    return run


def by_reading_everything(plan: Plan) -> set[int]:
    """The definition: variants of runs that can be read, are complete, and are of these settings."""
    found = set()
    for folder in run_folders(plan.folder):
        try:
            run = read_run(folder)
        except DamagedRunError:
            continue
        if run.status["state"] == "complete" and run.status["fingerprint"] == fingerprint(plan.config):
            found |= set(run.numbers)
    return found


def agreed(plan: Plan) -> set[int]:
    """Asked twice, so that the second answer comes from what the first has left."""
    found = plan.complete()
    assert found == plan.complete() == by_reading_everything(plan)
    return found


def test_folders_of_every_kind(plan):
    assert agreed(plan) == set()
    write(plan, "pack-0000", [0, 1])
    write(plan, "variants-1", [1])
    write(plan, "pack-0001", [2, 3], "running")
    write(Plan({**SETTINGS, "epochs": 3}, plan.folder), "pack-0002", [4])
    (plan.folder / "empty").mkdir()
    (plan.folder / "pack-0003.damaged-1").mkdir()
    shutil.copytree(plan.folder / "pack-0000", plan.folder / "pack-0004.damaged-1", dirs_exist_ok=True)
    assert agreed(plan) == {0, 1}
    assert agreed(Plan({**SETTINGS, "epochs": 3}, plan.folder)) == {4}


def test_what_happens_to_folders_afterwards_counts(plan):
    run = write(plan, "pack-0000", [0, 1])
    write(plan, "pack-0001", [2, 3], "running")
    assert agreed(plan) == {0, 1}
    write(plan, "pack-0001", [2, 3])
    assert agreed(plan) == {0, 1, 2, 3}
    run.write_status("running", epoch=1)
    assert agreed(plan) == {2, 3}
    run.write_status("complete", epoch=2)
    run.path.rename(plan.folder / "pack-0000.damaged-1")
    assert agreed(plan) == {2, 3}
    write(plan, "pack-0000", [4])
    assert agreed(plan) == {2, 3, 4}
    shutil.rmtree(plan.folder / "pack-0001")
    assert agreed(plan) == {4}


@pytest.mark.parametrize("name", completion.DECIDING_FILES)
@pytest.mark.parametrize("how", ["empty", "truncated", "flipped", "missing", "folder"])
def test_a_run_that_is_damaged_after_it_was_found_complete_is_complete_no_more(plan, name, how):
    run = write(plan, "pack-0000", [0, 1])
    write(plan, "pack-0001", [1, 2])
    assert agreed(plan) == {0, 1, 2}
    damage(run.path / name, how)
    assert agreed(plan) == {1, 2}


def test_what_has_not_changed_is_not_read_again(plan, monkeypatch):
    read = []
    monkeypatch.setattr(completion, "read_run", lambda folder: read.append(folder.name) or read_run(folder))
    write(plan, "pack-0000", [0, 1])
    write(plan, "pack-0001", [2, 3], "running")
    for _ in range(3):
        assert plan.complete() == {0, 1}
    write(plan, "pack-0001", [2, 3])
    for _ in range(3):
        assert plan.complete() == {0, 1, 2, 3}
    assert read == ["pack-0000", "pack-0001"]


def test_packs_with_something_to_do(plan):
    assert plan.unfinished_packs() == [0, 1, 2]
    write(plan, "pack-0001", [2, 3])
    write(plan, "variants-0", [0])
    assert plan.unfinished_packs() == [0, 2]
    assert Plan({**SETTINGS, "variants": [0, 4]}, plan.folder).unfinished_packs() == [2]
    write(plan, "elsewhere", [1, 4])
    assert plan.unfinished_packs() == []
