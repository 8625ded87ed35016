"""From a sweep's folder to its report: check the options, read the sweep, learn from it, tell the findings."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from aelle.analysis.architectures import architecture_accuracies
from aelle.analysis.early import study
from aelle.analysis.embeddings import check_pictures, compare
from aelle.analysis.examples import Example, load_examples
from aelle.analysis.features import correlations
from aelle.analysis.findings import Findings
from aelle.analysis.generalisation import across_hyperparameters, to_test_inputs, transfers
from aelle.analysis.importance import importance
from aelle.analysis.left_out import check_generalise, left_out
from aelle.analysis.plane import trained_plane
from aelle.analysis.shares import shares
from aelle.analysis.verdict import verdict
from aelle.analysis.weights import load_weights
from aelle.commands.analysis_name import analysis_name, in_words
from aelle.commands.array_source import check_source, record_source
from aelle.commands.command_line import count_cores_quietly
from aelle.commands.score import score_sweep
from aelle.errors import TooFewError, UserError
from aelle.model.estimator import AeLLE
from aelle.model.parameters import is_number
from aelle.predictor.early_predictor import EarlyPredictor
from aelle.predictor.files import remove_predictor
from aelle.report.figures import figures
from aelle.report.printed import print_findings, print_sweep, print_warnings
from aelle.report.write import refuse_links, results_folder, write_report
from aelle.runs.reader import run_folders
from aelle.sweep.arrays import load_arrays
from aelle.sweep.retraining import retraining
from aelle.sweep.table import SweepTable, load_sweep
from aelle.terminal import announced, command, count, duration, option, say
from aelle.tracking import Analysis, analysis_tracker_of, show_analysis
from aelle.tracking.tracker import AnalysisTracker

Made = TypeVar("Made")


@dataclass(frozen=True)
class Request:
    """What an analysis is asked for. `source`: a sweep's folder or an array file; `threshold`: None for the task's;
    `split_shares`: of training, validation and test; `parameters`: AeLLE's; `elsewhere`: other sweeps to score;
    `generalise`: the hyperparameter whose values are left out; `model`: a saved one, by which the sweep is only scored;
    `details`: print every row; `settings`: the options of AeLLE as they stand on the command line."""

    source: Path
    threshold: float | None
    splits: int
    split_shares: list[float]
    parameters: dict[str, Any]
    pictures: list[str]
    elsewhere: list[Path]
    generalise: str | None
    model: str | None
    details: bool
    settings: list[str]
    tracker: AnalysisTracker | None

    @property
    def of_arrays(self) -> bool:
        return _is_array_file(self.source)

    @property
    def folder(self) -> Path:
        """Where results are written."""
        return Path("outputs") / self.source.stem if self.of_arrays else self.source


def analyze(config: DictConfig) -> None:
    """Read the sweep, fit the predictors to its spectra, and write the report and tables into its folder."""
    since = time.perf_counter()
    count_cores_quietly()
    request = checked(config)
    sweep, others, name = load(request)
    if request.model is not None:
        _begin(request)
        print_sweep(sweep)
        print_warnings(sweep)
        score(request, sweep)
        return
    request = replace(request, generalise=check_generalise(request.generalise, sweep.complete()))
    _begin(request)
    refuse_links(request.folder, name)
    examples, problems = ([], []) if request.of_arrays else load_examples(request.folder, sweep)
    for other in others:
        problems += [f"elsewhere: {other.name}: {warning}" for warning in other.warnings]
        problems += filter(None, [_why_not_scored(other)])
    sweep = replace(sweep, problems=[*sweep.problems, *problems])
    with announced(f"{sweep.name}: analysing {count(len(sweep.losses), 'variant')}"):
        found, fitted = learn(request, sweep, examples, others, name)
    report = tell(request, found, fitted)
    say(f"report: {report} (written in {duration(time.perf_counter() - since)})")
    if request.tracker is not None:
        show_analysis(request.tracker, _shown(request.folder, found, report))


def _begin(request: Request) -> None:
    request.folder.mkdir(parents=True, exist_ok=True)
    if request.of_arrays:
        record_source(request.folder, request.source)


def checked(config: DictConfig) -> Request:
    """The options of `conf/analyze.yaml`. Raises UserError for one that no analysis could use."""
    if OmegaConf.is_missing(config, "sweep"):
        raise UserError(f"no sweep given: name its folder, e.g. {command('analyze', 'sweep=outputs/digits')}")
    if not isinstance(config.sweep, str):
        raise UserError(f"sweep={config.sweep}: give the path of a sweep's folder, or of an array file")
    if config.model is not None and not isinstance(config.model, str):
        raise UserError(f"model={config.model}: give the folder of a model that an analysis saved")
    if not isinstance(config.splits, int) or config.splits < 1:
        raise UserError(f"splits={config.splits}: give a whole number of at least 1")
    if config.threshold is not None and not (is_number(config.threshold) and 0 < config.threshold < np.inf):
        raise UserError(
            f"threshold={config.threshold}: give a final validation loss above 0, or null for the task's threshold"
        )
    shares = list(config.shares) if OmegaConf.is_list(config.shares) else config.shares
    split_shares = [float(one) if is_number(one) else 0.0 for one in (shares if isinstance(shares, list) else ())]
    if len(split_shares) != 3 or min(split_shares) <= 0 or abs(sum(split_shares) - 1) > 1e-6:
        raise UserError(f"shares={shares}: give three numbers above 0 that sum to 1, for training, validation and test")
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
    if config.model is not None and config.generalise not in ("auto", None):
        raise UserError(f"model={config.model}: a saved model is not fitted again; leave generalise out")
    tracker = analysis_tracker_of(logger)
    if not OmegaConf.is_list(config.elsewhere) or not all(isinstance(one, str) for one in config.elsewhere):
        raise UserError(f"elsewhere={config.elsewhere}: give a list of sweeps, e.g. elsewhere=[outputs/charrnn]")
    if not isinstance(config.details, bool):
        raise UserError(f"details={config.details}: give true for every row of the table, or false for five")
    source = Path(config.sweep)
    if _is_array_file(source) and config.threshold is None and config.model is None:
        raise UserError(
            f"threshold=null: {source} has no task to take it from; give the final validation loss below which a "
            "variant is low-error"
        )
    if _is_array_file(source):
        folder = Path("outputs") / source.stem
        if run_folders(folder):
            raise UserError(
                f"sweep={source}: its report would be written to {folder}, which is the folder of a sweep; rename the "
                "file"
            )
        check_source(folder, source)
    return Request(
        source=source,
        threshold=None if config.threshold is None else float(config.threshold),
        splits=config.splits,
        split_shares=split_shares,
        parameters=parameters,
        pictures=pictures,
        elsewhere=[Path(one) for one in config.elsewhere],
        generalise=config.generalise,
        model=config.model,
        details=config.details,
        settings=[option for option in HydraConfig.get().overrides.task if re.match(r"[+~]*aelle\b", option)],
        tracker=tracker,
    )


def load(request: Request) -> tuple[SweepTable, list[SweepTable], str]:
    """The sweep, the others to score, and the name of the analysis. Others are judged by their own threshold, which may
    follow their delay or time step; by the sweep's, if they are array files, or of its task and one is asked for."""
    sweep = _load(request.source)
    name = analysis_name(request.settings, request.threshold, sweep.threshold)
    if request.threshold is not None:
        sweep = replace(sweep, threshold=request.threshold)
    others = []
    for source in request.elsewhere:
        try:
            other = _load(source)
        except UserError as error:
            raise UserError(f"elsewhere: {error}") from error
        asked_for = request.threshold is not None and other.task == sweep.task
        as_the_sweep = _is_array_file(source) or asked_for
        others.append(replace(other, threshold=sweep.threshold) if as_the_sweep else other)
    return sweep, others, name


