"""Dashboards hold what the run folder holds, and no failure of theirs reaches the training."""

import csv
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from aelle.runs.writer import RunFolder
from aelle.sweep.plan import Plan
from aelle.tracking import Pack, Tracking
from aelle.tracking.rows import rows_of, summary
from aelle.tracking.wandb import SETTINGS, _write_workspace, check_access
from run_files import CONFIG, on_replacing
from sweeps import SMALL, KilledError, report_of, results_of, rows, runs, weights
from wandb_files import saved_runs

pytestmark = pytest.mark.usefixtures("wandb_at_home")

OFFLINE = ["logger=wandb", "logger.mode=offline"]


SWEEP = ["train.py", "-m", "experiment=digits", *SMALL, "pack=1,2"]


PACK = ["train.py", "experiment=digits", *SMALL, "pack=2"]
"""Variants 10 and 11."""


@pytest.fixture
def sweep(tmp_path) -> Path:
    return tmp_path / "outputs" / "digits"


def same_training(sweep: Path, small_sweep: Path) -> bool:
    """The numbers and the weights of the same packs without a tracker, bit for bit."""
    packs = sorted(path.parent.name for path in sweep.glob("*/checkpoint.ckpt"))
    trained = rows(sweep)
    expected = {key: row for key, row in rows(small_sweep).items() if key in trained}
    plain = [one for pack in packs for one in weights(small_sweep, pack)]
    pairs = zip(weights(sweep), plain, strict=True)
    return trained == expected and all(a[name].equal(b[name]) for a, b in pairs for name in b)


def fail_at(monkeypatch, file: str, time: int) -> None:
    """Let the disk be full when this file is written for that time."""

    def full(path, times):
        if str(path).endswith(file) and times == time:
            raise OSError("No space left on device")

    on_replacing(monkeypatch, before=full)


def hold(history: dict[int, dict], written: dict, number: int, epochs: range) -> None:
    """A run's history is the variant's rows of `epochs.parquet`."""
    assert sorted(history) == list(epochs)
    for epoch, row in history.items():
        expected = written[number, epoch]
        for name in ("val_loss", "test_loss", "train_loss", "val_accuracy"):
            assert row.get(name) == expected[name], name
        assert row["epoch"] == epoch and row["lyapunov/maximum"] == expected["spectrum"][0]
        np.testing.assert_allclose(row["lyapunov/mean"], np.mean(expected["spectrum"]))


def test_every_variant_is_a_run_of_its_own(main, small_sweep, sweep):
    _, out, err = main(*SWEEP, *OFFLINE)
    assert "warning" not in out and "wandb" not in out + err
    assert same_training(sweep, small_sweep)
    saved = saved_runs(sweep)
    assert sorted(run.config["variant"] for run in saved) == list(range(5, 12))
    variants = {row["variant"]: row | {"pack": r.path.name} for r in runs(sweep) for row in r.variants.to_pylist()}
    for run in saved:
        number = run.config["variant"]
        expected = variants[number]
        for name in ("hidden_size", "p", "learning_rate", "pack"):
            assert run.config[name] == expected[name]
        assert run.config["init_seed"] == str(expected["init_seed"])
        assert run.config["task"] == "digits" and run.config["epochs"] == 3
        assert (run.run.run_group, run.run.job_type, run.run.display_name) == ("digits", "variant", f"digits-{number}")
        hold(run.history, rows(sweep), number, range(4))
        assert run.summary["state"] == "complete" and run.exit_code == 0
        assert run.summary["final_loss"] == rows(sweep)[number, 3]["val_loss"] and run.summary["low_error"] == 0
    files = [path for path in (sweep / "wandb").rglob("*") if path.is_file()]
    assert len(files) <= 5 * 7 and {path.suffix for path in files} == {".wandb", ".log", ".png"}


