import os
import runpy
import shutil
import sys
from contextlib import suppress
from pathlib import Path

# As train.py has it: threads that spin while they wait slow each other down. Read when PyTorch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch
from jaxtyping import install_import_hook

PACKAGE = Path(__file__).parents[1] / "aelle"

# Arguments are checked in the modules that state shapes, from before the first of them is imported. In the others
# pyright says as much, and the hook wraps a function inside a function anew at every call: there, drawing a variant
# takes 30 times as long.
WITH_SHAPES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if "from jaxtyping import" in path.read_text()
]
install_import_hook(WITH_SHAPES, "beartype.beartype")

from aelle import __main__
from aelle.report.stills import still, write_stills
from sweeps import ROOT, SMALL, command


@pytest.fixture(autouse=True)
def _threads():
    """Of PyTorch's: one where two processes run tests side by side, as in make test."""
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, os.cpu_count() or 1))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real MNIST and real spectra, where they are at hand."""
    folder = Path(os.environ.get("AELLE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real data: name their folder in AELLE_DATA")
    return folder


@pytest.fixture
def main(monkeypatch, capsys, tmp_path):
    """Call train.py or analyze.py in this process, below a folder of its own: (exit code, stdout, stderr).

    Without `stills`, the report's figures are made for PNG and SVG and not written: that takes most of their time.
    """
    monkeypatch.chdir(tmp_path)
    # train.py adds the working directory.
    monkeypatch.setattr(sys, "path", [*sys.path])

    def call(script: str, *overrides: str, stills: bool = False) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [script, *overrides])
        if script == "analyze.py":
            write = write_stills if stills else lambda _, figures: [still(one) for one in figures.values() if one]
            monkeypatch.setattr("aelle.report.write.write_stills", write)
        code = 0
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as exit_:
            code = exit_.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture(scope="session")
def small_sweep(tmp_path_factory) -> Path:
    """The folder of a small digits sweep, trained to its end by the command line."""
    cwd = tmp_path_factory.mktemp("sweep")
    done = command("train.py", "-m", "experiment=digits", *SMALL, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return cwd / "outputs" / "digits"


@pytest.fixture
def aelle(monkeypatch, capsys):
    """Call `python -m aelle` in this process: (exit code, stdout, stderr)."""

    def call(*words) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["__main__.py", *map(str, words)])
        code = 0
        try:
            __main__.main()
        except SystemExit as exit_:
            code = exit_.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def wandb_at_home(tmp_path, monkeypatch):
    """Weights & Biases without this machine's login and folders, and without what an earlier test has set up."""
    import wandb

    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("CONFIG_DIR", "CACHE_DIR", "DATA_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path / "home"))
    monkeypatch.setattr("aelle.tracking.mirror._given_up", set())
    monkeypatch.setattr("aelle.tracking.wandb._with_workspace", set())
    wandb.teardown()
    yield
    with suppress(ConnectionError):
        wandb.teardown()


@pytest.fixture
def server(wandb_at_home, monkeypatch):
    """A stand-in for the server of Weights & Biases, and a login to it."""
    from wandb_server import Server

    server = Server()
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    yield server
    server.stop()


@pytest.fixture
def sweep(small_sweep, tmp_path) -> Path:
    """A copy of the small sweep, for a test to change."""
    shutil.copytree(small_sweep, tmp_path / "digits")
    return tmp_path / "digits"
