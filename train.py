"""Train recurrent networks and measure their Lyapunov spectra: `python train.py --help`."""

import os

# Idle threads yield their core. With the default, spinning, PyTorch slows down many times over as soon as another
# process needs a core. Must be set before PyTorch is imported; jobs started by launchers inherit it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import hydra
from omegaconf import DictConfig

from aelle.commands.command_line import errors_in_one_line
from aelle.commands.hydra_parser import mend_hydra
from aelle.commands.launch import register_resolvers, run_job

mend_hydra()
register_resolvers()


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> None:
    run_job(config)


if __name__ == "__main__":
    with errors_in_one_line():
        main()