def score(request: Request, sweep: SweepTable) -> None:
    """What a saved model says of the sweep."""
    try:
        model = EarlyPredictor.load(request.model or "")
    except UserError as error:
        raise UserError(f"model: {error}; give the folder of a model that an analysis saved") from error
    path = score_sweep(request.folder, sweep, model)
    say(f"chances of all variants and epochs: {path}")


def learn(
    request: Request, sweep: SweepTable, examples: list[Example], others: list[SweepTable], name: str
) -> tuple[Findings, EarlyPredictor | None]:
    """All that an analysis finds, and the predictor fitted to every variant, None where nothing can be classified."""
    complete = sweep.complete()
    model = AeLLE(sweep.threshold, **request.parameters)
    plane, no_plane = _or_reason(lambda: trained_plane(complete, model))
    comparison = None
    if plane is not None:
        weights, unread = (None, [f"{request.source} has none"])
        if not request.of_arrays:
            weights, unread = load_weights(request.folder, plane.sweep)
            if unread:
                sweep = replace(sweep, problems=[*sweep.problems, f"weights: {_in_one_line(unread)}"])
        comparison = compare(plane, weights, _in_one_line(unread), request.pictures, model.seed)
    early, reason = _or_reason(lambda: study(complete, model, request.splits, request.split_shares))
    fitted, elsewhere, unseen = None, [], None
    if early is not None:
        recommended = EarlyPredictor(sweep.threshold, aelle=request.parameters, seed=model.seed)
        fitted, unfit = _or_reason(lambda: recommended.fit(sweep))
        if fitted is None:
            sweep = replace(sweep, problems=[*sweep.problems, f"no model is saved: {unfit}"])
        elif (of_spectra := fitted.model_) is not None:
            elsewhere = to_test_inputs(complete, early) + across_hyperparameters(complete, of_spectra)
            for other in others:
                elsewhere += transfers(of_spectra, complete.name, _title(other), other.complete())
        else:
            why = "AeLLE is left out, and all that follows from it: all spectra are equal, and teach nothing"
            sweep = replace(sweep, problems=[*sweep.problems, why])
        if request.generalise is not None:
            hidden = request.generalise
            unseen, why = _or_reason(lambda: left_out(complete, model, hidden, request.splits))
            sweep = replace(sweep, problems=[*sweep.problems, *filter(None, [why])])
    found = Findings(
        sweep=sweep,
        complete=complete,
        shares=shares(complete),
        correlations=correlations(complete),
        examples=examples,
        plane=plane,
        comparison=comparison,
        no_plane=no_plane,
        early=early,
        verdict=verdict(early, len(complete.losses), sweep.size, reason),
        reason=reason,
        elsewhere=elsewhere,
        split_shares=request.split_shares,
        settings=in_words(request.parameters),
        outside={} if fitted is None else fitted.outside(sweep),
        name=name,
        importance=importance(complete),
        architectures=architecture_accuracies(complete, model.seed),
        left_out=unseen,
        retraining=None if request.of_arrays else retraining(request.folder, sweep),
    )
    return found, fitted


