"""The hooks into Hydra: what happens before a sweep, in each of its jobs, and after it."""

import math
import os
import sys
import traceback
from types import ModuleType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from aelle.commands.command_line import errors_in_one_line, swift_imports
from aelle.commands.launchers import check_launcher, end_with_parent, kind, side_by_side, threads
from aelle.commands.own_files import check_own_conf, import_from
from aelle.commands.unfinished import failed_runs, in_training, refused_run, say_in_training
from aelle.errors import UnwritableError, UserError
from aelle.runs.locks import check_lock
from aelle.sweep.live_status import LiveStatus
from aelle.sweep.plan import Plan
from aelle.terminal import command, complain, count, erase, option, say, show, shows_live_lines
from aelle.variants import check_space


def register_resolvers() -> None:
    """Register `${packs:}`: the sweep over the packs of the search space, cut at `pack_size`, that are not complete
    (null for a sweep without a size), `${workers:}`: the jobs that serve a search, and `${solved:TASK,…}`: the
    threshold that follows from a task's options.

    Hydra registers them in the jobs as well, wherever they run.
    """
    OmegaConf.register_new_resolver("packs", _packs, replace=True)
    OmegaConf.register_new_resolver("workers", _workers, replace=True)
    OmegaConf.register_new_resolver("solved", _solved, replace=True)


def _solved(task: str, *options: Any) -> float:
    # PyTorch takes seconds, and most tasks have a fixed threshold.
    from aelle.data import SOLVED

    return SOLVED[task](*options)


def _packs(*, _root_: DictConfig) -> str:
    plan = Plan.of(_plain(_root_))
    if plan.config["size"] is None or plan.searched:
        return "null"
    # Hydra starts at least one job; that of a complete sweep finds nothing to do.
    packs = ",".join(map(str, plan.unfinished_packs() or [0]))
    return f"choice({packs})"


def _workers(*, _root_: DictConfig) -> str:
    workers = _root_.search.workers
    if type(workers) is not int or workers < 1:
        # What is neither a number nor null is refused when the sweep is checked.
        workers = side_by_side(_root_.hydra) or 1
    return f"choice({','.join(map(str, range(workers)))})"


def run_job(config: DictConfig) -> None:
    """Train one pack, or the variants chosen by number; complete ones are not trained again."""
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        if kind(hydra) == "joblib":
            end_with_parent()
        try:
            _train(config, hydra)
        except (UnwritableError, OSError):
            if kind(hydra) != "basic":
                raise
            # The next job could not write either: end the sweep.
            with errors_in_one_line():
                raise
        except UserError:
            raise
        except Exception:
            # An exception that is passed on to another process loses its traceback.
            if kind(hydra) != "basic":
                complain(*traceback.format_exc().splitlines())
            raise
        return
    with errors_in_one_line():
        plan, succeeded = _train(config, hydra)
        _say_next(plan)
    if not succeeded:
        sys.exit(1)


def _train(config: DictConfig, hydra: Any) -> tuple[Plan, bool]:
    # A job on another machine may start in another folder.
    os.chdir(hydra.runtime.cwd)
    import_from(hydra.runtime.cwd)
    own = check_own_conf(hydra.runtime.choices)
    plan = Plan.of(_plain(config))
    # Not at the top: PyTorch and Lightning take seconds, and --help and a misspelt option do not need them.
    with swift_imports():
        import torch

        from aelle.training.pack import train_pack
        from aelle.training.parts import Parts
        from aelle.training.progress import Progress

    torch.set_num_threads(threads(hydra))
    if plan.searched:
        return plan, _serve(plan, config, hydra)
    parts = Parts(plan.config, side_by_side(hydra) or 1)
    jobs = plan.jobs(list(hydra.overrides.task))
    if hydra.mode == RunMode.RUN:
        _warn([*own, *parts.warnings, *parts.check([variants for _, variants in jobs if variants])])
        _say(parts.pruning)
    results = [
        train_pack(plan, folder, variants, parts, Progress(plan, side_by_side(hydra))) for folder, variants in jobs
    ]
    return plan, all(results)


