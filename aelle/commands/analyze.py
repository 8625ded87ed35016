"""From a sweep's folder to its report."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from omegaconf import DictConfig, OmegaConf

from aelle.analysis.early import Study, study
from aelle.analysis.embeddings import check_pictures, compare
from aelle.analysis.examples import load_examples
from aelle.analysis.features import correlations
from aelle.analysis.findings import Findings
from aelle.analysis.generalisation import Transfer, across_hyperparameters, to_test_inputs, transfers
from aelle.analysis.plane import trained_plane
from aelle.analysis.shares import shares
from aelle.analysis.weights import load_weights
from aelle.commands.command_line import count_cores_quietly
from aelle.commands.score import score_sweep
from aelle.errors import TooFewError, UserError
from aelle.model.chances import fit_to_all
from aelle.model.estimator import AeLLE
from aelle.model.parameters import is_number
from aelle.report.figures import figures
from aelle.report.printed import print_elsewhere, print_shares, print_table
from aelle.report.write import write_report
from aelle.sweep.arrays import load_arrays
from aelle.sweep.table import SweepTable, load_sweep
from aelle.terminal import count, duration
from aelle.tracking import Analysis, analysis_tracker_of, show_analysis

Made = TypeVar("Made")


def analyze(config: DictConfig) -> None:
    """Read the sweep, fit the predictors to its spectra, and write the report and tables into its folder."""
    since = time.perf_counter()
    count_cores_quietly()
    if OmegaConf.is_missing(config, "sweep"):
        raise UserError("no sweep given: name its folder, e.g. python analyze.py sweep=outputs/digits")
    if not isinstance(config.splits, int) or config.splits < 1:
        raise UserError(f"splits={config.splits}: give a whole number of at least 1")
    if config.threshold is not None and not (is_number(config.threshold) and 0 < config.threshold < np.inf):
        raise UserError(
            f"threshold={config.threshold}: give a final validation loss above 0, or null for the task's threshold"
        )
    shares_of_parts = [float(share) if is_number(share) else 0.0 for share in config.shares]
    if len(shares_of_parts) != 3 or min(shares_of_parts) <= 0 or abs(sum(shares_of_parts) - 1) > 1e-6:
        raise UserError(
            f"shares={list(config.shares)}: give three numbers above 0 that sum to 1, for training, validation and test"
        )
    parameters: dict[str, Any] = OmegaConf.to_container(config.aelle, resolve=True)  # pyright: ignore[reportAssignmentType]
    AeLLE(1.0, **parameters).check_parameters()
    pictures = check_pictures(list(config.pictures) if OmegaConf.is_list(config.pictures) else config.pictures)
    logger: dict[str, Any] | None = config.logger and OmegaConf.to_container(config.logger, resolve=True)  # pyright: ignore[reportAssignmentType]
    if logger is not None and config.model is not None:
        raise UserError(
            f"model={config.model}: a saved model only predicts chances, and there is no analysis to log; "
            "leave logger out"
        )
    if config.model is not None and config.elsewhere:
        raise UserError(f"model={config.model}: a saved model is applied to one sweep only; leave elsewhere out")
    tracker = analysis_tracker_of(logger)

    source = Path(config.sweep)
    arrays = _is_array_file(source)
    if arrays and config.threshold is None and config.model is None:
        raise UserError(
            f"threshold=null: {source} has no task to take it from; give the final validation loss below which a "
            "variant is low-error"
        )
    sweep = _load(source, config.threshold)
    others = _load_others(config, sweep)
    folder = Path("outputs") / source.stem if arrays else source
    folder.mkdir(parents=True, exist_ok=True)
    ended = sweep.ended()
    print(
        f"{sweep.name}: {count(sweep.size, 'variant')}, {len(ended.losses)} of them ended, "
        f"{int(ended.low_error.sum())} low-error (final validation loss below {sweep.threshold})"
    )
    if sweep.pruned:
        print(f"{count(sweep.pruned, 'variant')} pruned: only the others are used for fitting and scoring")
    if config.model is not None:
        try:
            model = AeLLE.load(config.model)
        except UserError as error:
            raise UserError(f"model: {error}; give the folder of a model saved by analyze.py") from error
        path = score_sweep(folder, sweep, model)
        print(f"chances of all variants and epochs: {path}")
        return
    model = AeLLE(sweep.threshold, **parameters)
    unscored = [reason for reason in map(_why_not_scored, others) if reason]
    examples, problems = ([], []) if arrays else load_examples(folder, sweep)
    sweep = replace(sweep, problems=[*sweep.problems, *problems, *unscored])
    for problem in sweep.problems:
        print(f"warning: {problem}")
    plane, no_plane = _or_reason(lambda: trained_plane(ended, model))
    comparison = None
    if plane is not None:
        weights, unread = (None, [f"{source} has none"]) if arrays else load_weights(folder, plane.sweep)
        if unread and not arrays:
            print(f"warning: weights: {_in_one_line(unread)}")
        comparison = compare(plane, weights, _in_one_line(unread), pictures, model.seed)
    early, reason = _or_reason(lambda: study(ended, model, config.splits, shares_of_parts))
    fitted = fit_to_all(ended, model) if early is not None else None
    if fitted is not None and sweep.pruned:
        fitted.learned_from_["pruned"] = sweep.pruned
    elsewhere = [] if early is None or fitted is None else _elsewhere(ended, early, fitted, others)
    found = Findings(
        sweep=sweep,
        ended=ended,
        shares=shares(ended),
        correlations=correlations(ended),
        examples=examples,
        plane=plane,
        comparison=comparison,
        no_plane=no_plane,
        early=early,
        reason=reason,
        elsewhere=elsewhere,
        parts=shares_of_parts,
        settings=", ".join(f"{name} {value}" for name, value in parameters.items()),
    )
    if early is None or fitted is None:
        print(f"no classification: {reason}")
        if (folder / "model").exists():
            print(f"{folder / 'model'} was saved by an earlier analysis and is unchanged")
        finite = ended.final_loss[np.isfinite(ended.final_loss)]
        if len(finite):
            low, middle, high = np.quantile(finite, [0, 0.5, 1])
            print(
                f"final losses range from {low:.3g} to {high:.3g}; to split them at the median, set "
                f"threshold={middle:.3g}"
            )
    else:
        print_table(early, ended.epochs)
        fitted.save(folder / "model")
    print_shares(found)
    print_elsewhere(elsewhere)
    report = write_report(folder, found)
    if early is not None:
        where = folder / "model"
        if sweep.pruned:
            print(
                f"model: {where}; it was fitted to a pruned sweep and knows few poor variants: do not use it to prune"
            )
        else:
            print(f"model: {where}; to apply it to another sweep: python analyze.py model={where} sweep=…")
    print(f"report: {report} (written in {duration(time.perf_counter() - since)})")
    if tracker is not None:
        show_analysis(tracker, _shown(folder, found, report))


def _shown(folder: Path, found: Findings, report: Path) -> Analysis:
    """The findings as a dashboard shows them."""
    ended = found.ended
    summary = {
        "task": found.sweep.task,
        "threshold": found.sweep.threshold,
        "variants": found.sweep.size,
        "ended": len(ended.losses),
        "pruned": found.sweep.pruned,
        "low_error_variants": int(ended.low_error.sum()),
    }
    tables = ["variants"] if found.early is None else ["early_prediction", "savings", "variants"]
    return Analysis(
        found.sweep.name,
        folder,
        summary,
        {name: folder / f"{name}.csv" for name in tables},
        figures(found),
        report,
        folder / "model" if found.early is not None else None,
    )


def _is_array_file(source: Path) -> bool:
    return source.suffix == ".npz" and source.is_file()


def _load(source: Path, threshold: float | None) -> SweepTable:
    sweep = load_arrays(source) if _is_array_file(source) else load_sweep(source)
    return sweep if threshold is None else replace(sweep, threshold=float(threshold))


def _load_others(config: DictConfig, sweep: SweepTable) -> list[SweepTable]:
    """Sweeps of another task keep that task's threshold; the others are given that of `sweep`."""
    if not OmegaConf.is_list(config.elsewhere) or not all(isinstance(one, str) for one in config.elsewhere):
        raise UserError(f"elsewhere={config.elsewhere}: give a list of sweeps, e.g. elsewhere=[outputs/charrnn]")
    others = []
    for source in map(Path, config.elsewhere):
        try:
            other = _load(source, None)
        except UserError as error:
            raise UserError(f"elsewhere: {error}") from error
        alike = _is_array_file(source) or other.task == sweep.task
        others.append(replace(other, threshold=sweep.threshold) if alike else other)
    return others