def tell(request: Request, found: Findings, fitted: EarlyPredictor | None) -> Path:
    """Print the findings; write the model, the tables, the figures and the report, whose path it returns."""
    where = results_folder(request.folder, found.name) / "model"
    print_findings(found, request.details)
    if fitted is not None:
        fitted.save(where)
    elif where.exists():
        remove_predictor(where)
        say(f"{where} of an earlier analysis is removed: this one has no model")
    report = write_report(request.folder, found)
    if fitted is not None and found.sweep.pruned:
        say(f"model: {where}; it was fitted to a pruned sweep and knows few poor variants: do not use it to prune")
    elif fitted is not None:
        say(f"model: {where}; to apply it to another sweep: {command('analyze', option('model', where))} sweep=…")
    return report


def _shown(folder: Path, found: Findings, report: Path) -> Analysis:
    """The findings as a dashboard has them."""
    complete, results = found.complete, results_folder(folder, found.name)
    model = results / "model"
    summary = {
        "task": found.sweep.task,
        "threshold": found.sweep.threshold,
        "variants": found.sweep.size,
        "complete": len(complete.losses),
        "pruned": found.sweep.pruned,
        "low_error_variants": int(complete.low_error.sum()),
    }
    tables = ["variants"] if found.early is None else ["early_prediction", "savings", "variants"]
    return Analysis(
        found.sweep.name,
        folder,
        summary,
        {name: results / f"{name}.csv" for name in tables},
        figures(found),
        report,
        model if found.early is not None and model.exists() else None,
    )


def _is_array_file(source: Path) -> bool:
    return source.suffix == ".npz" and source.is_file()


def _load(source: Path) -> SweepTable:
    return load_arrays(source) if _is_array_file(source) else load_sweep(source)


def _title(other: SweepTable) -> str:
    pruned = f", without {count(other.pruned, 'variant')} pruned" if other.pruned else ""
    return f"{other.name} (task {other.task}, low-error below {other.threshold:.4g}{pruned})"


def _why_not_scored(other: SweepTable) -> str:
    complete = other.complete()
    low = complete.low_error
    if low.any() and not low.all():
        unmeasured = f"elsewhere: {other.name} is left out: none of its complete variants has a measured spectrum"
        return "" if complete.measured_epochs else unmeasured
    return (
        f"elsewhere: {other.name} is left out: {int(low.sum())} of its {count(len(low), 'complete variant')} are "
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
