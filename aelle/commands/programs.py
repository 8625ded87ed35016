"""The programs that Hydra starts: `train.py` and `analyze.py` of a clone, and `aelle train` and `aelle analyze`."""

import os

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from aelle.commands.command_line import errors_in_one_line, swift_imports
from aelle.commands.hydra_parser import mend_hydra
from aelle.commands.own_files import check_own_conf, find_own_conf, import_from
from aelle.installation import CONF
from aelle.terminal import command, say


def train() -> None:
    # Idle threads yield their core. With the default, spinning, PyTorch slows down many times over as soon as another
    # process needs a core. Must be set before PyTorch is imported; jobs started by launchers inherit it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import_from(os.getcwd())
    with errors_in_one_line():
        from aelle.commands.launch import register_resolvers

        _prepare()
        register_resolvers()
        _train()


def analyze() -> None:
    with errors_in_one_line():
        _prepare()
        _analyze()


def _prepare() -> None:
    mend_hydra()
    find_own_conf()
    # For the examples in a program's help.
    OmegaConf.register_new_resolver("command", command, replace=True)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def _train(config: DictConfig) -> None:
    from aelle.commands.launch import run_job

    run_job(config)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="analyze")
def _analyze(config: DictConfig) -> None:
    # Also here: Hydra would print exceptions in its own format.
    with errors_in_one_line():
        for warning in check_own_conf(HydraConfig.get().runtime.choices):
            say(f"warning: {warning}")
        # These imports take seconds, and --help does not need them.
        with swift_imports():
            from aelle.commands.analyze import analyze

        analyze(config)