def _elsewhere(ended: SweepTable, early: Study, fitted: AeLLE, others: list[SweepTable]) -> list[Transfer]:
    """Transfers to other inputs, to other networks of the sweep, and to other sweeps."""
    found = to_test_inputs(ended, early) + across_hyperparameters(ended, fitted)
    for other in others:
        pruned = f", without {count(other.pruned, 'variant')} pruned" if other.pruned else ""
        scored = f"{other.name} (task {other.task}, low-error below {other.threshold:.4g}{pruned})"
        found += transfers(fitted, ended.name, scored, other.ended())
    return found


def _why_not_scored(other: SweepTable) -> str:
    low = other.ended().low_error
    if low.any() and not low.all():
        return ""
    return (
        f"elsewhere: {other.name} is left out: {int(low.sum())} of its {count(len(low), 'variant')} that ended are "
        f"low-error (final validation loss below {other.threshold:.4g}), and a score needs both classes"
    )


def _or_reason(make: Callable[[], Made]) -> tuple[Made | None, str]:
    """What `make` returns, or the reason why there are too few variants for it."""
    try:
        return make(), ""
    except TooFewError as error:
        return None, str(error)


def _in_one_line(problems: list[str]) -> str:
    return problems[0] + (f"; and {len(problems) - 1} more like it" if len(problems) > 1 else "") if problems else ""
