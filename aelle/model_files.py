"""A fitted model as two files: parameters as JSON, arrays as NPZ. Nothing that could run code when it is read."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from aelle.runs import replace_atomically

FORMAT = 2


def write_model(folder: Path, parameters: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Into `aelle.json` and `arrays.npz`, each replaced atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": FORMAT, "parameters": parameters}, indent=2)

    def write_arrays(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    replace_atomically(folder / "arrays.npz", write_arrays)
    replace_atomically(folder / "aelle.json", lambda path: path.write_text(text))


def read_model(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Parameters and arrays. Raises ValueError, or what the readers of JSON and NPZ raise, where they are not whole."""
    description = json.loads((folder / "aelle.json").read_text())
    if description["format"] != FORMAT:
        raise ValueError(f"its format is {description['format']}, and this version reads format {FORMAT}")
    with np.load(folder / "arrays.npz", allow_pickle=False) as file:
        return description["parameters"], {name: file[name] for name in file.files}
