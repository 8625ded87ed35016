"""`python -m aelle`: a sweep's progress, and its rows for other tools and dashboards."""

import argparse
import sys
from pathlib import Path

from aelle.commands.collect import collect
from aelle.commands.command_line import errors_in_one_line
from aelle.commands.send import send
from aelle.commands.status_text import status_lines
from aelle.sweep.status import sweep_status
from aelle.terminal import say


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m aelle", description="Show the progress of a sweep, or export its rows for other tools."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    about = "packs complete, running, stale, failed and missing; time left; best variants; first error"
    status = commands.add_parser(
        "status",
        help=about,
        description=f"Show the progress of a sweep, complete or not: {about}. Stale: started, but interrupted or "
        "killed, so that no process is training it; run the sweep's command again to resume from the last epoch.",
    )
    about = "write all rows of a sweep to one Parquet file"
    rows = commands.add_parser(
        "collect",
        help=about,
        description=f"{about.capitalize()}: a row per variant and epoch, with hyperparameters, seeds, state, losses, "
        "metrics and spectra (nats per step). Runs that cannot be read are left out and reported on stderr; "
        "the exit code is then 1.",
    )
    about = "send all runs of a sweep to Weights & Biases, TensorBoard or a CSV file"
    dashboard = commands.add_parser(
        "send",
        help=about,
        description=f"{about.capitalize()}, from its folder alone, as if it had been trained with that "
        "logger. What has been sent before is not sent twice. Runs that cannot be read are left out and reported on "
        "stderr; the exit code is then 1.",
    )
    for command in (status, rows, dashboard):
        command.add_argument("sweep", type=Path, help="folder of a sweep, e.g. outputs/digits")
    rows.add_argument("--to", type=Path, metavar="FILE", help="file to write (default: SWEEP/collected.parquet)")
    example = "the options of train.py, e.g. logger=wandb logger.mode=offline"
    dashboard.add_argument("overrides", nargs="+", metavar="logger=NAME", help=example)
    chosen = parser.parse_args()
    if chosen.command == "status":
        say(*status_lines(sweep_status(chosen.sweep)))
    elif chosen.command == "send":
        if not send(chosen.sweep, chosen.overrides):
            sys.exit(1)
    elif not collect(chosen.sweep, chosen.to or chosen.sweep / "collected.parquet"):
        sys.exit(1)


if __name__ == "__main__":
    with errors_in_one_line():
        main()
