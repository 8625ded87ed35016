"""Does what is learned on one task rank the networks of another?

    python bench/transfer.py outputs/recall=0.2 outputs/adding=0.05 outputs/copy=0.069 …

For every ordered pair of sweeps: ROC AUC × 100 on the second of AeLLE's plane fitted to the first (as `analyze.py
elsewhere=…` has it), after 0, 5, 20 and 50 % of the training; beside it that of a ridge regression on the
hyperparameters which both sweeps vary. Behind each the half width of its 95 % interval over resampled networks of the
second sweep.
"""

import argparse
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from reading import read

from aelle.analysis.generalisation import resampled_auc, transfers
from aelle.model.chances import fit_to_all
from aelle.model.estimator import AeLLE
from aelle.predictor.early_predictor import EarlyPredictor
from aelle.predictor.members import HYPERPARAMETERS_ONLY
from aelle.predictor.observed import observed
from aelle.sweep.table import SweepTable


def by_hyperparameters(learned: SweepTable, scored: SweepTable) -> Float[np.ndarray, "V"]:
    """The log odds of low error of the second sweep's networks, by a regression fitted to the first's."""
    common = [name for name in learned.varied if name in scored.varied]
    learned, scored = (replace(sweep, hyperparameters=common) for sweep in (learned, scored))
    predictor = EarlyPredictor(learned.threshold).fit_to(learned, None, [0], [("hyperparameters",)])
    member = [member.name for member in predictor.members_].index(HYPERPARAMETERS_ONLY)
    return predictor.said(predictor.readable(observed(scored, 0)))[:, member]


def cell(mean: float, low: float, high: float) -> str:
    return f"{100 * mean:.0f} ±{50 * (high - low):.0f}"


def main(given: list[str]) -> None:
    sweeps = {sweep.name: sweep for sweep in map(read, given)}
    models = {name: fit_to_all(sweep, AeLLE(threshold=sweep.threshold)) for name, sweep in sweeps.items()}
    print("| learned on | scored on | hyperparameters | spectra, 0 % | 5 % | 20 % | 50 % |\n|" + "---|" * 7)
    for name, learned in sweeps.items():
        for other, scored in sweeps.items():
            if other != name:
                found = transfers(models[name], name, other, scored)
                spectra = [cell(one.auc, one.auc_low, one.auc_high) for one in found if one.progress < 1]
                known = cell(*resampled_auc(scored.low_error, by_hyperparameters(learned, scored), seed=0))
                print(f"| {name} | {other} | {known} | " + " | ".join(spectra) + " |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", nargs="+", metavar="SWEEP=THRESHOLD")
    main(parser.parse_args().sweeps)
