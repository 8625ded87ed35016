"""What pruning saves and loses, next to Optuna's pruners: `python bench/pruning.py SWEEP=THRESHOLD …`, each an .npz
file or a sweep's folder.

Nothing is trained: complete learning curves are replayed. In each round, an EarlyPredictor is fitted to a random 40 %
of the variants, and every pruner sees the others, in a random order; the epochs of those 40 % are not counted. The
predictor stops variants by its own cut (`prediction.prune=auto`, `may_lose=0.05`; where the known low-error variants
are too few for that, the smallest share that they allow), also without spectra. Optuna's pruners have their default
settings, see one trial after the other, and are told the validation loss after each epoch. The table is in Markdown and
has means over the rounds: "trained" is the share of all epochs, "low-error kept" the share of the low-error variants
that were trained to the end; and the median of "best loss", the lowest final validation loss of those that were.

Needs Optuna: `pip install -e .[bench]`.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import optuna
from reading import read

from aelle.errors import TooFewError
from aelle.predictor.early_predictor import EarlyPredictor
from aelle.predictor.observed import observed
from aelle.sweep.table import SweepTable

KNOWN = 0.4
MAY_LOSE = 0.05

PRUNERS: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
    "Optuna's MedianPruner": optuna.pruners.MedianPruner,
    "Optuna's SuccessiveHalvingPruner": optuna.pruners.SuccessiveHalvingPruner,
    "Optuna's HyperbandPruner": optuna.pruners.HyperbandPruner,
}


class Outcome(NamedTuple):
    trained: float
    kept: float
    best: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", nargs="+", metavar="SWEEP=THRESHOLD")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for one in options.sweeps:
        sweep = read(one)
        print(f"\n{sweep.name}: {len(sweep.losses)} variants, {100 * sweep.low_error.mean():.0f} % low-error")
        print("\n| | trained | low-error kept | best loss |\n|---|---|---|---|", flush=True)
        rounds = [replayed(sweep, seed) for seed in range(options.rounds)]
        for way in rounds[0]:
            trained, kept, best = np.transpose([found[way] for found in rounds])
            print(
                f"| {way} | {100 * trained.mean():.0f} % | {100 * kept.mean():.0f} % | {np.median(best):.4g} |",
                flush=True,
            )


def replayed(sweep: SweepTable, seed: int) -> dict[str, Outcome]:
    """What each way of pruning does to the same variants."""
    order = np.random.default_rng(seed).permutation(len(sweep.losses))
    known, others = np.split(order, [round(KNOWN * len(order))])
    known, others = sweep.take(known), sweep.take(others)
    found = {"no pruning": outcome(others, np.full(len(others.losses), others.epochs))}
    found["EarlyPredictor"] = outcome(others, stopped_by_predictor(known, others, seed))
    found["EarlyPredictor, without spectra"] = outcome(
        others, stopped_by_predictor(without_spectra(known), without_spectra(others), seed)
    )
    for name, pruner in PRUNERS.items():
        found[name] = outcome(others, stopped_by_optuna(others, pruner(), seed))
    return found


def without_spectra(sweep: SweepTable) -> SweepTable:
    return replace(sweep, spectra=np.full_like(sweep.spectra, np.nan))


def outcome(sweep: SweepTable, epochs: np.ndarray) -> Outcome:
    """`epochs` [V]: how many each variant was trained."""
    whole = epochs == sweep.epochs
    best = np.nanmin(np.append(sweep.final_loss[whole], np.inf))
    return Outcome(epochs.mean() / sweep.epochs, whole[sweep.low_error].mean(), float(best))


def stopped_by_predictor(known: SweepTable, others: SweepTable, seed: int) -> np.ndarray:
    predictor = EarlyPredictor(known.threshold, seed=seed).fit(known)
    try:
        cut = predictor.cut(MAY_LOSE, after=1)
    except TooFewError:
        cut = predictor.cut(1 / (int(known.low_error.sum()) + 1), after=1)
    stopped = np.full(len(others.losses), others.epochs)
    for epoch in range(others.epochs - 1, 0, -1):
        prediction = predictor.predict(observed(others, epoch))
        inside = np.array([not reason for reason in prediction.outside])
        stopped[(prediction.chance < cut) & inside] = epoch
    return stopped


def stopped_by_optuna(sweep: SweepTable, pruner: optuna.pruners.BasePruner, seed: int) -> np.ndarray:
    # Hyperband chooses a trial's bracket by the study's name.
    study = optuna.create_study(pruner=pruner, study_name=str(seed))
    return np.array([epochs_of_trial(study, losses) for losses in sweep.losses])


def epochs_of_trial(study: optuna.Study, losses: np.ndarray) -> int:
    trial, last = study.ask(), len(losses) - 1
    for epoch in range(1, last):
        trial.report(float(losses[epoch]), epoch)
        if trial.should_prune():
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return epoch
    trial.report(float(losses[last]), last)
    failed = not np.isfinite(losses[last])
    study.tell(trial, None if failed else float(losses[last]), optuna.trial.TrialState.FAIL if failed else None)
    return last


if __name__ == "__main__":
    main()
