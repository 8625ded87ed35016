"""What README.md and docs/ say: commands, code, files and links, each held against the real thing."""

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from optuna.trial import FixedTrial, TrialState

import aelle.__main__
from aelle.analysis.embeddings import check_pictures
from aelle.commands.hydra_parser import build_parser
from aelle.commands.launch import register_resolvers
from aelle.commands.send import logger_of
from aelle.errors import UserError
from aelle.files import MODEL_FILES, PREDICTOR_FILES
from aelle.hyperparameters import HYPERPARAMETERS
from aelle.model.estimator import AeLLE
from aelle.runs.reader import FILES
from aelle.sweep.plan import Plan
from aelle.tracking import tracker_of
from aelle.variants import check_space
from sweeps import ROOT, report_of, results_of

PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
PLACEHOLDERS = {"…": "x", "NAME": "x", "FOLDER": "x"}
"""What a reader fills in."""

PLUGINS = {"joblib": "joblib", "submitit_local": "submitit", "slurm": "submitit", "ray": "ray", "ray_cluster": "ray"}
"""Of Hydra, by launcher."""

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# ([\w/]+\.(?:py|yaml))\n")
"""The first line of a block that is a file of the reader's own."""


def blocks(page: Path, language: str) -> list[str]:
    return [dedent(found[3]) for found in FENCE.finditer(page.read_text()) if found[2] == language]


