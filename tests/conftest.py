import os
import runpy
import subprocess
import sys
from pathlib import Path

# As train.py has it: threads that spin while they wait slow each other down. Read when PyTorch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import pytorch_lightning as pl
import torch

from aelle.report.stills import still, write_stills

ROOT = Path(__file__).parent.parent
SMALL = ["hidden_size=8", "size=12", "pack_size=5", "epochs=3", "lyapunov.sequences=4"]
"""A sweep of seconds: three packs of five, five and two variants."""


@pytest.fixture(autouse=True)
def _two_threads():
    torch.set_num_threads(min(2, os.cpu_count() or 1))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real MNIST and real spectra, where they are at hand."""
    folder = Path(os.environ.get("AELLE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real data: name their folder in AELLE_DATA")
    return folder


def command(script: str, *overrides: str, cwd: Path, **options) -> subprocess.CompletedProcess:
    """Run train.py or analyze.py as a user does, writing below `cwd`."""
    line = [sys.executable, str(ROOT / script), *overrides]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, timeout=300, **options)


def trainer(callbacks=(), **options) -> pl.Trainer:
    """Lightning's without its files and its talk."""
    return pl.Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )


@pytest.fixture
def main(monkeypatch, capsys, tmp_path):
    """Call train.py or analyze.py in this process, below a folder of its own: (exit code, stdout, stderr).

    Without `stills`, the report's figures are made for PNG and SVG and not written: that takes most of their time.
    """
    monkeypatch.chdir(tmp_path)

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
