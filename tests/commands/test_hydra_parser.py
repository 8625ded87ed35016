"""What Hydra's parser needs on a new Python."""

import argparse
import sys

import hydra

from aelle.commands.hydra_parser import build_parser, mend_hydra


def test_hydra_needs_its_parser_mended():
    """Once the installed Hydra does without: delete aelle/commands/hydra_parser.py, this test, and what calls it."""
    texts = {action.help for action in build_parser()._actions}
    assert not all(text is None or isinstance(text, str) for text in texts), "aelle/commands/hydra_parser.py can go"


def test_only_hydras_own_parser_goes_unchecked(monkeypatch):
    """As on Python 3.14, on any."""
    checked = []
    monkeypatch.setattr(argparse._ActionsContainer, "_check_help", lambda self, a: checked.append(a), raising=False)
    monkeypatch.setattr("aelle.commands.hydra_parser.NEEDED", True)
    monkeypatch.setattr(sys.modules[hydra.main.__module__], "get_args_parser", None)
    mend_hydra()
    parser = sys.modules[hydra.main.__module__].get_args_parser()
    assert parser.parse_args(["-m", "a=1"]).multirun and checked == []
    argparse.ArgumentParser().add_argument("--mine", help="text")
    assert len(checked) == (2 if sys.version_info >= (3, 14) else 0)