def commands_of(page: Path) -> list[str]:
    """Lines of blocks and pieces of code in a sentence that start with `python` or `make`, without comments."""
    lines = [line for block in blocks(page, "") for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`([^`]+)`", FENCE.sub("", page.read_text()))
    words = [shlex.split(line.removeprefix("time "), comments=True) for line in lines if _is_command(line)]
    return [shlex.join(some) for some in words]


def _is_command(line: str) -> bool:
    return re.match(r"(time )?python (\S+\.py|-m aelle \w+)|aelle [a-z]+ (?!--help)|make ", line) is not None


COMMANDS = {line: page.name for page in reversed(PAGES) for line in commands_of(page)}
PYTHON = sorted(line for line in COMMANDS if not line.startswith("make"))


def words_of(line: str) -> list[str]:
    for word, filled in PLACEHOLDERS.items():
        line = line.replace(word, filled)
    # As it is written with `python`.
    line = re.sub(r"^aelle (train|analyze) ", r"python \1.py ", line)
    return shlex.split(re.sub("^aelle ", "python -m aelle ", line))[1:]


@pytest.fixture(scope="module")
def own_files(tmp_path_factory) -> Path:
    """The files of their own that the pages ask a reader to write."""
    folder = tmp_path_factory.mktemp("own")
    for page in PAGES:
        for block in [*blocks(page, "yaml"), *blocks(page, "python")]:
            if name := NAMED.match(block):
                path = folder / name[1]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.removeprefix(name[0]))
    return folder


@pytest.fixture
def documented(main, monkeypatch, own_files):
    """Run a command of the pages, `tiny` behind it, in an empty folder; what it has printed."""
    monkeypatch.syspath_prepend(str(own_files))

    def run(line: str, *tiny: str) -> str:
        assert line in COMMANDS, f"no page has: {line}"
        script, *overrides = [*words_of(line), *tiny]
        if script == "-m":
            script, overrides = "aelle/__main__.py", overrides[1:]
        else:
            overrides += ["--config-dir", str(own_files / "conf")]
        code, out, err = main(script, *overrides)
        assert code == 0, f"{line}: {err}"
        return out

    return run


@contextmanager
def composed(script: str, overrides: list[str], own: Path) -> Iterator[DictConfig]:
    register_resolvers()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        search = f"hydra.searchpath=[file://{own / 'conf'}]"
        yield compose(Path(script).stem, [*overrides, search], return_hydra_config=True)


def jobs_of(overrides: list[str]) -> list[list[str]]:
    """What a sweep over values makes of them, a job each."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    values = [
        [f"{one.get_key_element()}={value}" for value in one.sweep_string_iterator()]
        if one.is_sweep_override()
        else [one.input_line]
        for one in parsed
    ]
    return [list(job) for job in product(*values)]


@pytest.mark.parametrize("line", PYTHON)
def test_every_command_is_one_that_could_start(line, own_files, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(own_files))
    monkeypatch.setenv("WANDB_MODE", "offline")
    # The analysis before it would have saved one; which, counts where variants are pruned.
    for sweep in ("recall", "digits_wide_init"):
        (model := tmp_path / "outputs" / sweep / "model").mkdir(parents=True)
        for name in (*MODEL_FILES, *PREDICTOR_FILES):
            (model / name).touch()
    check_command(line, own_files, monkeypatch)


def check_command(line: str, own: Path, monkeypatch) -> None:
    """Paper-scale ones are not started."""
    script, *rest = words_of(line)
    if script == "-m":
        asked = []
        monkeypatch.setattr(sys, "argv", ["__main__.py", *rest[1:]])
        monkeypatch.setattr("aelle.sweep.status.sweep_status", asked.append)
        monkeypatch.setattr("aelle.commands.status_text.status_lines", lambda status: [str(status)])
        monkeypatch.setattr("aelle.commands.collect.collect", lambda *paths: asked.extend(paths) or True)
        monkeypatch.setattr(
            "aelle.commands.send.send", lambda _, words: asked.append(tracker_of(logger_of(words))) or True
        )
        aelle.__main__.main()
        assert asked
        return
    assert (ROOT / script).is_file(), script
    if script not in ("train.py", "analyze.py"):
        return
    given = build_parser().parse_args(rest)
    launcher = next((PLUGINS[o.split("=")[1]] for o in given.overrides if o.startswith("hydra/launcher=")), None)
    if launcher and find_spec(f"hydra_plugins.hydra_{launcher}_launcher") is None:
        pytest.skip(f"hydra-{launcher}-launcher is not installed")
    check = check_training if script == "train.py" else check_analysis
    for job in jobs_of(given.overrides) if given.multirun else [given.overrides]:
        with composed(script, job, own) as config:
            assert given.package is None or OmegaConf.select(config, given.package) is not None, given.package
            check(config, swept=job != given.overrides)


def check_training(config: DictConfig, swept: bool) -> None:
    settings = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    plan = Plan.of(OmegaConf.to_container(settings, resolve=True))
    assert plan.wanted() and plan.variant(0).hyperparameters
    assert not (swept and plan.config["size"]), "values are swept over beside a sweep's own variants"
    for part in ("module", "data"):
        assert callable(get_object(plan.config["task"][part]["_target_"]))


def check_analysis(config: DictConfig, swept: bool) -> None:
    assert not OmegaConf.is_missing(config, "sweep") and not swept
    AeLLE(1.0, **OmegaConf.to_container(config.aelle)).check_parameters()
    check_pictures(OmegaConf.to_object(config.pictures) if OmegaConf.is_list(config.pictures) else config.pictures)
    assert config.threshold is None or config.threshold > 0


@pytest.mark.parametrize(
    "wrong",
    [
        "python train.py -m experiment=didgits",
        "python train.py experiment=digits hidden_sizes=8",
        "python train.py experiment=digits hidden_size=8,16",
        "python train.py -m experiment=digits hidden_size=8,16",
        "python train.py experiment=digits 'p=\"normal(0, 1)\"'",
        "python train.py experiment=digits variants=0-300",
        "python train.py --all experiment=digits",
        "python train.py -m hydra/launcher=joblib --cfg hydra -p hydra.lancher",
        "python analyze.py",
        "python analyze.py sweep=x aelle.classifier=circle",
        "python analyze.py sweep=x pictures=[pca]",
        "python -m aelle state outputs/digits",
        "aelle state outputs/digits",
        "aelle train -m experiment=didgits",
        "python bench/nothing.py",
    ],
)
def test_a_wrong_command_would_be_found(wrong, own_files, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((Exception, SystemExit)):
        check_command(wrong, own_files, monkeypatch)


def test_the_commands_are_found():
    assert len(PYTHON) > 50 and {"make demo", "make test"} <= set(COMMANDS)
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{line.split()[1]}: " in makefile for line in COMMANDS if line.startswith("make"))
    for line in (
        "python train.py -m experiment=recall hydra/launcher=joblib",
        "python analyze.py sweep=outputs/recall",
    ):
        assert line in COMMANDS and f"$(BIN)/{line}\n" in makefile


def middle_loss(sweep: str) -> float:
    last = [pd.read_parquet(file).query("epoch == epoch.max()") for file in Path(sweep).glob("*/epochs.parquet")]
    return float(pd.concat(last)["val_loss"].median())


DEMO = (
    "size=12",
    "pack_size=5",
    "hidden_size=4",
    "epochs=3",
    "batch_size=20",
    "task.data.train=60",
    "task.data.steps=4",
)


def test_the_demo_and_what_follows_it_run(documented):
    assert "12 of 12 variants complete" in documented("python train.py -m experiment=recall", *DEMO)
    assert "variants  12 complete" in documented("python -m aelle status outputs/recall")
    assert "48 rows of 4 runs" in documented("python -m aelle collect outputs/recall")
    documented("python -m aelle collect outputs/recall --to rows.parquet")
    assert len(pd.read_parquet("rows.parquet")) == 48
    some = documented("python train.py experiment=recall variants=0-7", *DEMO)
    assert "12 of 12 variants complete" in some and len(list(Path("outputs/recall").glob("*/status.json"))) == 4
    analysed = ("splits=2", "pictures=[]", "aelle.epochs=2", f"threshold={middle_loss('outputs/recall')}")
    assert "keep after epoch 1" in documented("python analyze.py sweep=outputs/recall", *analysed)
    assert "10 of 10" in documented(
        "python train.py -m experiment=target_small", "size=10", "hidden_size=16", "epochs=1"
    )
    small = ("size=2", "hidden_size=4", "epochs=1", "keep=0.02", "lyapunov.sequences=2")
    assert "2 of 2" in documented("python train.py -m experiment=charrnn_small", *small)
    by_hand = "python train.py -m task=digits hidden_size=32,64 p=2.0,2.5"
    assert "4 variants complete" in documented(by_hand, "epochs=1", "lyapunov.sequences=2")
    assert "No classification" in documented("python analyze.py sweep=outputs/digits-runs threshold=0.4")


@pytest.mark.long
def test_a_search_space_of_ones_own_is_trained_and_reported(documented):
    """All of report.md's files and rows are those of a real analysis."""
    few = ("splits=2", "pictures=[]", "aelle.epochs=2")
    documented("python train.py -m experiment=recall", *DEMO)
    out = documented("python analyze.py sweep=outputs/recall", *few, f"threshold={middle_loss('outputs/recall')}")
    shutil.copytree(results_of(out) / "model", "outputs/recall/model")
    tiny = ("size=24", "epochs=2", "lyapunov.sequences=2", "lyapunov.test=true")
    assert "24 of 24 variants complete" in documented("python train.py -m experiment=mine", *tiny)
    variants = pd.concat(map(pd.read_parquet, Path("outputs/mine").glob("*/variants.parquet")))
    assert variants.groupby(["cell", "hidden_size"]).size().tolist() == [6, 6, 6, 6]
    unseen = (f"threshold={middle_loss('outputs/mine')}", "generalise=cell")
    out = documented("python analyze.py sweep=outputs/mine", *few, *unseen)
    shutil.copytree(results_of(out), "outputs/mine", dirs_exist_ok=True)
    told = "python train.py -m experiment=recall sweep=second seed=1 prediction.model=outputs/recall/model"
    assert "each variant's chance" in documented(told, *DEMO)
    documented("python analyze.py sweep=outputs/mine model=outputs/recall/model")

    page = ROOT / "docs" / "report.md"
    for name, said in columns_of(page).items():
        columns = set(pd.read_csv(f"outputs/mine/{name}").columns)
        assert said <= columns, f"{name} has no {said - columns}"
    assert set(columns_of(page)) == {file.name for file in Path("outputs/mine").glob("*.csv")}
    rows = set(pd.read_csv("outputs/mine/early_prediction.csv")["predictor"])
    assert rows <= set(first_cells(page)), rows - set(first_cells(page))


@pytest.mark.long
def test_a_task_of_ones_own_is_trained_and_reported(documented):
    for name in ("signs", "delays", "sums"):
        assert "40 of 40 variants complete" in documented(f"python train.py -m task={name} sweep={name} size=40")
        out = documented(f"python analyze.py sweep=outputs/{name}", "splits=2", "pictures=[]", "aelle.epochs=5")
        assert "of training" in out and "warning" not in out, out
    assert "4 variants complete" in documented("python train.py task=sums variants=0-3", "epochs=1")
    said = pd.read_parquet("outputs/sums/pack-0000/examples.parquet")
    assert np.isfinite(np.stack(said["said"])).all() and len(said["sum"][0]) == 5
    losses = pd.read_parquet("outputs/sums/pack-0000/epochs.parquet").groupby("epoch")["val_loss"].median()
    assert losses[5] < losses[0] / 2


def given_for(page: str) -> dict[str, object]:
    """What a page's code takes for granted."""
    spectra, losses = torch.randn(40, 32).sort(descending=True).values, torch.linspace(0.1, 1, 40)
    if page == "README.md":
        alone = {"inputs": torch.randn(2, 6, 3), "spectra": spectra, "losses": losses, "new_spectra": spectra[:3]}
        grid, p = losses[:, None].repeat(1, 6).numpy(), np.linspace(2, 3, 40)
        return {**alone, "all_losses": grid, "all_spectra": spectra[:, None].repeat(1, 6, 1).numpy(), "p": p}
    return {}


RUN = [ROOT / "README.md", *(ROOT / "docs" / name for name in ("index.md", "own-module.md", "own-cell.md"))]
LONG = [pytest.param(ROOT / "docs" / "optuna-own-script.md", marks=pytest.mark.long)]


@pytest.mark.parametrize("page", [*RUN, *LONG], ids=lambda p: p.name)
def test_the_code_runs(page, monkeypatch, tmp_path, documented):
    monkeypatch.chdir(tmp_path)
    names = given_for(page.name)
    for block in blocks(page, "python"):
        if not NAMED.match(block):
            exec(compile(block, str(page), "exec"), names)
    if page.name == "own-module.md":
        out = documented("python analyze.py sweep=mine.npz threshold=0.37", "splits=2", "aelle.epochs=2")
        assert "20 variants, 20 complete" in out and "of training" in out
        assert (tmp_path / report_of(out)).exists()
    if page.name == "optuna-own-script.md":
        check_pruned_trials(names)


def check_pruned_trials(names: dict[str, Any]) -> None:
    """Some are pruned, and trained to their end, all but one at most would have been as poor as it was said."""
    new, pruner = names["new"], names["pruner"]
    pruned = [trial for trial in new if trial.state == TrialState.PRUNED]
    assert 0 < len(pruned) < len(new)
    for trial in new:
        low = trial.user_attrs["aelle:chance"] < pruner.below and not trial.user_attrs["aelle:outside"]
        assert low == (trial in pruned) and np.isfinite(trial.user_attrs["aelle:largest exponent"])
        assert len(trial.intermediate_values) == len(trial.user_attrs["aelle:chance by epoch"]) - (trial in pruned)
    names["pruner"] = None
    losses = [names["objective"](FixedTrial(trial.params)) for trial in pruned]
    assert sum(loss < names["threshold"] for loss in losses) <= 1
    assert min(losses) > names["study"].best_value


def test_search_spaces_in_the_text_are_such():
    spaces = [yaml.safe_load(b) for page in PAGES for b in blocks(page, "yaml") if not NAMED.match(b)]
    for space in spaces:
        check_space(space)
    page = ROOT / "docs" / "search-space.md"
    known = {name for cell in first_cells(page) for name in cell.replace("`", "").split(", ")}
    assert set(HYPERPARAMETERS) <= known
    examples = [cell.strip("`") for cell in first_cells(page) if re.match(r"`(\w+\(|\[|\d)", cell)]
    assert len(examples) == 9
    for example in examples:
        check_space({"hidden_units": yaml.safe_load(example)})
    with pytest.raises(UserError):
        check_space({"hidden_units": "gamma(0, 1)"})


