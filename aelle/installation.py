"""Where aelle's own configurations are: beside the package in a clone, inside it in an installed one."""

from pathlib import Path

PACKAGE = Path(__file__).parent

IN_CLONE = not (PACKAGE / "conf").is_dir()
"""Whether aelle runs from a clone, whose `train.py` and `analyze.py` are beside the package, too."""

CONF = PACKAGE.parent / "conf" if IN_CLONE else PACKAGE / "conf"