def test_a_failed_pack_is_shown_so_and_goes_on_in_the_same_runs(main, small_sweep, sweep, monkeypatch):
    fail_at(monkeypatch, "epochs.parquet", 3)
    code, out, _ = main(*PACK, *OFFLINE)
    assert code == 1 and "failed with OSError" in out
    failed = saved_runs(sweep)
    assert len(failed) == 2 and all(run.exit_code == 1 and run.summary["state"] == "failed" for run in failed)
    assert all("final_loss" not in run.summary and sorted(run.history) == [0, 1] for run in failed)
    assert main(*PACK, *OFFLINE)[0] == 0
    assert same_training(sweep, small_sweep)
    whole = saved_runs(sweep)[2:]
    assert {run.run.run_id for run in whole} == {run.run.run_id for run in failed}
    for run in whole:
        hold(run.history, rows(sweep), run.config["variant"], range(4))
        assert run.exit_code == 0 and run.summary["state"] == "complete"


def test_a_pack_goes_on_with_a_csv_file_that_has_every_row(main, small_sweep, sweep, monkeypatch):
    fail_at(monkeypatch, "epochs.parquet", 3)
    assert main(*PACK)[0] == 1
    assert main(*PACK, "logger=csv")[0] == 0
    assert same_training(sweep, small_sweep)
    table = pd.read_csv(sweep / "pack-0002" / "metrics.csv").set_index(["variant", "epoch"])
    assert sorted(table.index) == [(number, epoch) for number in (10, 11) for epoch in range(4)]
    for key, row in table.iterrows():
        assert row["val_loss"] == rows(sweep)[key]["val_loss"] and row["state"] == "complete"
        assert row["lyapunov/maximum"] == rows(sweep)[key]["spectrum"][0]


@pytest.mark.parametrize("killed_at", [9, 10, 11])
def test_a_csv_file_has_its_last_word_whenever_the_run_is_killed(main, small_sweep, sweep, monkeypatch, killed_at):
    """After the last epoch's status, which is the ninth, and the two that make the run complete."""

    def kill(path, times):
        if (path.name, times) == ("status.json", killed_at):
            raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(Tracking, "__exit__", lambda *_: None)
        on_replacing(patched, after=kill)
        with pytest.raises(KilledError):
            main(*PACK, "logger=csv")
    assert main(*PACK, "logger=csv")[0] == 0
    assert same_training(sweep, small_sweep)
    table = pd.read_csv(sweep / "pack-0002" / "metrics.csv")
    assert set(table["state"]) == {"complete"} and len(table) == 8


def test_tensorboard_has_a_folder_per_variant_without_what_a_stopped_run_left(main, small_sweep, sweep, monkeypatch):
    fail_at(monkeypatch, "epochs.parquet", 3)
    assert main(*PACK, "logger=tensorboard")[0] == 1
    assert main(*PACK, "logger=tensorboard")[0] == 0
    assert same_training(sweep, small_sweep)
    assert len(list((sweep / "tensorboard").rglob("events.*"))) == 2
    for folder in (sweep / "tensorboard").glob("*/*"):
        events = EventAccumulator(str(folder)).Reload()
        losses = [(event.step, event.value) for event in events.Scalars("val_loss")]
        expected = [(epoch, rows(sweep)[int(folder.name), epoch]["val_loss"]) for epoch in range(4)]
        assert losses == expected and events.Scalars("final_loss")[0].value == expected[-1][1]


def test_online_a_stopped_pack_sends_only_what_the_server_lacks(main, small_sweep, monkeypatch, server):
    fail_at(monkeypatch, "epochs.parquet", 3)
    code, out, err = main(*PACK, "logger=wandb")
    assert code == 1 and "failed with OSError" in out and err == ""
    assert len(server.history) == 2 and set(server.ends.values()) == {1}
    code, out, _ = main(*PACK, "logger=wandb")
    assert code == 0 and "warning" not in out
    assert set(server.ends.values()) == {0}
    for name, history in server.history.items():
        hold(history, rows(small_sweep), int(name.split("-")[1]), range(4))
        assert server.sent[name] == [0, 1, 2, 3]


def test_a_server_that_dies_delays_the_training_and_no_more(main, small_sweep, sweep, monkeypatch, server):
    monkeypatch.setitem(SETTINGS, "finish_timeout", 1)
    write_epochs = RunFolder.write_epochs

    def write(run, table):
        server.stop()
        write_epochs(run, table)

    monkeypatch.setattr(RunFolder, "write_epochs", write)
    code, out, _ = main(*PACK, "logger=wandb")
    assert code == 0 and out.count("warning: the logger has failed") == 1
    assert same_training(sweep, small_sweep)


