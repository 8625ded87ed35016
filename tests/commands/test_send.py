"""Runs that are sent to a dashboard afterwards are what training would have sent."""

import json
import shutil
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from aelle.runs.reader import read_run
from run_files import endorse
from sweeps import SMALL, rows, unfinish
from wandb_files import saved_runs

pytestmark = pytest.mark.usefixtures("wandb_at_home")

OFFLINE = ["logger=wandb", "logger.mode=offline"]
OF_THE_MOMENT = ("_timestamp", "_runtime", "seconds")


def facts(run) -> dict:
    """All that a run in Weights & Biases shows, but for times."""
    history = {
        epoch: {name: value for name, value in row.items() if name not in OF_THE_MOMENT}
        for epoch, row in run.history.items()
    }
    config = {name: value for name, value in run.config.items() if name != "_wandb"}
    summary = {name: value for name, value in run.summary.items() if name not in (*OF_THE_MOMENT, "_wandb")}
    names = (run.run.run_id, run.run.run_group, run.run.job_type, run.run.display_name)
    return {"names": names, "config": config, "history": history, "summary": summary, "exit": run.exit_code}


def times(run) -> list[float]:
    """When the epochs of a run of two variants ended."""
    end = datetime.fromisoformat(run.status["updated"]).timestamp()
    took = 2 * run.epochs.to_pandas().groupby("epoch")["seconds"].first().to_numpy()
    return [end - took[epoch + 1 :].sum() for epoch in range(len(took))]


def test_a_run_that_is_sent_afterwards_is_the_one_that_would_have_been_sent_live(main, aelle, sweep, tmp_path):
    assert main("train.py", "experiment=digits", *SMALL, "pack=2", *OFFLINE)[0] == 0
    live = {run.config["variant"]: facts(run) for run in saved_runs(tmp_path / "outputs" / "digits")}
    assert sorted(live) == [10, 11]
    for name in ("pack-0000", "pack-0001"):
        shutil.rmtree(sweep / name)
    code, out, err = aelle("send", sweep, *OFFLINE)
    assert code == 0 and err == "" and out == f"{sweep}: 2 variants of 1 run sent\n"
    sent = saved_runs(sweep)
    assert {run.config["variant"]: facts(run) for run in sent} == live
    for run in sent:
        assert run.history[3]["lyapunov/spectrum"]["_type"] == "image-file"
        found = [run.history[epoch]["_timestamp"] for epoch in range(4)]
        np.testing.assert_allclose(found, times(read_run(sweep / "pack-0002")), rtol=0, atol=1e-3)


def test_what_was_sent_before_is_not_sent_twice_and_a_stopped_run_goes_on(aelle, sweep, small_sweep, server):
    unfinish(sweep, "pack-0001", "running", 1)
    # A file of theirs that names another server is not read.
    (sweep / "wandb").mkdir()
    (sweep / "wandb" / "settings").write_text("[default]\nbase_url = http://127.0.0.1:9\n")
    assert aelle("send", sweep, "logger=wandb")[0] == 0
    assert len(server.history) == 12
    stopped = {name for name, steps in server.sent.items() if steps == [0, 1]}
    assert {int(name.split("-")[1]) for name in stopped} == set(range(5, 10))
    assert {name: server.ends[name] for name in server.sent} == {name: 255 * (name in stopped) for name in server.sent}
    assert {server.config[name]["class"]["value"] for name in stopped} == {"stopped"}
    shutil.rmtree(sweep / "pack-0001")
    shutil.copytree(small_sweep / "pack-0001", sweep / "pack-0001")
    assert aelle("send", sweep, "logger=wandb")[0] == 0
    assert list(server.sent.values()) == [[0, 1, 2, 3]] * 12 and set(server.ends.values()) == {0}
    assert {config["class"]["value"] for config in server.config.values()} == {"high-error"}
    written = rows(small_sweep)
    for name, history in server.history.items():
        for epoch, row in history.items():
            assert row["val_loss"] == written[int(name.split("-")[1]), epoch]["val_loss"]


def test_a_run_that_was_sent_without_its_heat_map_gets_it_once(aelle, sweep, server, monkeypatch):
    for name in ("pack-0000", "pack-0001"):
        shutil.rmtree(sweep / name)
    with monkeypatch.context() as patched:
        patched.setattr("aelle.tracking.mirror.heat_maps", lambda tables: iter(()))
        assert aelle("send", sweep, "logger=wandb")[0] == 0
    assert list(server.sent.values()) == [[0, 1, 2, 3]] * 2
    for _ in range(2):
        assert aelle("send", sweep, "logger=wandb")[0] == 0
        assert list(server.sent.values()) == [[0, 1, 2, 3, 4]] * 2
    for history in server.history.values():
        assert "val_loss" not in history[4] and history[4]["lyapunov/spectrum"]["_type"] == "image-file"


def test_tensorboard_files_are_replaced_and_have_the_time_of_their_epochs(aelle, sweep):
    for _ in range(2):
        assert aelle("send", sweep, "logger=tensorboard")[0] == 0
    assert len(list((sweep / "tensorboard").rglob("events.*"))) == 12
    events = EventAccumulator(str(sweep / "tensorboard" / "pack-0002" / "0010")).Reload()
    found = [(event.step, event.value) for event in events.Scalars("val_loss")]
    assert found == [(epoch, np.float32(rows(sweep)[10, epoch]["val_loss"])) for epoch in range(4)]
    walls = [event.wall_time for event in events.Scalars("val_loss")]
    np.testing.assert_allclose(walls, times(read_run(sweep / "pack-0002")), rtol=0, atol=1e-3)
    assert "_timestamp" not in events.Tags()["scalars"]
    (picture,) = events.Images("lyapunov/spectrum")
    assert picture.step == 3 and picture.encoded_image_string.startswith(b"\x89PNG")


