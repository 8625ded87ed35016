"""How the analysis grows with the number of variants: `python bench/analysis.py [V …]`.

`time`: of `analyze.py`, all of it, on made-up sweeps of V variants × 21 epochs × 64 exponents (`synthetic` of
recommendation.py) and 20 splits: seconds, the largest memory of its process and its children together (their
proportional set size, sampled every second), and what it wrote.

`known`: what more known variants bring, on 5,000 of them: ROC AUC and Brier score of the recommended predictor over
the epochs before the last, where each split is fitted to so many.
"""

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from recommendation import synthetic

from aelle.analysis import early
from aelle.analysis.predictors import RECOMMENDED
from aelle.model.estimator import AeLLE

ROOT = Path(__file__).parents[1]
KNOWN = (50, 100, 200, 400, 800, 1600)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", type=int, default=[300, 1200, 5000, 20000])
    parser.add_argument("--parts", nargs="+", choices=("time", "known"), default=["time", "known"])
    parser.add_argument("--splits", type=int, default=20)
    options = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    if "time" in options.parts:
        print("| variants | seconds | memory, GB | written, MB |\n|---|---|---|---|")
        for V in options.variants:
            print(growth(V, options.splits), flush=True)
    if "known" in options.parts:
        print("| known variants | ROC AUC | Brier |\n|---|---|---|")
        for known in KNOWN:
            print(of_known(5000, known, options.splits), flush=True)


def growth(V: int, splits: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        sweep = synthetic(V)
        arrays = {"p": sweep.variants["p"].to_numpy(), "val_loss": sweep.losses, "spectrum": sweep.spectra}
        np.savez(Path(folder) / "made-up.npz", **arrays)
        (Path(folder) / "conf").symlink_to(ROOT / "conf")
        line = [sys.executable, str(ROOT / "analyze.py"), "sweep=made-up.npz", "threshold=0.6", f"splits={splits}"]
        since, memory = time.perf_counter(), 0
        process = subprocess.Popen(line, cwd=folder, stdout=subprocess.DEVNULL, start_new_session=True)
        while process.poll() is None:
            memory = max(memory, memory_of_group(process.pid))
            time.sleep(1)
        seconds = time.perf_counter() - since
        assert process.returncode == 0
        written = sum(path.stat().st_size for path in Path(folder, "outputs").rglob("*") if path.is_file())
        return f"| {V:,} | {seconds:.0f} | {memory / 2**20:.1f} | {written / 1e6:.0f} |"


def memory_of_group(group: int) -> int:
    """KiB; what several processes share is counted once."""
    total = 0
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and os.getpgid(int(folder.name)) == group:
                lines = (folder / "smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except OSError:
            continue  # It has just ended.
    return total


def of_known(V: int, known: int, splits: int) -> str:
    sweep = synthetic(V)
    early.MAX_KNOWN = known
    scores = early.study(sweep, AeLLE(sweep.threshold), splits).scores
    ours = scores[(scores["predictor"] == RECOMMENDED) & (scores["epoch"] < sweep.epochs)]
    return f"| {known} | {ours['auc'].mean():.4f} | {ours['brier'].mean():.4f} |"


if __name__ == "__main__":
    main()