class Broken:
    """A tracker that fails when it is told this."""

    def __init__(self, at: str):
        self.at = at

    def _told(self, word: str) -> None:
        if word == self.at:
            raise RuntimeError("no more room\nfor this")

    def start(self, pack) -> None:
        self._told("start")

    def epoch(self, rows) -> None:
        self._told("epoch")

    def finish(self, outcomes) -> None:
        self._told("finish")


@pytest.mark.parametrize("at", ["start", "epoch", "finish"])
def test_a_tracker_that_fails_is_reported_once_and_left_out(main, small_sweep, sweep, at):
    _, out, _ = main(*SWEEP, f"+logger={{_target_:{__name__}.Broken,at:{at}}}")
    assert out.count("warning: the logger has failed (no more room); training continues without it\n") == 1
    assert same_training(sweep, small_sweep)


class Kept:
    """A tracker that keeps what it is told."""

    outcomes = ()

    def start(self, pack) -> None: ...

    def epoch(self, rows) -> None: ...

    def finish(self, outcomes) -> None:
        Kept.outcomes = outcomes


@pytest.fixture
def tracking(tmp_path) -> Tracking:
    config = {**CONFIG, "sweep": "s", "logger": {"_target_": f"{__name__}.Kept"}}
    plan = Plan(config, tmp_path)
    return Tracking(
        Pack(tmp_path / "pack-0000", config, [plan.variant(0), plan.variant(1)], resumed=False), None, print
    )


def test_a_diverged_variant_is_high_error_and_the_summary_of_its_spectrum_is_not_a_number(tracking):
    spectra = [[0.1, -0.2], [float("nan")] * 2]
    table = pa.table({"variant": [0, 1], "epoch": [2, 2], "val_loss": [0.4, float("nan")], "spectrum": spectra})
    with tracking:
        tracking.rows(table)
        tracking.finish(["complete", "diverged"])
    assert Kept.outcomes[0] == {"state": "complete", "final_loss": 0.4, "low_error": 1}
    assert Kept.outcomes[1]["state"] == "diverged" and Kept.outcomes[1]["low_error"] == 0
    assert all(np.isnan(value) for name, value in rows_of(table)[1].items() if name.startswith("lyapunov/"))


@pytest.mark.parametrize(("error", "state"), [(ValueError("x"), "failed"), (KeyboardInterrupt(), "stopped")])
def test_a_pack_that_does_not_come_to_its_end_says_why(tracking, error, state):
    with pytest.raises(type(error)), tracking:
        raise error
    assert Kept.outcomes == [{"state": state}] * 2


def test_trackers_are_told_of_those_that_are_left(tracking):
    both = pa.table({"variant": [0, 1], "epoch": [1, 1], "val_loss": [0.4, 0.9]})
    with pytest.raises(ValueError, match="x"), tracking:
        tracking.rows(both)
        tracking.rows(both.slice(1).set_column(1, "epoch", [[2]]))
        raise ValueError("x")
    assert Kept.outcomes == [{"state": "pruned"}, {"state": "failed"}]


def test_a_spectrum_is_summed_up_as_its_own_properties_say():
    exponents = np.array([0.5, 0.25, -0.5, -1.0])
    found = summary(exponents.tolist())
    assert found == {
        "maximum": 0.5, "mean": -0.1875, "share_above_zero": 0.5, "kaplan_yorke_dimension": 3.25, "entropy_rate": 0.75,
    }  # fmt: skip