def _serve(plan: Plan, config: DictConfig, hydra: Any) -> bool:
    with swift_imports():
        from aelle.search.plan import SearchedPlan
        from aelle.search.serve import serve

    if hydra.mode == RunMode.RUN:
        raise UserError(f"search=optuna proposes a sweep's variants: start it with -m, {command('train', '-m')} …")
    return serve(SearchedPlan(plan.config, plan.folder), _plain(config)["search"], side_by_side(hydra))


class SweepCallback(Callback):
    """Runs in the process that starts a sweep: checks and announces it before its jobs, summarises it after them."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            own = check_own_conf(config.hydra.runtime.choices)
            plan = Plan.of(_plain(config))
            _check_swept(plan, list(config.hydra.overrides.task))
            check_launcher(config.hydra)
            searched = _search(plan)
            if searched is not None:
                searched.check(plan, _plain(config))
            with swift_imports():
                from aelle.training.parts import Parts

            parts = Parts(plan.config)
            warnings = [*own, *parts.warnings, *([] if plan.searched else _not_covered(plan))]
            if plan.config["size"] is not None:
                # Of a search, draws from its space: they have every kind of network.
                warnings += parts.check(plan.packs())
            plan.start()
            for lock in plan.folder.glob(".*.lock"):
                check_lock(lock)
            if searched is not None:
                searched.announce(plan, _plain(config)["search"])
            elif plan.config["size"] is not None:
                _announce(plan)
            _announce_jobs(config.hydra)
            _warn(warnings)
            _say(parts.pruning)
            # Otherwise the pack that is trained in this process shows its own.
            if kind(config.hydra) != "basic" and plan.config["size"] is not None and shows_live_lines():
                show(LiveStatus(plan).line)
        except (UserError, OSError, InterpolationResolutionError):
            # Hydra would turn an exception into a warning and continue.
            with errors_in_one_line():
                raise

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        erase()
        plan = Plan.of(_plain(config))
        if (searched := _search(plan)) is not None:
            _say_next(plan)
            if not searched.summarise(plan, _plain(config)["search"]):
                raise SystemExit(1)
            return
        # Before it is seen what is complete: a job may end, but no variant may count for missing that another trains.
        elsewhere = in_training(plan)
        failed = failed_runs(plan)
        _say_next(plan)
        refused = [run for folder in failed if (run := refused_run(folder)) is not None]
        names = [folder.name for folder in failed if folder not in [run.path for run in refused]]
        lacking = set() if plan.config["size"] is None else plan.wanted() - plan.complete()
        if others := lacking & elsewhere:
            say_in_training(plan, len(others))
        missing = len(lacking - elsewhere - {number for run in refused for number in run.numbers})
        if names or missing:
            what = f"{count(missing, 'variant')} not complete" if missing else "not all runs are complete"
            which = f"; failed: {', '.join(names)} (see status.json there)" if names else ""
            complain(f"error: {what}{which}; run the same command again to train what is missing")
        for reason in dict.fromkeys(run.status["error"] for run in refused):
            variants = sum(len(run.numbers) for run in refused if run.status["error"] == reason)
            why = f"{count(variants, 'variant')} cannot be trained ({reason})"
            complain(f"error: {why}; leave the cell out of `cell`, or choose other sizes")
        if failed or missing:
            raise SystemExit(1)


def _search(plan: Plan) -> ModuleType | None:
    """What there is to say of a search; Optuna is not needed for anything else."""
    if not plan.searched:
        return None
    from aelle.commands import launch_search

    return launch_search


def _check_swept(plan: Plan, overrides: list[str]) -> None:
    """Raise UserError if a swept option conflicts with the sweep's own variants, or a value with the search space."""
    swept = [o for o in OverridesParser.create().parse_overrides(overrides) if o.is_sweep_override()]
    if plan.config["size"] is None and not swept:
        raise UserError(
            "-m has nothing to sweep over: choose experiment=…, or give several values of a hyperparameter, e.g. "
            "hidden_size=32,64; the same without -m trains a single network"
        )
    values: dict[str, list[Any]] = {}
    for override in swept:
        name = override.get_key_element()
        if plan.config["size"] is not None and name != "pack":
            a_list = f"give a list, {name}=[…]" if name in plan.config["hyperparameters"] else "start a sweep for each"
            raise UserError(
                f"{name} cannot be swept over in addition to the {plan.config['size']} variants of this sweep: "
                f"{a_list}, or choose task=… instead of experiment=… to train one variant per job"
            )
        if name in ("experiment", "task"):
            raise UserError(f"{name} cannot be swept over: a sweep has one {name}; start a sweep for each")
        if name in plan.config["hyperparameters"]:
            values[name] = list(override.sweep_iterator())
    if values:
        check_space({**plan.space, **values})


