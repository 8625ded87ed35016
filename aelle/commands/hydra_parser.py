"""A workaround for Hydra 1.3 on Python 3.14; docs/install.md says when it can be removed.

Since 3.14, argparse checks each help text when an option is added, and Hydra's text for `--shell-completion` is an
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
    """Hydra's own parser, built without that check if this Python has it."""
    with _help_unchecked():
        return utils.get_args_parser()


def mend_hydra() -> None:
    """Call this before a `hydra.main` runs. The jobs of launchers need no parser."""
    if NEEDED:
        # `hydra.main` is the function, not the module that defines it.
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
        # Uncovers the inherited method.
        del parser._check_help
