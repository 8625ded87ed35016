import json
import os
import struct
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from aelle.errors import UserError
from aelle.files import replace_atomically
from aelle.runs.reader import DamagedRunError, read_checkpoint_epoch, read_example, read_run, read_status, run_folders
from aelle.runs.settings import fingerprint
from aelle.runs.writer import RunFolder
from aelle.sweep.plan import Plan
from aelle.sweep.resuming import find_place

CONFIG = {
    "task": {"name": "digits", "threshold": 0.5, "data": {"root": "here"}},
    "hyperparameters": ["hidden_size", "p"],
    "hidden_size": 8,
    "p": "uniform(2, 3)",
    "seed": 0,
    "size": 3,
    "epochs": 2,
    "lyapunov": {"over": "hidden"},
    "trainer": {"accelerator": "cpu", "devices": 1, "gradient_clip_val": None},
}


def rows(epochs: int, variants: int = 2) -> pa.Table:
    pairs = [(v, e) for e in range(epochs + 1) for v in range(variants)]
    return pa.table({"variant": [v for v, _ in pairs], "epoch": [e for _, e in pairs], "val_loss": [1.0] * len(pairs)})


@pytest.fixture
def plan(tmp_path) -> Plan:
    return Plan(CONFIG, tmp_path)


@pytest.fixture
def run(plan) -> RunFolder:
    """A run of variants 0 and 1, stopped after the first of two epochs."""
    run = RunFolder(plan.folder / "pack-0000", CONFIG)
    run.begin([plan.variant(n) for n in range(2)])
    run.write_epochs(rows(epochs=1))
    torch.save({"epoch": 0, "weights": torch.full((3, 4), 1234.5)}, run.checkpoint)
    run.write_status("running", epoch=1, device="cpu")
    return run


def place(plan: Plan, *numbers: int):
    return find_place(plan, plan.folder / "pack-0000", [plan.variant(n) for n in numbers])


def damage(file: Path, how: str) -> None:
    whole = file.read_bytes()
    file.unlink()
    if how == "empty":
        file.write_bytes(b"")
    elif how == "truncated":
        file.write_bytes(whole[: len(whole) // 2])
    elif how == "flipped":
        # A checkpoint's archive holds padding, where a flipped bit changes nothing: aim at the weights.
        at = whole.index(struct.pack("<f", 1234.5)) if file.suffix == ".ckpt" else len(whole) // 3
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
    elif how == "folder":
        file.mkdir()


def test_a_whole_run_is_read_back(run):
    found = read_run(run.path)
    assert found.config == CONFIG and found.numbers == [0, 1] and found.status["state"] == "running"
    assert found.epochs.equals(rows(epochs=1))


def test_a_stopped_run_goes_on_from_its_checkpoint(run, plan):
    run.write_epochs(rows(epochs=2))
    found, damaged = place(plan, 0, 1)
    assert damaged is None and found.path == run.path and found.rows.equals(rows(epochs=1))
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


@pytest.mark.parametrize("name", ["status.json", "config.yaml", "variants.parquet", "epochs.parquet"])
@pytest.mark.parametrize("how", ["empty", "truncated", "flipped", "missing", "folder"])
def test_a_reader_refuses_a_damaged_file_by_name(run, name, how):
    damage(run.path / name, how)
    with pytest.raises(DamagedRunError, match=name):
        read_run(run.path)
    assert run_folders(run.path.parent) == [run.path]


@pytest.mark.parametrize("how", ["empty", "truncated", "flipped", "missing", "folder"])
def test_a_damaged_example_is_refused_by_name(run, plan, how):
    run.write_examples([plan.variant(0)], {"output": pa.array([[0.1, 0.2]])})
    assert read_example(run.path, 0) == {"output": [0.1, 0.2]}
    damage(run.path / "examples.parquet", how)
    with pytest.raises(DamagedRunError, match=r"examples\.parquet"):
        read_example(run.path, 0)


@pytest.mark.parametrize("how", ["empty", "truncated", "flipped", "folder"])
def test_a_damaged_plan_is_refused_with_a_remedy(tmp_path, how):
    config = {**CONFIG, "pack_size": 2}
    Plan(config, tmp_path).start()
    assert Plan.started(tmp_path).identity == Plan(config, tmp_path).identity
    damage(tmp_path / "sweep.json", how)
    with pytest.raises(UserError, match="delete it and run the sweep again"):
        Plan.started(tmp_path)


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
    run.write_epochs(rows(epochs=2))
    run.write_status("complete", epoch=2)
    assert place(plan, 0, 1)[0].path.name == "pack-0000-2" and plan.complete() == {0, 1}


def test_files_of_another_run_are_refused(run, plan):
    other = RunFolder(plan.folder / "pack-0001", {**CONFIG, "seed": 1})
    other.begin([plan.variant(0)])
    other.write_epochs(rows(epochs=1, variants=1))
    (other.path / "epochs.parquet").rename(run.path / "epochs.parquet")
    with pytest.raises(DamagedRunError, match="another run"):
        read_run(run.path)


def test_a_complete_run_has_a_row_for_every_variant_and_epoch(run):
    run.write_status("complete", epoch=2)
    with pytest.raises(DamagedRunError, match="rows are missing"):
        read_run(run.path)


@pytest.mark.parametrize("wrong", [[0, 0, 1, 1, 1], [0, 7]])
def test_rows_that_are_not_one_per_variant_and_epoch_are_refused(run, wrong):
    run.write_epochs(pa.table({"variant": wrong, "epoch": [1] * len(wrong), "val_loss": [1.0] * len(wrong)}))
    with pytest.raises(DamagedRunError, match="one per variant and epoch"):
        read_run(run.path)


def test_a_missing_column_is_named(run):
    run.write_epochs(rows(epochs=1).drop_columns("val_loss"))
    with pytest.raises(DamagedRunError, match="lacks val_loss"):
        read_run(run.path)


def test_any_reader_of_parquet_can_read_the_tables(run):
    assert pq.read_table(run.path / "variants.parquet").column_names[:3] == ["variant", "hidden_size", "p"]


def test_a_changed_configuration_does_not_match_its_fingerprint(run):
    file = run.path / "config.yaml"
    file.write_text(file.read_text().replace("hidden_size: 8", "hidden_size: 9"))
    with pytest.raises(DamagedRunError, match=r"config\.yaml.*fingerprint"):
        read_run(run.path)


def test_the_fingerprint_covers_what_determines_results_and_nothing_else():
    assert fingerprint({**CONFIG, "trainer": {**CONFIG["trainer"], "accelerator": "gpu"}}) == fingerprint(CONFIG)
    elsewhere = {**CONFIG["task"], "data": {"root": "there"}, "threshold": 0.7}
    assert fingerprint({**CONFIG, "task": elsewhere}) == fingerprint(CONFIG)
    for change in ({"seed": 1}, {"hidden_size": 9}, {"epochs": 3}, {"lyapunov": {"over": "full"}}):
        assert fingerprint({**CONFIG, **change}) != fingerprint(CONFIG)


def test_a_status_edited_by_hand_is_refused(run):
    status = json.loads((run.path / "status.json").read_text())
    (run.path / "status.json").write_text(json.dumps({**status, "state": "complete"}))
    with pytest.raises(DamagedRunError, match="checksum"):
        read_status(run.path)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def half(file):
        file.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        replace_atomically(path, half)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    torch.save({"epoch": 0, "evil": Evil()}, tmp_path / "checkpoint.ckpt")
    with pytest.raises(DamagedRunError):
        read_checkpoint_epoch(tmp_path / "checkpoint.ckpt")
    assert not (tmp_path / "ran").exists()
