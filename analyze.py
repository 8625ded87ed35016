"""Learn from a sweep's spectra and write its report: `python analyze.py --help`."""

import hydra
from omegaconf import DictConfig

from aelle.analysis import analyze
from aelle.command_line import errors_in_one_line


@hydra.main(version_base="1.3", config_path="conf", config_name="analyze")
def main(config: DictConfig) -> None:
    with errors_in_one_line():
        analyze(config)


if __name__ == "__main__":
    with errors_in_one_line():
        main()
