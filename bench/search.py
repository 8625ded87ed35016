"""Best loss against epochs trained, by search: `python bench/search.py digits adding recall --seeds 5`.

For each experiment, way and seed, trains a sweep by `train.py -m experiment=… search=optuna` in a temporary folder and
reads its study. The ways: random draws without pruning, with Optuna's hyperband, and TPE with hyperband and with our
own pruning (`search.prune=aelle`). Each has as many variants as it takes to use the budget, `--budget` whole trainings.

The table has, after shares of the budget, the mean over the seeds of the best final loss so far: of variants trained to
the end, in the order of their packs; and how many variants were tried and trained to the end. Below it stands in how
many seeds one way has the lower loss than another. With `--keep FOLDER`
sweeps stay there, and those that are complete are not trained again. Needs Optuna: `pip install -e .[optuna]`.
"""

import argparse
import subprocess
import sys
import tempfile
from itertools import combinations
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import TrialState

ROOT = Path(__file__).parent.parent
RANDOM = ["search.sampler=random"]

WAYS: dict[str, tuple[float, list[str]]] = {
    "random": (1, [*RANDOM, "search.prune=null"]),
    "random + hyperband": (4, [*RANDOM, "search.prune=hyperband"]),
    "TPE + hyperband": (4, ["search.prune=hyperband"]),
    "TPE + aelle": (2.5, ["search.prune=aelle"]),
}
"""For each way, how many times as many variants it is given as the budget has whole trainings, and its options."""

SHARES = (0.25, 0.5, 0.75, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="+")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--budget", type=int, default=100, help="whole trainings")
    parser.add_argument("--keep", type=Path, help="folder for the sweeps")
    parser.add_argument("--options", nargs="*", default=[], help="more options of train.py")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.keep or Path(temporary)
        for experiment in chosen.experiments:
            print(f"\n{experiment}, loss × 1000, {chosen.budget} whole trainings, {chosen.seeds} seeds (± deviation)")
            print("\n| | " + " | ".join(f"{share:.0%}" for share in SHARES) + " | tried | to the end |")
            print("|---|" + "---|" * (len(SHARES) + 2), flush=True)
            by_way: dict[str, np.ndarray] = {}
            for way, (times, options) in WAYS.items():
                found = []
                for seed in range(chosen.seeds):
                    name = f"{experiment}-{way.replace(' ', '')}-{seed}"
                    size = f"size={round(times * chosen.budget)}"
                    line = [f"experiment={experiment}", f"sweep={name}", f"seed={seed}", size, *options]
                    found.append(outcome(trained(folder, name, [*line, *chosen.options]), chosen.budget))
                by_way[way], counts = np.array([one[0] for one in found]), np.mean([one[1] for one in found], 0)
                best, spread = by_way[way].mean(0), by_way[way].std(0, ddof=min(1, chosen.seeds - 1))
                cells = [f"{1000 * a:.2f} ± {1000 * b:.2f}" for a, b in zip(best, spread, strict=True)]
                print(f"| {way} | {' | '.join(cells)} | {counts[0]:.0f} | {counts[1]:.0f} |", flush=True)
            print(f"\nof {chosen.seeds} seeds, in how many the first has the lower loss, after the same shares")
            for one, other in combinations(reversed(WAYS), 2):
                lower = (by_way[one] < by_way[other]).sum(0)
                print(f"{one + ', ' + other:40}" + "".join(f"{count:>4}" for count in lower), flush=True)


def trained(folder: Path, name: str, options: list[str]) -> list[optuna.trial.FrozenTrial]:
    """The trials of a sweep."""
    line = [sys.executable, str(ROOT / "train.py"), "-m", "search=optuna", f"outputs={folder}", *options]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(line)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    storage = f"sqlite:///{(folder / name / 'study.db').resolve()}"
    return optuna.load_study(study_name=name, storage=storage).trials


def outcome(trials: list[optuna.trial.FrozenTrial], budget: int) -> tuple[list[float], tuple[int, int]]:
    """The best final loss within each share of the budget, and how many variants the budget was enough for."""
    whole = max(trial.user_attrs.get("epochs trained", 0) for trial in trials)
    # By the time at which they ended: those of a pack are trained side by side.
    ordered = sorted(trials, key=lambda trial: trial.number)
    spent = np.cumsum([trial.user_attrs.get("epochs trained", whole) for trial in ordered]) / (budget * whole)
    losses = np.array([trial.value if trial.state == TrialState.COMPLETE else np.inf for trial in ordered])
    if spent[-1] < 1 - 1e-9:
        print(f"  (only {spent[-1]:.0%} of the budget was used)", file=sys.stderr)
    best = [float(losses[spent <= share + 1e-9].min(initial=np.inf)) for share in SHARES]
    within = spent <= 1 + 1e-9
    return best, (int(within.sum()), int(np.isfinite(losses[within]).sum()))


if __name__ == "__main__":
    main()
