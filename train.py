"""Train recurrent networks and measure their Lyapunov spectra: `python train.py --help`."""

import os

# A thread that waits for its next task gives its core away. Spinning, PyTorch's threads slow down many times over as
# soon as another process wants a core. Read when PyTorch is loaded, and inherited by the jobs of launchers.
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
