"""The command `aelle`, and `python -m aelle`: trains and analyses sweeps, shows their progress, exports their rows.

Each command imports what it needs when it runs: `aelle --help` waits for nothing.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import aelle
from aelle.terminal import complain, say


def main() -> None:
    words = sys.argv[1:] or ["--help"]
    # What follows these two is read by Hydra.
    chosen = _parser().parse_args(words[:1] if words[0] in ("train", "analyze") else words)
    from aelle.commands.command_line import errors_in_one_line

    with errors_in_one_line():
        chosen.run(chosen)


def _parser() -> argparse.ArgumentParser:
    name = "aelle" if Path(sys.argv[0]).name == "aelle" else "python -m aelle"
    parser = Parser(prog=name, description=aelle.__doc__)
    parser.add_argument("--version", action="version", version=f"aelle {aelle.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], None], about: str, more: str = "") -> Parser:
        command = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}. {more}")
        command.set_defaults(run=run)
        return command

    def add_for_sweep(name: str, run: Callable[[argparse.Namespace], None], about: str, more: str) -> Parser:
        command = add(name, run, about, more)
        command.add_argument("sweep", type=Path, help="folder of a sweep, e.g. outputs/digits")
        return command

    add("train", train, f"train the variants of a sweep and measure their spectra; see {name} train --help")
    add("analyze", analyze, f"learn from a sweep which variants train well, write a report; see {name} analyze --help")
    add_for_sweep(
        "status",
        status,
        "show how far a sweep is: packs complete, running, stale, failed and missing; time left; best variants",
        "The sweep may be complete or not. Stale: started, but interrupted or killed, so that no process is training "
        "it; run the sweep's command again to resume from the last epoch. The first error is shown, too.",
    )
    add_for_sweep(
        "collect",
        collect,
        "write all rows of a sweep to one Parquet file",
        "A row per variant and epoch, with hyperparameters, seeds, state, losses, metrics and spectra (nats per step). "
        "Runs that cannot be read are left out and reported on stderr; the exit code is then 1.",
    ).add_argument("--to", type=Path, metavar="FILE", help="file to write (default: SWEEP/collected.parquet)")
    add_for_sweep(
        "send",
        send,
        "send all runs of a sweep to Weights & Biases, TensorBoard or a CSV file",
        "From its folder alone, as if it had been trained with that logger. What has been sent before is not sent "
        "twice. Runs that cannot be read are left out and reported on stderr; the exit code is then 1.",
    ).add_argument(
        "overrides",
        nargs="+",
        metavar="logger=NAME",
        help="the options of training, e.g. logger=wandb logger.mode=offline",
    )
    return parser


class Parser(argparse.ArgumentParser):
    """Its errors are one line."""

    def error(self, message: str) -> NoReturn:
        complain(f"error: {message}; see {self.prog} --help")
        sys.exit(2)


def train(_: argparse.Namespace) -> None:
    from aelle.commands import programs

    _pass_on()
    programs.train()


def analyze(_: argparse.Namespace) -> None:
    from aelle.commands import programs

    _pass_on()
    programs.analyze()


def _pass_on() -> None:
    """Leave to Hydra the words behind the command, which becomes part of the program's name."""
    sys.argv[:2] = [" ".join(sys.argv[:2])]


def status(chosen: argparse.Namespace) -> None:
    from aelle.commands.status_text import status_lines
    from aelle.sweep.status import sweep_status

    say(*status_lines(sweep_status(chosen.sweep)))


def collect(chosen: argparse.Namespace) -> None:
    from aelle.commands import collect

    if not collect.collect(chosen.sweep, chosen.to or chosen.sweep / "collected.parquet"):
        sys.exit(1)


def send(chosen: argparse.Namespace) -> None:
    from aelle.commands import send

    if not send.send(chosen.sweep, chosen.overrides):
        sys.exit(1)


if __name__ == "__main__":
    main()
