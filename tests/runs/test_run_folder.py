import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from aelle.runs.checkpoint import read_checkpoint
from aelle.runs.reader import DamagedRunError, read_example, read_run, read_status, run_folders
from aelle.runs.settings import fingerprint
from aelle.runs.writer import RunFolder
from aelle.sweep.plan import Plan
from run_files import CONFIG, checkpoint_of, damage, endorse, epoch_rows, stopped_run


@pytest.fixture
def plan(tmp_path) -> Plan:
    return Plan(CONFIG, tmp_path)


@pytest.fixture
def run(plan) -> RunFolder:
    return stopped_run(plan)


def test_a_whole_run_is_read_back(run):
    found = read_run(run.path)
    assert found.config == CONFIG and found.numbers == [0, 1] and found.status["state"] == "running"
    assert found.epochs.equals(epoch_rows(epochs=1))


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
    run.write_status("running", epoch=1)
    assert read_example(run.path, 0) == {"output": [0.1, 0.2]}
    damage(run.path / "examples.parquet", how)
    with pytest.raises(DamagedRunError, match=r"examples\.parquet"):
        read_example(run.path, 0)


def test_files_of_another_run_are_refused(run, plan):
    other = RunFolder(plan.folder / "pack-0001", {**CONFIG, "seed": 1})
    other.begin([plan.variant(0)])
    other.write_epochs(epoch_rows(epochs=1, variants=1))
    other.write_status("running", epoch=1)
    (other.path / "epochs.parquet").rename(run.path / "epochs.parquet")
    with pytest.raises(DamagedRunError, match="changed since it was written"):
        read_run(run.path)
    endorse(run.path)
    with pytest.raises(DamagedRunError, match="another run"):
        read_run(run.path)


def test_a_complete_run_has_a_row_for_every_variant_and_epoch(run):
    run.write_status("complete", epoch=2)
    with pytest.raises(DamagedRunError, match="rows are missing"):
        read_run(run.path)


@pytest.mark.parametrize("wrong", [[0, 0, 1, 1, 1], [0, 7]])
def test_rows_that_are_not_one_per_variant_and_epoch_are_refused(run, wrong):
    run.write_epochs(pa.table({"variant": wrong, "epoch": [1] * len(wrong), "val_loss": [1.0] * len(wrong)}))
    run.write_status("running", epoch=1)
    with pytest.raises(DamagedRunError, match="one per variant and epoch"):
        read_run(run.path)


def test_a_missing_column_is_named(run):
    run.write_epochs(epoch_rows(epochs=1).drop_columns("val_loss"))
    run.write_status("running", epoch=1)
    with pytest.raises(DamagedRunError, match="lacks val_loss"):
        read_run(run.path)


def test_any_reader_of_parquet_can_read_the_tables(run):
    assert pq.read_table(run.path / "variants.parquet").column_names[:3] == ["variant", "hidden_size", "p"]


def test_a_changed_configuration_does_not_match_its_fingerprint(run):
    file = run.path / "config.yaml"
    file.write_text(file.read_text().replace("hidden_size: 8", "hidden_size: 9"))
    with pytest.raises(DamagedRunError, match=r"config\.yaml: it has changed"):
        read_run(run.path)
    endorse(run.path)
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


def test_a_checkpoint_that_would_run_code_is_refused(run, tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    torch.save({**checkpoint_of(CONFIG, [0, 1]), "evil": Evil()}, run.checkpoint)
    endorse(run.path)
    with pytest.raises(DamagedRunError, match=r"checkpoint\.ckpt: Weights only load failed"):
        read_checkpoint(run.path)
    assert not (tmp_path / "ran").exists()


def test_the_fingerprint_of_a_sweep_that_is_not_pruned_is_what_it_was():
    prediction = {"model": "m", "prune": None, "after": 2}
    assert fingerprint({**CONFIG, "prediction": prediction}) == fingerprint(CONFIG)
    pruning = {**prediction, "prune": 0.1, "digest": "a"}
    same, others = {**pruning, "model": "n"}, [{**pruning, "digest": "b"}, {**pruning, "after": 1}, prediction]
    assert fingerprint({**CONFIG, "prediction": same}) == fingerprint({**CONFIG, "prediction": pruning})
    for other in others:
        assert fingerprint({**CONFIG, "prediction": other}) != fingerprint({**CONFIG, "prediction": pruning})


def test_a_failed_pack_keeps_what_was_pruned(tmp_path):
    plan = Plan(CONFIG, tmp_path)
    run = RunFolder(tmp_path / "pack-0000", CONFIG)
    chosen = [plan.variant(n) for n in range(3)]
    run.begin(chosen)
    run.write_epochs(epoch_rows(epochs=1, variants=3))
    run.write_variants(chosen, ["running", "pruned", "running"])
    run.write_status("running", epoch=1)
    run.write_failure(chosen, "why")
    assert read_run(run.path).variants["state"].to_pylist() == ["failed", "pruned", "failed"]