def _announce(plan: Plan) -> None:
    config, wanted = plan.config, plan.wanted()
    complete = wanted & plan.complete()
    compared = len([number for number in wanted if number >= config["size"]])
    what = count(len(wanted) - compared, "variant") + (f" and {compared} for reference" if compared else "")
    packs, epochs = count(len(plan.packs()), "pack"), count(config["epochs"], "epoch")
    say(f"{config['sweep']}: {what} in {packs}, {epochs} each, {_measurement(config)}")
    if complete:
        say(f"{plan.folder}: {_reached(complete, complete & plan.pruned(), len(wanted))} already")


def _not_covered(plan: Plan) -> list[str]:
    """Why some values of lists may not occur."""
    combinations = math.prod(len(spec) for spec in plan.space.values() if isinstance(spec, list))
    draws = -(-(plan.config["size"] or combinations) // plan.config["repeats"])
    if draws >= combinations:
        return []
    return [f"the lists have {combinations} combinations, of which {count(draws, 'draw')} cover the first ones only"]


def _reached(complete: set[int], pruned: set[int], size: int) -> str:
    return f"{len(complete - pruned)} of {size} variants complete" + (f" and {len(pruned)} pruned" if pruned else "")


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        say(f"warning: {warning}")


def _say(what: str) -> None:
    if what:
        say(what)


def _announce_jobs(hydra: Any) -> None:
    jobs, each = side_by_side(hydra), count(threads(hydra), "CPU thread")
    if jobs is not None:
        say(f"one job at a time, {each}" if jobs == 1 else f"{jobs} jobs at a time, {each} each")
    elif kind(hydra) == "ray":
        say(f"as many jobs at a time as Ray's resources allow, {each} each")
    else:
        say(f"{kind(hydra)} jobs, {each} each; their output is in {hydra.sweep.dir}/.submitit")


def _measurement(config: dict[str, Any]) -> str:
    lyapunov, epochs = config["lyapunov"], config["epochs"]
    steps, every = lyapunov["steps"], lyapunov["every_n_epochs"]
    source = count(steps, "free-running step") if steps else count(lyapunov["sequences"], "sequence")
    if isinstance(every, list):
        measured = sorted({epoch for epoch in every if epoch < epochs} | {epochs})
        return f"spectra from {source} at epochs {', '.join(map(str, measured))}"
    return f"spectra from {source} after every {'epoch' if every == 1 else f'{every} epochs'}"


def _say_next(plan: Plan) -> None:
    size = plan.total
    if size is None:
        complete = sum(len(run.numbers) for run in plan.runs() if run.status["state"] == "complete")
        say(f"{count(complete, 'variant')} complete in {plan.folder}")
    else:
        say(f"{_reached(plan.complete(), plan.pruned(), size)} in {plan.folder}")
    say(f"next: {command('analyze', option('sweep', plan.folder))}")


def _plain(config: Any) -> dict[str, Any]:
    """The configuration, resolved and without Hydra's own part."""
    root = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    return OmegaConf.to_container(root, resolve=True)  # pyright: ignore[reportReturnType]
