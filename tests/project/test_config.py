"""Every choice in conf/ composes, and what it names exists."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_object
from omegaconf import OmegaConf

from aelle.commands.analysis_name import in_words
from aelle.commands.launch import register_resolvers
from aelle.hyperparameters import HYPERPARAMETERS
from aelle.model.estimator import AeLLE
from aelle.runs.settings import fingerprint
from aelle.sweep.options import OPTIONS, SECTIONS, with_names
from aelle.sweep.plan import Plan
from aelle.tracking import tracker_of
from aelle.variants import Variant
from sweeps import ROOT

CONF = ROOT / "conf"


def composed(name: str, *overrides: str) -> dict:
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(name, list(overrides))
    return OmegaConf.to_container(config, resolve=True)


def choices(group: str) -> list[str]:
    return sorted(p.stem for p in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_every_experiment_composes_and_plans(experiment, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = composed("train", f"experiment={experiment}")
    plan = Plan.of(config)
    assert sum(map(len, plan.packs())) == plan.total >= config["size"]
    for name in ("module", "data"):
        assert callable(get_object(config["task"][name]["_target_"]))


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_every_experiment_sweeps_over_its_packs(experiment, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", [f"experiment={experiment}"], return_hydra_config=True)
    params = config.hydra.sweeper.params
    (override,) = OverridesParser.create().parse_overrides([f"{name}={value}" for name, value in params.items()])
    packs = Plan.of(composed("train", f"experiment={experiment}")).packs()
    assert override.key_or_group == "pack" and list(override.sweep_string_iterator()) == [
        str(i) for i in range(len(packs))
    ]


@pytest.mark.parametrize("task", choices("task"))
def test_every_task_has_a_search_space_without_an_experiment(task, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert Plan.of(composed("train", f"task={task}")).variant(0).hyperparameters


@pytest.mark.parametrize("preset", choices("lyapunov"))
def test_every_preset_of_spectra_has_every_option(preset, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    plan = Plan.of(composed("train", "experiment=digits", f"lyapunov={preset}"))
    assert set(plan.config["lyapunov"]) == set(SECTIONS["lyapunov"])


def test_an_option_wins_over_the_preset_and_a_chosen_preset_over_the_experiments():
    assert composed("train", "experiment=recall")["lyapunov"]["sequences"] == 8
    assert composed("train", "experiment=recall", "lyapunov=exact")["lyapunov"]["sequences"] == 32
    assert composed("train", "experiment=smnist_early", "lyapunov=cheap")["lyapunov"]["sequences"] == 8
    for line in (["lyapunov.sequences=5", "lyapunov=exact"], ["lyapunov=exact", "lyapunov.sequences=5"]):
        found = composed("train", "experiment=digits", *line)["lyapunov"]
        assert found == composed("train", "lyapunov=exact")["lyapunov"] | {"sequences": 5}
    assert composed("train", "experiment=target", "lyapunov=exact")["lyapunov"]["k"] == 64


def test_a_sweep_is_its_measurement_and_not_the_name_of_its_preset():
    of = [
        fingerprint(with_names(composed("train", "experiment=digits", *line)))
        for line in (["lyapunov=exact"], ["lyapunov=cheap"], ["lyapunov=exact", "lyapunov.sequences=8"])
    ]
    assert of[0] != of[1] == of[2]


@pytest.mark.parametrize("choice", choices("aelle"))
def test_every_aelle_configuration_makes_a_model(choice):
    AeLLE(0.5, **composed("analyze", f"aelle={choice}", "sweep=s")["aelle"])


def test_the_default_configuration_is_the_models_own():
    given = composed("analyze", "sweep=s")["aelle"]
    assert {**given, "alphas": tuple(map(float, given["alphas"]))} == {
        name: value for name, value in AeLLE(0.5).get_params().items() if name != "threshold"
    }
    assert in_words(given) == "default settings"
    assert in_words(given | {"classifier": "ellipse", "points": 16}) == "points 16, classifier ellipse"


@pytest.mark.parametrize("choice", choices("logger"))
def test_every_logger_makes_a_tracker(choice, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for script in ("train", "analyze"):
        tracker = tracker_of(
            composed(script, f"logger={choice}", *(["sweep=s"] if script == "analyze" else []))["logger"]
        )
        assert all(callable(getattr(tracker, word)) for word in ("start", "epoch", "finish"))


def planned(experiment: str) -> tuple[dict, list[Variant]]:
    config = composed("train", f"experiment={experiment}")
    return config, [v for pack in Plan(with_names(config), Path("nowhere")).packs() for v in pack]


def test_smnist_is_the_papers():
    config, variants = planned("smnist")
    sizes = [v.hyperparameters["hidden_size"] for v in variants]
    assert len(variants) == 1200 and all(sizes.count(h) == 300 for h in (32, 64, 128, 256))
    assert all(2 <= v.hyperparameters["p"] < 3 for v in variants) and config["epochs"] == 20
    shared = {"learning_rate": 0.01, "batch_size": 100}
    assert all(shared.items() <= v.hyperparameters.items() for v in variants)


def test_charrnn_is_the_papers():
    config, variants = planned("charrnn")
    sizes = [v.hyperparameters["hidden_size"] for v in variants]
    assert len(variants) == 1200 and all(sizes.count(h) == 300 for h in (64, 128, 256, 512))
    assert all(0.04 <= v.hyperparameters["p"] < 0.4 for v in variants)
    assert config["epochs"] == 10 and config["task"]["threshold"] == 1.75
    shared = {"cell": "lstm", "learning_rate": 0.002, "batch_size": 32, "keep": 0.2, "dropout": 0.1}
    assert all(shared.items() <= v.hyperparameters.items() for v in variants)


@pytest.mark.parametrize("experiment", ["smnist", "smnist_early", "charrnn"])
def test_the_papers_networks_are_measured_exactly(experiment):
    assert composed("train", f"experiment={experiment}")["lyapunov"] == composed("train", "lyapunov=exact")["lyapunov"]


def test_target_is_the_papers():
    config, variants = planned("target")
    assert len(variants) == 1200 and all(1 <= v.hyperparameters["g"] < 1.8 for v in variants)
    assert all(v.hyperparameters["hidden_size"] == 512 for v in variants)
    assert config["epochs"] == 15 and config["task"]["threshold"] == 0.2
    assert config["lyapunov"]["steps"] == 200 and config["lyapunov"]["every_n_epochs"] == [0, 1, 5, 10, 15]


def test_smnist_early_is_the_papers_study():
    config, variants = planned("smnist_early")
    assert len(variants) == 200 and all(2 <= v.hyperparameters["p"] < 2.5 for v in variants)
    assert all(v.hyperparameters["hidden_size"] == 64 for v in variants)
    assert config["epochs"] == 20 and config["lyapunov"]["every_n_epochs"] == 1


def test_everything_at_the_top_is_an_option_or_a_hyperparameter():
    given = OmegaConf.load(CONF / "train.yaml")
    assert set(OPTIONS) == {
        *(name for name in given if name not in ("defaults", "hydra")),
        "lyapunov",
        "task",
        "logger",
    }
    for task in choices("task"):
        names = with_names(composed("train", f"task={task}"))["hyperparameters"]
        assert set(names) <= set(HYPERPARAMETERS)
        assert set(get_object(composed("train", f"task={task}")["task"]["module"]["_target_"]).reads) <= set(names)


@pytest.mark.parametrize(
    ("overrides", "threshold"),
    [
        (["task=copy"], 0.069),
        (["task=copy", "task.data.delay=20"], 0.024),
        (["task=copy", "task.threshold=0.3"], 0.3),
        (["task=flipflop"], 0.1),
        (["experiment=flipflop_full"], 0.1),
        (["task=flipflop", "task.data.pulses=0.95"], 0.005),
        (["task=flipflop", "task.data.bits=12"], 0.02),
        (["task=flipflop", "task.data.pulses=1", "task.threshold=0.3"], 0.3),
        (["task=lorenz"], 0.0053),
        (["task=lorenz", "task.data.dt=0.3"], 0.1),
    ],
)
def test_a_threshold_follows_the_options_of_its_task(overrides, threshold):
    assert composed("train", *overrides)["task"]["threshold"] == threshold
