"""How long train.py and analyze.py take to start, as a person waits for them."""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Start(NamedTuple):
    """Seconds on the wall, and of CPU time."""

    wall: float
    cpu: float


def first_step() -> Start:
    """One variant of `digits`, up to where the rows of epoch 0 are written, which is when training begins."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "outputs" / "digits" / "variants-0" / "epochs.parquet"
        return _started(["train.py", "experiment=digits", "variants=0"], Path(folder), rows)


def first_help(script: str) -> Start:
    with tempfile.TemporaryDirectory() as folder:
        return _started([script, "--help"], Path(folder), None)


def _started(command: list[str], cwd: Path, until: Path | None) -> Start:
    """Until that file is there, when the process is killed; else until it ends."""
    before, since = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / command[0]), *command[1:]], cwd=cwd, stdout=subprocess.DEVNULL
    )
    while process.poll() is None:
        if until is not None and until.exists():
            process.kill()
            break
        time.sleep(0.002)
    wall = time.perf_counter() - since
    if process.wait() > 0 or (until is not None and not until.exists()):
        raise SystemExit(f"error: {' '.join(command)} did not start")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Start(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
