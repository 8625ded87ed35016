"""Which array file the results in a folder are of: two files of one name do not replace each other's."""

import json
from pathlib import Path
from typing import Any

from aelle.errors import UserError
from aelle.files import digest, read_regular, replace_atomically

SOURCE = "source.json"

MAX_BYTES = 100_000


def check_source(folder: Path, source: Path) -> None:
    """Raises UserError if the folder has results of another file: of one that is elsewhere, and differs."""
    earlier = _recorded(folder)
    if earlier is None or earlier["file"] == str(source.resolve()) or earlier["digest"] == digest(source.resolve()):
        return
    raise UserError(
        f"sweep={source}: its report would replace that of another file of this name, {earlier['file']}, in {folder}; "
        f"rename one of the files, or move {folder} away"
    )


def record_source(folder: Path, source: Path) -> None:
    text = json.dumps({"file": str(source.resolve()), "digest": digest(source.resolve())}, indent=1)
    replace_atomically(folder / SOURCE, lambda path: path.write_text(text))


def _recorded(folder: Path) -> dict[str, Any] | None:
    """None where there are no results, and where nobody knows of what they are."""
    try:
        found = json.loads(read_regular(folder / SOURCE, MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and {"file", "digest"} <= found.keys() else None
