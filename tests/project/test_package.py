"""The command `aelle`, a user's own files beside the working directory, and the wheel in an environment of its own."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import yaml

import aelle as package
from aelle.sweep.table import load_sweep
from aelle.terminal import command
from sweeps import ROOT, report_of, rows

HEAVY = {"torch", "pytorch_lightning", "pandas", "pyarrow", "hydra", "joblib", "yaml"}

needs_hatchling = pytest.mark.skipif(find_spec("hatchling") is None, reason="hatchling is not installed")

OWN = {
    "my_data.py": """
from functools import lru_cache
import torch
from aelle.data import Part, Sequences

@lru_cache
def signs(steps):
    random = torch.Generator().manual_seed(0)
    def part(n):
        x = torch.randn(n, steps, 1, generator=random)
        return Part(x, (x.sum((1, 2)) > 0).long())
    return Sequences(part(60), part(40), part(40), classes=2)
""",
    "own_package_cells.py": """
import torch
from torch import nn

class Plain(nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.W, self.U = nn.Linear(hidden_size, hidden_size), nn.Linear(input_size, hidden_size)

    def forward(self, x, h):
        return torch.tanh(self.W(h) + self.U(x))
""",
    "conf/task/signs.yaml": """
# @package _global_
defaults:
  - /space: sequences
  - _self_
task:
  name: signs
  threshold: 0.69
  module: {_target_: aelle.tasks.SequenceClassification}
  data: {_target_: my_data.signs, steps: 5}
epochs: 2
cell: [own_package_cells.Plain, gru]
hidden_size: 6
learning_rate: 0.01
batch_size: 20
""",
    "conf/experiment/mine.yaml": """
# @package _global_
defaults:
  - override /task: signs
size: 8
pack_size: 2
sweep: mine
lyapunov: {sequences: 2}
""",
}
"""A user's task, loader, cell and experiment, by file."""


@pytest.fixture
def own(tmp_path) -> Path:
    """The working directory of such a user."""
    for name, text in OWN.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("started", "in_clone", "analyze", "status"),
    [
        ("/clone/train.py", True, "python analyze.py", "python -m aelle status"),
        ("/clone/aelle/__main__.py", True, "python analyze.py", "python -m aelle status"),
        ("/env/bin/aelle", True, "aelle analyze", "aelle status"),
        ("/my env/bin/aelle", False, "aelle analyze", "aelle status"),
        ("/env/bin/aelle train", False, "aelle analyze", "aelle status"),
        ("/site-packages/aelle/__main__.py train", False, "python -m aelle analyze", "python -m aelle status"),
        ("/mine/aelle_study.py", False, "python -m aelle analyze", "python -m aelle status"),
        ("-c", True, "python analyze.py", "python -m aelle status"),
        ("", False, "python -m aelle analyze", "python -m aelle status"),
    ],
)
def test_commands_are_printed_as_the_program_was_started(monkeypatch, started, in_clone, analyze, status):
    monkeypatch.setattr(sys, "argv", [started])
    monkeypatch.setattr("aelle.terminal.IN_CLONE", in_clone)
    assert command("analyze", "sweep=a") == f"{analyze} sweep=a" and command("status", "a b") == f"{status} 'a b'"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--version"], 0, f"aelle {package.__version__}"),
        (["--help"], 0, "train the variants of a sweep"),
        ([], 0, "train the variants of a sweep"),
        (["status", "--help"], 0, "Stale: started, but interrupted"),
        (["stauts"], 2, "invalid choice: 'stauts' (choose from "),
        (["collect"], 2, "the following arguments are required: sweep; see python -m aelle collect --help"),
    ],
)
def test_what_needs_no_sweep_loads_nothing(words, code, says, tmp_path):
    line = [sys.executable, "-X", "importtime", "-m", "aelle", *words]
    done = subprocess.run(
        line, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    times = [text for text in done.stderr.splitlines() if text.startswith("import time:")]
    loaded = {text.rpartition("|")[2].strip() for text in times}
    said = [text for text in done.stderr.splitlines() if text not in times]
    assert done.returncode == code and says in " ".join(done.stdout.split()) + "\n".join(said)
    assert len(said) == (1 if code else 0) and "argparse" in loaded and not loaded & HEAVY


def test_hydra_reads_what_follows_train_and_analyze(aelle, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    code, out, _ = aelle("train", "--cfg", "job", "experiment=recall", "-p", "task")
    assert code == 0 and "name: recall" in out
    for words, says in (
        (["train", "hiden_size=4"], "did you mean hidden_size? python train.py --help"),
        (["analyze", "shares"], "options are given as name=value"),
        (["analyze", "sweep=nowhere"], "nowhere"),
        (["analyze"], "no sweep given: name its folder, e.g. python analyze.py sweep=outputs/digits"),
    ):
        code, _, err = aelle(*words)
        assert code == 2 and err.count("\n") == 1 and err.startswith("error: ") and says in err


def test_own_configurations_and_modules_are_found_beside_the_working_directory(own, main):
    _, out, _ = main("train.py", "--help")
    assert "recall_full, smnist" in out and re.search(r"^task: .*, signs,", out, re.M) and ", mine, " in out
    code, out, err = main("train.py", "experiment=mine", "variants=0", "epochs=1")
    assert code == 0 and "1 of 8 variants complete" in out, err
    assert load_sweep(own / "outputs" / "mine").variants["cell"].tolist() == ["own_package_cells.Plain"]
    code, _, err = main("train.py", "task=signs", "batch_szie=4")
    assert code == 2 and "did you mean batch_size?" in err
    assert main("train.py", "task=signs", "+zz=4")[0] == 2
    assert "choose one of adding, charrnn, " in (err := main("train.py", "task=sings")[2]) and ", signs, " in err


@pytest.mark.parametrize("group", ["task", "space", "experiment"])
def test_a_configuration_of_ones_own_replaces_none_of_aelles(own, main, group):
    """One that is chosen by a default, too. What is the same in both, and what nobody chooses, does not matter."""
    name = "sequences" if group == "space" else "digits"
    text = (ROOT / "conf" / group / f"{name}.yaml").read_text()
    theirs = own / "conf" / group / f"{name}.yaml"
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text(text + "\n# Changed.\n")
    for start in ([], ["-m"]):
        code, _, err = main("train.py", *start, "experiment=digits")
        assert code == 2 and err.count("\n") == 1 and not (own / "outputs").exists()
        assert f"conf/{group}/{name}.yaml has the name of one of aelle's own" in err
    few = ("epochs=1", "variants=0", "lyapunov.sequences=2")
    if group != "space":
        code, out, err = main("train.py", "experiment=mine", *few)
        assert code == 0 and "warning" not in out, err
    theirs.write_text(text)
    (own / "conf" / "train.yaml").write_text("epochs: 3\n")
    code, out, err = main("train.py", "experiment=digits", *few)
    assert code == 0 and out.count("warning: conf/train.yaml is not read: put") == 1, err


def test_an_analysis_looks_for_own_configurations_too(own, main):
    (own / "conf" / "aelle").mkdir()
    (own / "conf" / "aelle" / "small.yaml").write_text("defaults: [default]\nlatent_size: 3\n")
    code, out, err = main("analyze.py", "aelle=small", "sweep=x", "--cfg", "job", "-p", "aelle")
    assert code == 0 and "latent_size: 3" in out, err
    (own / "conf" / "aelle" / "paper.yaml").write_text("latent_size: 3\n")
    code, _, err = main("analyze.py", "aelle=paper", "sweep=x")
    assert code == 2 and "conf/aelle/paper.yaml has the name of one of aelle's own" in err


def test_the_version_is_the_same_everywhere():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == package.__version__
    headings = re.findall(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == package.__version__


def expected() -> set[str]:
    """What the wheel has beside its metadata."""
    code = {path.relative_to(ROOT) for path in (ROOT / "aelle").rglob("*") if path.is_file()}
    conf = {Path("aelle") / path.relative_to(ROOT) for path in (ROOT / "conf").rglob("*") if path.is_file()}
    return {str(path) for path in code | conf if "__pycache__" not in path.parts}


@needs_hatchling
def test_the_package_with_conf_and_nothing_else_is_in_the_wheel():
    from hatchling.builders.wheel import WheelBuilder

    files = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert files == expected()
    assert {"aelle/py.typed", "aelle/report/report.html.j2", "aelle/conf/hydra/launcher/slurm.yaml"} <= files


def shell(*words: str | Path, cwd: Path, ok: bool = True) -> subprocess.CompletedProcess:
    """Outside of the clone, which no variable names either."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([*map(str, words)], cwd=cwd, env=env, capture_output=True, text=True, timeout=500)
    assert not ok or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    shell(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT)
    (source,) = folder.glob("*.tar.gz")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-build-isolation"]
    shell(*pip, source, "-w", folder, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture
def fresh(tmp_path_factory) -> Path:
    """The bin of an environment that shares the packages of this one, but not its aelle.

    An editable aelle is found by a .pth file, and those of another environment are not read.
    """
    env = tmp_path_factory.mktemp("fresh") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", env], check=True)
    (packages,) = env.glob("lib/python3*/site-packages")
    here = [one for one in sys.path if one.endswith("site-packages")]
    (packages / "shared.pth").write_text("\n".join(here) + "\n")
    assert not [one for one in here if (Path(one) / "aelle").exists()], "run the tests with an editable aelle"
    return env / "bin"


def install(fresh: Path, *what: str | Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", fresh / "python", "install", "-I"]
    shell(*pip, "--no-deps", "--no-build-isolation", *what, cwd=fresh)


@needs_hatchling
@pytest.mark.long
def test_an_installed_wheel_is_all_that_is_needed(wheel, fresh, own, tmp_path_factory):
    with ZipFile(wheel) as file:
        inside = {name for name in file.namelist() if ".dist-info/" not in name}
        assert inside == expected() and any(name.endswith("licenses/LICENSE") for name in file.namelist())
    install(fresh, wheel)
    aelle, python = fresh / "aelle", fresh / "python"
    where = shell(python, "-c", "import aelle; print(aelle.__file__, aelle.__version__)", cwd=own).stdout
    assert where.startswith(str(fresh.parent)) and where.endswith(f" {package.__version__}\n")

    out = shell(aelle, "train", "-m", "experiment=mine", "hydra/launcher=joblib", cwd=own).stdout
    assert "8 of 8 variants complete" in out and "next: aelle analyze sweep=outputs/mine\n" in out
    shell(aelle, "train", "-m", "experiment=mine", "sweep=again", cwd=own)
    assert repr(rows(own / "outputs" / "mine")) == repr(rows(own / "outputs" / "again"))

    # In a folder that somebody else has made, reading a sweep runs nothing of theirs.
    for name in ("numexpr", "bottleneck", "umap", "my_data", "own_package_cells"):
        (own / f"{name}.py").write_text("raise SystemExit('sprung')\n")
    out = shell(aelle, "status", "outputs/mine", cwd=own).stdout
    assert "8 complete" in out and out.endswith("next: aelle analyze sweep=outputs/mine\n")
    assert "24 rows of 4 runs" in shell(aelle, "collect", "outputs/mine", cwd=own).stdout
    loss = float(np.median(load_sweep(own / "outputs" / "mine").final_loss))
    few = ("pictures=[]", f"threshold={loss}")
    out = shell(aelle, "analyze", "sweep=outputs/mine", *few, cwd=own).stdout
    page = (own / report_of(out)).read_text()
    assert "<code>aelle train experiment=mine" in page and "train.py" not in page
    for name in ("numexpr", "bottleneck"):
        (own / f"{name}.py").unlink()

    wrong = shell(aelle, "train", "task=sings", cwd=own, ok=False)
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1 and ", signs, " in wrong.stderr
    as_module = shell(python, "-m", "aelle", "status", "outputs/mine", cwd=own).stdout
    assert as_module.endswith("next: python -m aelle analyze sweep=outputs/mine\n")

    # The same sweep by the clone's script.
    elsewhere = tmp_path_factory.mktemp("clone")
    line = ["-m", "experiment=recall", "size=4", "pack_size=2", "hidden_size=4", "epochs=1", "task.data.train=40"]
    shell(python, ROOT / "train.py", *line, cwd=elsewhere)
    shell(aelle, "train", *line, cwd=own)
    assert repr(rows(elsewhere / "outputs" / "recall")) == repr(rows(own / "outputs" / "recall"))


@needs_hatchling
@pytest.mark.long
def test_an_editable_installation_reads_the_clones_configurations(fresh, tmp_path):
    install(fresh, "-e", ROOT)
    code = "import aelle.installation as here; print(here.CONF, here.IN_CLONE)"
    assert shell(fresh / "python", "-c", code, cwd=tmp_path).stdout == f"{ROOT / 'conf'} True\n"
    assert "  aelle train -m experiment=digits\n" in shell(fresh / "aelle", "train", "--help", cwd=tmp_path).stdout