def test_what_is_damaged_is_named_and_what_is_unfinished_says_so(aelle, sweep, small_sweep):
    unfinish(sweep, "pack-0000", "failed", 1, "Error")
    folder = unfinish(sweep, "pack-0001", "running", 2)
    (sweep / "pack-0002" / "epochs.parquet").write_bytes(b"")
    with FileLock(folder.lock):
        code, out, err = aelle("send", sweep, "logger=csv")
    assert code == 1 and err.startswith("warning: pack-0002 is left out: epochs.parquet") and err.count("\n") == 1
    assert out == f"{sweep}: 10 variants of 2 runs sent; incomplete: 1 warning above\n"
    for name, state, epochs in (("pack-0000", "failed", 2), ("pack-0001", "running", 3)):
        table = pd.read_csv(sweep / name / "metrics.csv")
        assert set(table["state"]) == {state} and len(table) == 5 * epochs and "_timestamp" not in table
        for row in table.to_dict("records"):
            assert row["val_loss"] == rows(small_sweep)[row["variant"], row["epoch"]]["val_loss"]
    assert not (sweep / "pack-0002" / "metrics.csv").exists()


def test_a_run_in_training_that_has_the_same_logger_sends_itself(aelle, sweep):
    folder = unfinish(sweep, "pack-0001", "running", 2)
    config = sweep / "pack-0001" / "config.yaml"
    logger = {"_target_": "aelle.tracking.csv.CsvFile"}
    config.write_text(OmegaConf.to_yaml({**read_run(config.parent).config, "logger": logger}))
    endorse(config.parent)
    with FileLock(folder.lock):
        code, out, _ = aelle("send", sweep, "logger=csv")
    assert code == 0 and out.startswith("pack-0001 is being trained, and sends itself\n")
    assert sorted(path.parent.name for path in sweep.rglob("metrics.csv")) == ["pack-0000", "pack-0002"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["logger=wand"], "logger=wand does not exist: choose one of csv, tensorboard, wandb"),
        (["logger=3"], "logger=3 does not exist: choose one of csv, tensorboard, wandb"),
        (["logger=wandb", "logger.mod=x"], "logger.mod is not an option here: choose one of logger.project, logger.en"),
        (["logger=csv", "logger.mode=x"], "logger.mode is not an option here: logger=csv has no options"),
        (["epochs=3"], "epochs is not an option here: choose where to send the runs, logger=NAME"),
        (["+logger={_target_:aelle.nothing}"], "choose csv, tensorboard, wandb or null"),
        (["logger=wandb", "logger.mode=on"], "logger.mode=on: choose online, offline or disabled"),
        (["logger=wandb"], "wandb login"),
        (["logger=tensorboard"], "pip install tensorboard"),
    ],
)
def test_what_cannot_work_is_one_line_before_anything_is_sent(aelle, sweep, monkeypatch, options, says):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    before = sorted(sweep.rglob("*"))
    code, out, err = aelle("send", sweep, *options)
    assert code == 2 and err.count("\n") == 1 and says in err and out == "" and sorted(sweep.rglob("*")) == before


def test_nothing_is_sent_through_a_link_in_their_folder(aelle, sweep, tmp_path):
    for name, logger in (("wandb", OFFLINE), ("tensorboard", ["logger=tensorboard"])):
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        (sweep / name).symlink_to(tmp_path / "elsewhere")
        code, _, err = aelle("send", sweep, *logger)
        assert (
            code == 2 and err == f"error: {sweep / name} is a link, where only a file or a folder can be: remove it\n"
        )
        (sweep / name).unlink()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_logger_that_fails_ends_it_in_one_line(aelle, sweep, monkeypatch):
    from aelle.tracking.csv import CsvFile

    write = CsvFile._write

    def full(self, states):
        if self.path.parent.name == "pack-0001":
            raise OSError("No space left on device")
        write(self, states)

    monkeypatch.setattr(CsvFile, "_write", full)
    code, out, err = aelle("send", sweep, "logger=csv")
    failed = "the logger has failed (No space left on device); 1 of 3 runs sent"
    assert (code, out) == (2, "")
    assert err == f"error: {failed}: run the same command again, it sends nothing twice\n"
    assert json.loads((sweep / "pack-0001" / "status.json").read_text())["state"] == "complete"


def test_a_logger_of_ones_own_is_found_in_the_working_directory(aelle, sweep, tmp_path, monkeypatch):
    place = tmp_path / "mine"
    (place / "conf" / "logger").mkdir(parents=True)
    (place / "conf" / "logger" / "lines.yaml").write_text("_target_: own_lines_logger.Lines\nfile: lines.txt\n")
    (place / "own_lines_logger.py").write_text(
        "class Lines:\n"
        "    def __init__(self, file): self.file = file\n"
        "    def start(self, pack): pass\n"
        "    def epoch(self, rows): open(self.file, 'a').writelines(f\"{row['variant']}\\n\" for row in rows)\n"
        "    def finish(self, outcomes): pass\n"
    )
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [*sys.path])
    code, _, err = aelle("send", sweep, "logger=line")
    assert code == 2 and "choose one of csv, lines, tensorboard, wandb" in err and "own_lines_logger" not in sys.modules
    code, _, err = aelle("send", sweep, "logger=lines", "logger.file=all.txt")
    assert code == 0, err
    assert sorted(map(int, Path("all.txt").read_text().split())) == sorted(4 * [*range(12)])
    (place / "conf" / "logger" / "csv.yaml").write_text("_target_: own_lines_logger.Lines\nfile: lines.txt\n")
    code, _, err = aelle("send", sweep, "logger=csv")
    assert code == 2 and "has the name of one of aelle's own" in err