def test_links_and_named_files_exist():
    linked = [(page, link) for page in PAGES for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text())]
    assert len(linked) > 15
    for page, link in linked:
        assert link.startswith("https://") or (page.parent / (link.partition("#")[0] or page)).is_file(), (
            f"{page.name}: {link}"
        )
    own = {
        name
        for page in PAGES
        for language in ("yaml", "python")
        for name in NAMED.findall("".join(blocks(page, language)))
    }
    for page in PAGES:
        for name in re.findall(r"`((?:docs|bench|conf|examples|tests|aelle)/[\w/.-]+)`", page.read_text()):
            assert name in own or (ROOT / name).exists(), f"{page.name}: {name}"
    index = (ROOT / "README.md").read_text()
    # The site's own first page and reference are not written to be read as files.
    files = [page for page in PAGES[1:] if page.name != "index.md" and page.parent.name != "reference"]
    assert all(f"({page.relative_to(ROOT)})" in index for page in files)


def test_the_pages_name_all_that_there_is():
    """Sections of the report, files of a run, extras that pip installs."""
    report = (ROOT / "docs" / "report.md").read_text()
    sections = re.findall(r"<h2>(.*?)</h2>", (ROOT / "aelle" / "report" / "report.html.j2").read_text())
    assert len(sections) > 10 and [s for s in sections if f"\n## {s}\n" not in report] == []
    assert {f"`{name}`" for name in FILES} <= set(first_cells(ROOT / "docs" / "how-it-works.md"))
    project = (ROOT / "pyproject.toml").read_text()
    asked = {extra for page in PAGES for extra in re.findall(r"pip install[^\n`]*\[(\w+)\]", page.read_text())}
    assert asked and all(f"\n{extra} = [" in project for extra in asked)


def first_cells(page: Path) -> list[str]:
    return [line.split("|")[1].strip() for line in page.read_text().splitlines() if line.startswith("| ")]


def columns_of(page: Path) -> dict[str, set[str]]:
    """Of every CSV file that a page's table has, the columns that it names."""
    rows = [line.split("|") for line in page.read_text().splitlines() if re.match(r"\| `\w+\.csv`", line)]
    return {row[1].strip(" `"): set(re.findall(r"`(\w+)`", row[3])) for row in rows}
