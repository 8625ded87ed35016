"""The options of a search, checked before anything is trained, and what Optuna makes of them."""

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import optuna
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from aelle.errors import UserError, in_one_line
from aelle.runs.settings import target

OPTIONS = ("sampler", "prune", "storage", "workers", "worker")

AELLE = "aelle"
"""As `search.prune`: by the recommended predictor, fitted to what has ended of this sweep."""

SAMPLERS: Mapping[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    # Variants of a pack are asked for while the others of it are running: as if those ended badly, so that they differ.
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}
"""By `search.sampler`, with a seed."""

PRUNERS: Mapping[str, Callable[[int], optuna.pruners.BasePruner]] = {
    "median": lambda epochs: optuna.pruners.MedianPruner(),
    "hyperband": lambda epochs: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs),
}
"""By `search.prune`, for trainings of this many epochs."""


def check_search(config: dict[str, Any]) -> None:
    """Raises UserError for options that no search could use."""
    search = config["search"]
    if not isinstance(search, dict) or sorted(search) != sorted(OPTIONS):
        # Not its values: the storage may have a password.
        given = ", ".join(search) if isinstance(search, dict) else search
        raise UserError(
            f"search: it has {given}; choose search=optuna, and of it search.{', search.'.join(OPTIONS[:-1])}"
        )
    if config["size"] is None:
        raise UserError("search=optuna needs a number of variants: choose experiment=…, or set size=…")
    for name in ("pack", "variants"):
        if config[name] is not None:
            raise UserError(f"{name}={config[name]} and search=optuna cannot be combined: a search numbers its own")
    if config["repeats"] != 1:
        raise UserError(f"repeats={config['repeats']} and search=optuna cannot be combined: leave repeats out")
    if config["reference"] is not None:
        raise UserError("reference and search=optuna cannot be combined: leave reference out")
    workers, storage = search["workers"], search["storage"]
    if workers is not None and (type(workers) is not int or workers < 1):
        raise UserError(f"search.workers={workers}: give a whole number of at least 1, or null for one per job")
    if storage is not None and not _is_url(storage):
        raise UserError(
            "search.storage: give a URL as Optuna takes it, e.g. postgresql://user:password@host/name, or null for "
            "study.db in the sweep's folder"
        )
    least = [name for name in ("min_epochs", "min_steps") if config["trainer"].get(name) is not None]
    if least and search["prune"] is not None:
        raise UserError(f"trainer.{least[0]} and search.prune cannot be combined: leave one of them out")
    prediction = config["prediction"]
    if search["prune"] is not None and prediction["prune"] is not None:
        raise UserError("search.prune and prediction.prune cannot be combined: set one of them to null")
    if search["prune"] == AELLE and prediction["model"] is not None:
        raise UserError(
            "search.prune=aelle learns from this sweep alone: with prediction.model=…, set search.prune=null, and "
            "prediction.prune=auto to prune by that model"
        )
    sampler(search, 0)
    pruner(search, config["epochs"])


def _is_url(storage: Any) -> bool:
    try:
        return isinstance(storage, str) and bool(make_url(storage).drivername)
    except (ArgumentError, ValueError):
        return False


def sampler(search: dict[str, Any], seed: int) -> optuna.samplers.BaseSampler:
    """The sampler that `search.sampler` names, with this seed if it takes one."""
    chosen = search["sampler"]
    if isinstance(chosen, str) and chosen in SAMPLERS:
        with quiet():
            return SAMPLERS[chosen](seed)
    return _named("search.sampler", chosen, [*SAMPLERS], optuna.samplers.BaseSampler, "GPSampler", seed=seed)


def pruner(search: dict[str, Any], epochs: int) -> optuna.pruners.BasePruner:
    """Optuna's pruner; one that never prunes where aelle does, or nobody."""
    chosen = search["prune"]
    if chosen is None or chosen == AELLE:
        return optuna.pruners.NopPruner()
    if isinstance(chosen, str) and chosen in PRUNERS:
        return PRUNERS[chosen](epochs)
    return _named("search.prune", chosen, [AELLE, *PRUNERS, "null"], optuna.pruners.BasePruner, "PercentilePruner")


def _named(option: str, given: Any, words: list[str], kind: type, example: str, **also: Any) -> Any:
    """An object of Optuna's, made with the options beside its `_target_` and those that it takes of `also`."""
    home = kind.__module__.rpartition(".")[0]
    form = f"choose {', '.join(words)}, or a class and its arguments, as {{_target_: {home}.{example}}}"
    if not isinstance(given, dict) or "_target_" not in given:
        raise UserError(f"{option}={given}: {form}")
    arguments = {name: value for name, value in given.items() if name != "_target_"}
    if fixed := [name for name in also if name in arguments]:
        raise UserError(f"{option}: its {fixed[0]} follows from the sweep's seed; leave {fixed[0]} out")
    try:
        made = target(given)
        taken = inspect.signature(made).parameters
        with quiet():
            more = {name: value for name, value in also.items() if name in taken}
            found = made(**more, **{name: _built(value) for name, value in arguments.items()})
    except Exception as error:
        raise UserError(f"{option}: {in_one_line(error)}; {form}") from error
    if not isinstance(found, kind):
        raise UserError(f"{option}: {given['_target_']} is not a {kind.__name__} of Optuna's: {form}")
    return found


def _built(value: Any) -> Any:
    """An argument that is an object itself, as the pruner that another one wraps."""
    if not isinstance(value, dict) or "_target_" not in value:
        return value
    return target(value)(**{name: _built(one) for name, one in value.items() if name != "_target_"})


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's warnings of arguments that may change in later versions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
