"""What Hydra 1.3 needs on Python 3.14 to build its command line's parser. docs/install.md says when this can go.

From 3.14 on, argparse checks each help text when an option is added, and Hydra's text of `--shell-completion` is an
object that becomes text only when it is shown.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hydra
from hydra._internal import utils

NEEDED = sys.version_info >= (3, 14)


def build_parser() -> ArgumentParser:
    """Hydra's own parser, built without that check where Python has it."""
    with _help_unchecked():
        return utils.get_args_parser()


def mend_hydra() -> None:
    """Call before a `hydra.main` runs. Jobs of launchers run without a parser."""
    if NEEDED:
        # The attribute `main` of the package is the function.
        module: Any = sys.modules[hydra.main.__module__]
        module.get_args_parser = build_parser


@contextmanager
def _help_unchecked() -> Iterator[None]:
    if not NEEDED:
        yield
        return
    parser: Any = ArgumentParser
    parser._check_help = lambda self, action: None
    try:
        yield
    finally:
        # What it inherits is behind it again.
        del parser._check_help
