import json
import os
import struct

import pyarrow as pa
import pytest
import torch

from aelle.runs import (
    DamagedRunError,
    RunFolder,
    fingerprint,
    read_checkpoint_epoch,
    read_config,
    read_status,
    read_table,
    replace_atomically,
)
from aelle.variants import draw

CONFIG = {
    "task": {"name": "digits", "threshold": 0.5, "data": {"root": "here"}},
    "hyperparameters": ["hidden_size", "p"],
    "hidden_size": 8,
    "p": "uniform(2, 3)",
    "seed": 0,
    "epochs": 2,
    "lyapunov": {"over": "hidden"},
    "trainer": {"accelerator": "cpu", "devices": 1, "gradient_clip_val": None},
}


@pytest.fixture
def run(tmp_path) -> RunFolder:
    """A run stopped after the first of two epochs."""
    run = RunFolder(tmp_path / "pack-0000", CONFIG)
    run.path.mkdir()
    variants = [draw({"hidden_size": 8, "p": "uniform(2, 3)"}, 0, n) for n in range(2)]
    run.write_config()
    run.write_variants(variants, ["running"] * 2)
    run.write_epochs(pa.table({"variant": [0, 1, 0, 1], "epoch": [0, 0, 1, 1], "val_loss": [2.0, 2.0, 1.0, 1.0]}))
    torch.save({"epoch": 0, "weights": torch.full((3, 4), 1234.5)}, run.checkpoint)
    run.write_status("running", variants=2, epoch=1, device="cpu")
    return run


def missing(*numbers: int):
    return [draw({"hidden_size": 8, "p": "uniform(2, 3)"}, 0, n) for n in numbers]


def test_a_whole_run_is_read_back_and_can_go_on(run):
    status = read_status(run.path)
    assert status["state"] == "running" and read_config(run.path, status) == CONFIG
    assert read_table(run.path / "variants.parquet")["variant"].to_pylist() == [0, 1]
    stopped = run.stopped(missing(0, 1))
    assert [v.number for v in stopped.variants] == [0, 1] and stopped.rows.num_rows == 4
    assert stopped.variants == missing(0, 1)


def test_rows_later_than_the_checkpoint_are_discarded(run):
    rows = read_table(run.path / "epochs.parquet")
    later = pa.table({"variant": [0, 1], "epoch": [2, 2], "val_loss": [0.5, 0.5]})
    run.write_epochs(pa.concat_tables([rows, later]))
    assert run.stopped(missing(0, 1)).rows == rows


def test_it_goes_on_only_where_it_covers_what_is_missing_under_the_same_settings(run):
    assert run.stopped(missing(1)) is not None
    assert run.stopped(missing(1, 2)) is None
    other = RunFolder(run.path, {**CONFIG, "epochs": 3})
    assert other.stopped(missing(0, 1)) is None


@pytest.mark.parametrize("name", ["status.json", "variants.parquet", "epochs.parquet", "checkpoint.ckpt"])
@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "missing", "folder"])
def test_a_damaged_run_is_never_gone_on_with(run, name, damage):
    file = run.path / name
    whole = file.read_bytes()
    file.unlink()
    if damage == "empty":
        file.write_bytes(b"")
    elif damage == "truncated":
        file.write_bytes(whole[: len(whole) // 2])
    elif damage == "flipped":
        # A checkpoint's archive holds padding, where a flipped bit changes nothing: aim at the weights.
        middle = whole.index(struct.pack("<f", 1234.5)) if name == "checkpoint.ckpt" else len(whole) // 3
        file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :])
    elif damage == "folder":
        file.mkdir()
    assert run.stopped(missing(0, 1)) is None


def test_a_damaged_run_is_set_aside_and_nothing_is_lost(run):
    before = {file.name: file.read_bytes() for file in run.path.iterdir()}
    assert run.set_aside_damaged() and not run.set_aside_damaged()
    aside = run.path.with_name("pack-0000.damaged-1")
    assert {file.name: file.read_bytes() for file in aside.iterdir()} == before
    assert list(run.path.iterdir()) == []


def test_a_changed_configuration_does_not_match_its_fingerprint(run):
    file = run.path / "config.yaml"
    file.write_text(file.read_text().replace("hidden_size: 8", "hidden_size: 9"))
    with pytest.raises(DamagedRunError, match="fingerprint"):
        read_config(run.path, read_status(run.path))


def test_the_fingerprint_covers_what_determines_results_and_nothing_else():
    assert fingerprint({**CONFIG, "trainer": {**CONFIG["trainer"], "accelerator": "gpu"}}) == fingerprint(CONFIG)
    assert fingerprint({**CONFIG, "task": {**CONFIG["task"], "data": {"root": "there"}}}) == fingerprint(CONFIG)
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
