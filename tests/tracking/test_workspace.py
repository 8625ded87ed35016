"""A sweep's workspace in Weights & Biases: it shows what the runs have, and is written once."""

import json
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from aelle.runs.reader import read_run
from aelle.runs.writer import RunFolder
from aelle.sweep.plan import Plan
from aelle.tracking import Pack

pytest.importorskip("wandb_workspaces", reason="pip install -e '.[wandb]'")

from aelle.tracking.workspace import view_name, workspace


@pytest.fixture
def predicted(sweep) -> Path:
    """The last pack of the small sweep, as if a model had predicted its chances."""
    for name in ("pack-0000", "pack-0001"):
        shutil.rmtree(sweep / name)
    run = read_run(sweep / "pack-0002")
    folder = RunFolder(run.path, {**run.config, "prediction": {**run.config["prediction"], "model": "outputs/m"}})
    variants = [Plan(run.config, sweep).variant(number) for number in run.numbers]
    folder.begin(variants)
    folder.write_epochs(run.epochs.append_column("chance", pa.array([0.5] * run.epochs.num_rows)))
    folder.write_variants(variants, ["complete"] * len(variants))
    folder.write_status("complete", epoch=3)
    return sweep


def named(spec: dict) -> dict[str, set[str]]:
    """What the panels of a workspace show: entries of `history`, `summary` and `config`."""
    found: dict[str, set[str]] = {"history": set(), "summary": set(), "config": set()}
    for section in spec["section"]["panelBankConfig"]["sections"]:
        for panel in section["panels"]:
            config = panel["config"]
            found["history"] |= {*config.get("metrics", []), *config.get("mediaKeys", [])}
            found["summary"] |= {config[name] for name in ("targetKey",) if name in config}
            found["config"] |= {config[name].removesuffix(".value") for name in ("groupBy",) if name in config}
            axes = [column["accessor"] for column in config.get("columns", [])]
            axes += [config[name] for name in ("xAxis", "yAxis") if ":" in config.get(name, "")]
            for place, name in (axis.split(":") for axis in axes):
                found[place].add(name.removesuffix(".value") if place == "config" else name)
    (runs,) = spec["section"]["runSets"]
    for place, name in (column.split(":") for column in runs["runFeed"]["columnPinned"]):
        if place != "run":
            found[place].add(name.removesuffix(".value"))
    return found


def test_a_workspace_shows_what_its_runs_have(aelle, predicted, server):
    code, out, _ = aelle("send", predicted, "logger=wandb")
    assert code == 0 and out.startswith(f"workspace: {server.url}/e/p?nw={view_name('digits')}\n")
    (view,) = server.views.values()
    assert (view["entityName"], view["projectName"], view["displayName"]) == ("e", "p", "digits")
    spec = json.loads(view["spec"])
    sections = [section["name"] for section in spec["section"]["panelBankConfig"]["sections"]]
    assert sections == [
        *("Parallel coordinates", "Loss curves by class", "Spectra over epochs", "Spectra by class"),
        "Chances of low error",
    ]
    shown = named(spec)
    assert {"p", "class"} <= shown["config"] and {"val_loss", "lyapunov/spectrum", "chance"} <= shown["history"]
    for name, history in server.history.items():
        last = {key for row in history.values() for key in row}
        assert shown["history"] <= last and shown["config"] <= set(server.config[name])
        assert shown["summary"] <= last | {"state", "final_loss", "low_error"}


def test_a_workspace_that_somebody_has_changed_stays_as_it_is(aelle, predicted, server, monkeypatch):
    assert aelle("send", predicted, "logger=wandb")[0] == 0
    changed = json.dumps({"version": -1, "mine": True})
    (name,) = server.views
    server.views[name]["spec"] = changed
    monkeypatch.setattr("aelle.tracking.wandb._with_workspace", set())
    code, out, _ = aelle("send", predicted, "logger=wandb")
    assert code == 0 and "workspace: " not in out and server.views[name]["spec"] == changed


def test_without_the_package_or_the_server_s_consent_there_is_a_line_and_no_workspace(
    aelle, predicted, server, monkeypatch
):
    with monkeypatch.context() as patched:
        patched.setattr("aelle.tracking.workspace._exists", lambda *_: 1 / 0)
        code, out, _ = aelle("send", predicted, "logger=wandb")
    assert code == 0 and out.startswith(
        "warning: the workspace was not written to Weights & Biases (division by zero)\n"
    )
    monkeypatch.setattr("aelle.tracking.wandb._with_workspace", set())
    monkeypatch.setitem(sys.modules, "aelle.tracking.workspace", None)
    shutil.copytree(predicted / "pack-0002", predicted / "pack-0003")
    code, out, _ = aelle("send", predicted, "logger=wandb")
    assert code == 0 and server.views == {}


def test_any_name_of_a_sweep_is_that_of_its_runs_group():
    config = {"hyperparameters": ["p", "learning_rate", "cell", "init"], "p": [1, 2], "cell": "gru", "init": None}
    config["learning_rate"] = "log_uniform(0.001, 0.1)"
    for name in ("digits", 'it\'s "a" = (b) <c> and \\d within_last 5 days 🙂'):
        pack = Pack(Path("outputs") / name / "pack-0000", config, [], resumed=False)
        spec = workspace("e", "p", pack)._to_model().spec.model_dump(by_alias=True)
        (runs,) = spec["section"]["runSets"]
        asked = {one["key"]["name"]: (one["op"], one["value"]) for one in runs["filters"]["filters"]}
        assert asked == {"group": ("=", name), "jobType": ("=", "variant")}
        columns = spec["section"]["panelBankConfig"]["sections"][0]["panels"][0]["config"]["columns"]
        logarithmic = {column["displayName"]: bool(column["log"]) for column in columns}
        assert {name: logarithmic.get(name) for name in ("p", "learning_rate", "cell", "init", "final_loss")} == {
            "p": False, "learning_rate": True, "cell": None, "init": None, "final_loss": True,
        }  # fmt: skip
