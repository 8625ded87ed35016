"""Fit AeLLE to a sweep's spectra and write its report: `python analyze.py --help`."""

import hydra
from omegaconf import DictConfig

from aelle.commands.command_line import errors_in_one_line, swift_imports
from aelle.commands.hydra_parser import mend_hydra

mend_hydra()


@hydra.main(version_base="1.3", config_path="conf", config_name="analyze")
def main(config: DictConfig) -> None:
    with errors_in_one_line():
        # These imports take seconds, and --help does not need them.
        with swift_imports():
            from aelle.commands.analyze import analyze

        analyze(config)


if __name__ == "__main__":
    with errors_in_one_line():
        main()
