"""Does what is learned on one task rank the networks of another?

    python bench/transfer.py outputs/recall outputs/adding outputs/copy outputs/flipflop outputs/lorenz

For every ordered pair of sweeps: ROC AUC × 100 on the second of AeLLE's plane fitted to the first (as `analyze.py
elsewhere=…` has it), after 0, 5, 20 and 50 % of the training; beside it that of a ridge regression on the
hyperparameters which both sweeps vary. Behind each the half width of its 95 % interval over resampled networks of the
second sweep.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from aelle.analysis.early import INTERVAL
from aelle.analysis.generalisation import RESAMPLES, transfers
from aelle.analysis.scores import roc_auc
from aelle.model.chances import fit_to_all
from aelle.model.estimator import AeLLE
from aelle.predictor.early_predictor import EarlyPredictor
from aelle.predictor.members import HYPERPARAMETERS_ONLY
from aelle.predictor.observed import observed
from aelle.seeds import generator
from aelle.sweep.table import SweepTable, load_sweep


def by_hyperparameters(learned: SweepTable, scored: SweepTable) -> Float[np.ndarray, "V"]:
    """The log odds of low error of the second sweep's networks, by a regression fitted to the first's."""
    common = [name for name in learned.varied if name in scored.varied]
    learned, scored = (replace(sweep, hyperparameters=common) for sweep in (learned, scored))
    predictor = EarlyPredictor(learned.threshold).fit_to(learned, None, [0], [("hyperparameters",)])
    member = [member.name for member in predictor.members_].index(HYPERPARAMETERS_ONLY)
    return predictor.said(predictor.readable(observed(scored, 0)))[:, member]


def auc(low: np.ndarray, given: np.ndarray) -> tuple[float, float, float]:
    """With its 95 % interval over resampled networks."""
    random = generator(0, "resamples")
    rows = [random.integers(len(low), size=len(low)) for _ in range(RESAMPLES)]
    low_end, high_end = np.nanquantile([roc_auc(low[r], given[r]) for r in rows], INTERVAL)
    return roc_auc(low, given), float(low_end), float(high_end)


def cell(mean: float, low: float, high: float) -> str:
    return f"{100 * mean:.0f} ±{50 * (high - low):.0f}"


def main(folders: list[Path]) -> None:
    sweeps = {folder.name: load_sweep(folder).complete() for folder in folders}
    models = {name: fit_to_all(sweep, AeLLE(threshold=sweep.threshold)) for name, sweep in sweeps.items()}
    print("| learned on | scored on | hyperparameters | spectra, 0 % | 5 % | 20 % | 50 % |\n|" + "---|" * 7)
    for name, learned in sweeps.items():
        for other, scored in sweeps.items():
            if other != name:
                found = transfers(models[name], name, other, scored)
                spectra = [cell(one.auc, one.auc_low, one.auc_high) for one in found if one.progress < 1]
                known = cell(*auc(scored.low_error, by_hyperparameters(learned, scored)))
                print(f"| {name} | {other} | {known} | " + " | ".join(spectra) + " |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", type=Path, nargs="+")
    main(parser.parse_args().sweeps)
