"""What is said of a search before its jobs and after them."""

from typing import Any

from optuna.trial import FrozenTrial, TrialState

from aelle.commands.unfinished import failed_runs, refused_run, say_in_training
from aelle.search.options import check_search
from aelle.search.space import check_searched
from aelle.search.study import Study, location, try_out
from aelle.sweep.plan import Plan
from aelle.terminal import complain, count, pasted, say


def check(plan: Plan, config: dict[str, Any]) -> None:
    """Raises UserError for a search that could not start."""
    check_search(config)
    check_searched(plan.space)
    try_out(plan, config["search"])


def announce(plan: Plan, search: dict[str, Any]) -> None:
    how = "without pruning" if search["prune"] is None else f"pruned by {_named(search['prune'])}"
    size, epochs = count(plan.config["size"], "variant"), count(plan.config["epochs"], "epoch")
    say(f"{plan.config['sweep']}: {size} proposed by {_named(search['sampler'])}, {epochs} each, {how}")
    trials = Study(plan, search).trials
    if trials:
        ended = sum(trial.state.is_finished() for trial in trials)
        say(f"{plan.folder}: the study has {count(len(trials), 'trial')}, {ended} of them ended")


def _named(choice: str | dict[str, Any]) -> str:
    return choice if isinstance(choice, str) else choice["_target_"].rpartition(".")[2]


def summarise(plan: Plan, search: dict[str, Any]) -> bool:
    """Returns whether every variant has been proposed and trained."""
    study = Study(plan, search)
    trials, size = study.trials, plan.config["size"]
    best = [trial for trial in study.in_states(TrialState.COMPLETE) if trial.value is not None]
    if best:
        _say_best(min(best, key=lambda trial: trial.value or 0.0))
    if search["storage"] is None:
        say(f"study: {pasted('optuna-dashboard', location(plan, search))}")
    if elsewhere := study.elsewhere():
        say_in_training(plan, len(elsewhere))
    left = size - len(trials) + len(study.in_states(TrialState.RUNNING, TrialState.WAITING)) - len(elsewhere)
    left += len(study.lost())
    if left > 0:
        failing = [folder.name for folder in failed_runs(plan) if refused_run(folder) is None]
        which = f"; failed: {', '.join(failing)} (see status.json there)" if failing else ""
        what = f"{count(left, 'variant')} not complete{which}"
        complain(f"error: {what}; run the same command again to train what is missing")
    if refused := study.in_states(TrialState.FAIL):
        complain(f"error: {count(len(refused), 'variant')} cannot be trained (see status.json of their runs)")
    return left <= 0 and not refused


def _say_best(trial: FrozenTrial) -> None:
    values = ", ".join(f"{name} {_in_short(value)}" for name, value in trial.params.items())
    say(f"best: variant {trial.number}, final validation loss {trial.value:.4g} ({values})")


def _in_short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
