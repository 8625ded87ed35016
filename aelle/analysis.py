"""From a sweep's folder to its report."""

import time
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf

from aelle.command_line import count, duration
from aelle.early import Study, study
from aelle.errors import UserError
from aelle.model import AeLLE
from aelle.plane import Plane, trained_plane
from aelle.report import write_report
from aelle.table import SweepTable, load_sweep
from aelle.training import quiet


def analyze(config: DictConfig) -> None:
    """Read the sweep, learn from its spectra, and write its report and tables into its folder."""
    since = time.perf_counter()
    if OmegaConf.is_missing(config, "sweep"):
        raise UserError("no sweep is named: give its folder, e.g. python analyze.py sweep=outputs/digits")
    if not isinstance(config.splits, int) or config.splits < 1:
        raise UserError(f"splits={config.splits}: give a whole number of at least 1")
    quiet()
    folder = Path(config.sweep)
    sweep = load_sweep(folder)
    for problem in sweep.problems:
        print(f"warning: {problem}")
    ended = sweep.ended()
    print(
        f"{sweep.name}: {count(sweep.size, 'variant')}, {len(ended.losses)} of them trained to the end, "
        f"{int(ended.low_error.sum())} low-error (final validation loss below {sweep.threshold})"
    )
    plane, early, reason = _learn(ended, config)
    if early is None:
        print(f"no classification: {reason}")
    else:
        _print_table(early, ended.epochs)
    report = write_report(folder, sweep, ended, plane, early, reason)
    print(f"report: {report} (written in {duration(time.perf_counter() - since)})")


def _learn(ended: SweepTable, config: DictConfig) -> tuple[Plane | None, Study | None, str]:
    """The trained networks' plane and the early prediction, or the reason why there is none."""
    parameters = OmegaConf.to_container(config.aelle, resolve=True)
    model = AeLLE(ended.threshold, **parameters)  # pyright: ignore[reportCallIssue]
    try:
        return trained_plane(ended, model), study(ended, model, config.splits), ""
    except UserError as error:
        return None, None, str(error)


def _print_table(early: Study, epochs: int) -> None:
    """Recall and precision of each predictor at the report's stages of training."""
    summary = early.summary()
    names = list(summary["predictor"].unique())
    width = max(map(len, names))
    stages = early.stages(epochs)
    print(f"\nrecall % / precision %, mean of {early.scores['split'].nunique()} splits, test variants only")
    print(f"{'of training':{width}}" + "".join(f"{100 * k / epochs:>10.0f} %" for k in stages))
    for name in names:
        rows = summary[summary["predictor"] == name].set_index("epoch")
        cells = [f"{_percent(rows.recall[k])} /{_percent(rows.precision[k])}" for k in stages]
        print(f"{name:{width}}" + "".join(f"{cell:>12}" for cell in cells))
    print()


def _percent(share: float) -> str:
    return "   –" if np.isnan(share) else f"{100 * share:4.0f}"
