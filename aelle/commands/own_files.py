"""A user's own files in the working directory: configurations in its folder conf, modules beside it."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from aelle.errors import UserError
from aelle.installation import CONF
from aelle.terminal import program


class OwnConfigurations(SearchPathPlugin):
    """They are searched after aelle's own: a name has one meaning everywhere (`check_own_conf`)."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if (folder := own_conf()) is not None:
            search_path.append("working directory", f"file://{folder}")


def find_own_conf() -> None:
    Plugins.instance().register(OwnConfigurations)


def own_conf() -> Path | None:
    """The folder conf of the working directory; None if there is none, or it is aelle's own."""
    folder = Path.cwd() / "conf"
    return folder if folder.is_dir() and not folder.samefile(CONF) else None


def check_own_conf(choices: Mapping[str, Any]) -> list[str]:
    """Raises UserError if a configuration that was chosen, by group, is in both folders and differs. Returns what else
    in the user's folder has no effect, as warnings."""
    folder = own_conf()
    if folder is None:
        return []
    for group, name in choices.items():
        file = f"{group.partition('@')[0]}/{name}.yaml"
        if _differ(CONF / file, folder / file):
            raise UserError(
                f"conf/{file} has the name of one of aelle's own, which is not replaced: give yours another name"
            )
    file = f"{program()}.yaml"
    if _differ(CONF / file, folder / file):
        return [f"conf/{file} is not read: put options of your own into a file of conf/experiment"]
    return []


def _differ(ours: Path, theirs: Path) -> bool:
    return ours.is_file() and theirs.is_file() and ours.read_bytes() != theirs.read_bytes()


def import_from(folder: str) -> None:
    """Make the modules there importable, after all that is installed."""
    if folder not in sys.path:
        sys.path.append(folder)
