"""Where Hydra meets the project: what happens before a sweep, in each of its jobs, and after it."""

import os
import sys
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from aelle.command_line import count, errors_in_one_line
from aelle.errors import UserError
from aelle.progress import Progress
from aelle.runs import DamagedRunError, read_status
from aelle.sweep import Plan, run_folders
from aelle.training import train_pack


def register_resolvers() -> None:
    """`${packs:}` in an experiment is the number of packs that its search space and `pack_size` make."""
    OmegaConf.register_new_resolver("packs", lambda *, _root_: len(Plan.of(_plain(_root_)).packs()), replace=True)


def run_job(config: DictConfig) -> None:
    """One pack, or the variants asked for by number; what is complete already is left alone."""
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        _train(config, hydra)
        return
    with errors_in_one_line():
        plan, succeeded = _train(config, hydra)
        _say_next(plan)
    if not succeeded:
        sys.exit(1)


def _train(config: DictConfig, hydra: Any) -> tuple[Plan, bool]:
    plan = Plan.of(_plain(config))
    plan.start()
    data = instantiate(config.task.data)
    folder, variants = plan.job(list(hydra.overrides.task))
    return plan, train_pack(plan, folder, variants, data, Progress(plan, _workers(hydra)))


class SweepCallback(Callback):
    """In the process that starts a sweep: checks and announces before its jobs, sums up after them."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            plan = Plan.of(_plain(config))
            plan.start()
            if plan.config["size"] is not None:
                _announce(plan)
            instantiate(config.task.data)
        except UserError as error:
            # Hydra turns an exception here into a warning and goes on.
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from error

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        plan = Plan.of(_plain(config))
        failed = []
        for folder in run_folders(plan.folder):
            try:
                if read_status(folder)["state"] == "failed":
                    failed.append(folder.name)
            except DamagedRunError:
                continue
        _say_next(plan)
        if failed:
            print(
                f"error: {count(len(failed), 'run')} failed: {', '.join(failed)}; the traceback of each stands in its "
                "status.json; the same command again retries them",
                file=sys.stderr,
            )
            raise SystemExit(1)


def _announce(plan: Plan) -> None:
    config, done = plan.config, len(plan.complete())
    packs = count(len(plan.packs()), "pack")
    print(
        f"{config['sweep']}: {count(config['size'], 'variant')} in {packs}, {count(config['epochs'], 'epoch')} each, "
        f"spectra from {count(config['lyapunov']['sequences'], 'sequence')} after every epoch"
    )
    if done:
        print(f"{plan.folder}: {done} of {config['size']} variants are complete already")


def _say_next(plan: Plan) -> None:
    done, size = len(plan.complete()), plan.config["size"]
    print(f"{done if size is None else f'{done} of {size}'} variants complete in {plan.folder}")
    print(f"next: python analyze.py sweep={plan.folder}")


def _workers(hydra: Any) -> int:
    jobs = hydra.launcher.get("n_jobs", 1)
    return jobs if jobs > 0 else os.cpu_count() or 1


def _plain(config: Any) -> dict[str, Any]:
    """The project's part of the configuration, resolved."""
    root = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    return OmegaConf.to_container(root, resolve=True)  # pyright: ignore[reportReturnType]