def test_metrics_of_a_callback_s_own_are_tracked_and_what_is_missing_is_left_out():
    table = pa.table({"variant": [0, 1], "epoch": [1, 1], "chance": [0.25, None], "note": ["a", "b"]})
    assert rows_of(table) == [{"variant": 0, "epoch": 1, "chance": 0.25}, {"variant": 1, "epoch": 1}]


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["logger=wandb"], "wandb login"),
        (["logger=wandb", "logger.mode=on"], "logger.mode=on: choose online, offline or disabled"),
        (["logger=wand"], "logger=wand does not exist: choose one of csv, tensorboard, wandb"),
        (["+logger={_target_:aelle.nothing}"], "choose csv, tensorboard, wandb or null"),
        (["logger=tensorboard"], "pip install tensorboard"),
    ],
)
@pytest.mark.parametrize("many", [[], ["-m"]])
def test_what_cannot_work_is_one_line_before_anything_is_trained(main, monkeypatch, sweep, overrides, says, many):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    code, out, err = main("train.py", *many, "experiment=digits", *SMALL, *overrides)
    assert code == 2 and err.count("\n") == 1 and err.startswith("error: ") and says in err and out == ""
    assert not sweep.exists()


def test_a_login_is_found_and_leaves_nothing_that_a_job_on_another_machine_would_look_for(server, capfd):
    check_access("online")
    assert "WANDB_SERVICE" not in os.environ and capfd.readouterr() == ("", "")


def test_who_lacks_the_package_for_workspaces_is_told_once(monkeypatch, tracking, capsys):
    monkeypatch.setitem(sys.modules, "aelle.tracking.workspace", None)
    for _ in range(2):
        _write_workspace("e", "p", tracking.pack)
    later = replace(tracking.pack, folder=Path("outputs/t/pack-0001"), variants=tracking.pack.variants[1:])
    _write_workspace("e", "p", later)
    assert capsys.readouterr().out.count("pip install wandb-workspaces") == 1


def test_an_analysis_is_a_run_beside_the_variants(main, small_sweep, sweep):
    shutil.copytree(small_sweep, sweep)
    threshold = float(np.median([row["val_loss"] for (_, epoch), row in rows(sweep).items() if epoch == 3]))
    options = [f"sweep={sweep}", "splits=2", "aelle.epochs=4", *OFFLINE]
    code, out, err = main("analyze.py", *options, f"threshold={threshold}")
    assert code == 0 and err == "" and "warning" not in out
    (run,) = saved_runs(sweep)
    assert (run.run.run_group, run.run.job_type, run.exit_code) == ("digits", "analysis", 0)
    assert run.summary["low_error_variants"] == 6 and run.summary["threshold"] == threshold
    shown = {name.split("/")[1] for name in run.summary if name.startswith("figures/")}
    assert {"losses", "spectra", "plane", "curves"} <= shown
    assert run.artifacts["model"] == sorted(path.name for path in (results_of(out) / "model").iterdir())
    assert report_of(out).name in run.artifacts["report"]
    for table in ("early_prediction", "savings", "variants"):
        (path,) = run.path.parent.rglob(f"{table}_*.table.json")
        with (results_of(out) / f"{table}.csv").open() as file:
            header, *lines = csv.reader(file)
        assert pd.read_json(path, typ="series")["columns"] == header
        assert len(pd.read_json(path, typ="series")["data"]) == len(lines)


def test_an_analysis_without_classes_is_shown_and_a_failing_dashboard_leaves_the_report(
    main, small_sweep, sweep, monkeypatch
):
    shutil.copytree(small_sweep, sweep)
    assert main("analyze.py", f"sweep={sweep}", *OFFLINE)[0] == 0
    (run,) = saved_runs(sweep)
    assert "model" not in run.artifacts and run.artifacts["report"] == ["report.html", "variants.csv"]
    monkeypatch.setattr("wandb.Table", lambda **_: 1 / 0)
    code, out, _ = main("analyze.py", f"sweep={sweep}", *OFFLINE)
    assert code == 0 and out.endswith(
        "warning: the logger has failed (division by zero); the report is complete without it\n"
    )


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["logger=csv"], "choose wandb or null"),
        (["logger=wandb"], "wandb login"),
        (["model=m", *OFFLINE], "model=m"),
    ],
)
def test_an_analysis_refuses_what_it_cannot_show(main, small_sweep, overrides, says):
    code, _, err = main("analyze.py", f"sweep={small_sweep}", *overrides)
    assert code == 2 and err.count("\n") == 1 and says in err
