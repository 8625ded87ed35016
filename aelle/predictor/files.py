"""A fitted EarlyPredictor as files: `predictor.json` and `predictor.npz`, next to those of its AeLLE.

Nothing that could run code when it is read.
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aelle.files import MODEL_FILES, PREDICTOR_FILES, replace_atomically
from aelle.model.estimator import AeLLE
from aelle.model.files import as_json, reading, write_arrays
from aelle.predictor.encoding import Encoding
from aelle.predictor.low_chances import LowChances
from aelle.predictor.members import restored
from aelle.predictor.outside import Neighbourhood
from aelle.predictor.stacking import Stack, StackAt

if TYPE_CHECKING:
    from aelle.predictor.early_predictor import EarlyPredictor

FORMAT = 2

DESCRIPTION, ARRAYS = PREDICTOR_FILES


def write_predictor(folder: Path, predictor: "EarlyPredictor") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if predictor.model_ is not None:
        predictor.model_.learned_from_ = predictor.learned_from_
        predictor.model_.save(folder)
    else:
        # Those of another predictor, whose AeLLE would be taken for this one's.
        for name in MODEL_FILES:
            (folder / name).unlink(missing_ok=True)
    low = {f"low/{name}": array for name, array in predictor.low_chances_._asdict().items()}
    write_arrays(folder / ARRAYS, arrays_of(predictor) | low)
    description = {
        "format": FORMAT,
        "threshold": float(predictor.threshold),
        "seed": int(predictor.seed),
        "aelle": None if predictor.aelle is None else dict(predictor.aelle),
        "learned_from": predictor.learned_from_,
        "epochs": predictor.epochs_,
        "loss_names": None if predictor.loss_names_ is None else predictor.loss_names_.tolist(),
        "base_rate": predictor.base_rate_,
        "encoding": predictor.encoding_.state(),
        "members": [member.name for member in predictor.members_],
        "stacks": {"+".join(inputs): [at.members, at.epochs] for inputs, at in predictor.stacks_.items()},
        "digests": _digests(folder, predictor.model_ is not None),
    }
    text = as_json(description)
    replace_atomically(folder / DESCRIPTION, lambda path: path.write_text(text))


def remove_predictor(folder: Path) -> None:
    """Remove the files of a saved predictor, and the folder if nothing else is in it."""
    for name in (*PREDICTOR_FILES, *MODEL_FILES):
        (folder / name).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def arrays_of(predictor: "EarlyPredictor") -> dict[str, np.ndarray]:
    """What was fitted, by name, but for AeLLE and the chances of the cut."""
    arrays = {"worst": predictor.worst_, "typical": predictor.typical_}
    for member in predictor.members_:
        arrays |= {f"member/{member.name}/{name}": array for name, array in member.arrays().items()}
    for inputs, at in predictor.stacks_.items():
        arrays |= {f"stack/{'+'.join(inputs)}/{name}": array for name, array in at.stack._asdict().items()}
    for what, by_epoch in predictor.neighbourhoods_.items():
        for epoch, one in by_epoch.items():
            arrays |= {f"near/{what}/{epoch}/{name}": np.asarray(array) for name, array in one._asdict().items()}
    return arrays


def read_predictor(folder: Path, kind: "type[EarlyPredictor]") -> "EarlyPredictor":
    """Raises ValueError if the files are incomplete or do not belong together."""
    with reading(folder, DESCRIPTION, "predictor"):
        if (folder / MODEL_FILES[0]).exists() and not (folder / DESCRIPTION).exists():
            raise ValueError("it has an AeLLE alone, which aelle.AeLLE.load reads: run analyze.py again")
        return _read(folder, kind)


def _read(folder: Path, kind: "type[EarlyPredictor]") -> "EarlyPredictor":
    given = json.loads((folder / DESCRIPTION).read_text())
    if given["format"] != FORMAT:
        raise ValueError(f"its format is {given['format']}, and this version reads format {FORMAT}")
    with_model = MODEL_FILES[1] in given["digests"]
    if _digests(folder, with_model) != given["digests"]:
        raise ValueError("its files do not belong together")
    learned_from = given["learned_from"]
    if not isinstance(learned_from, dict) or not all(isinstance(one, (str, int)) for one in learned_from.values()):
        raise ValueError("learned_from must have a text or a whole number for each name")
    with np.load(folder / ARRAYS, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    predictor = kind(given["threshold"], aelle=given["aelle"], seed=given["seed"])
    predictor.learned_from_ = learned_from
    predictor.epochs_, predictor.base_rate_ = given["epochs"], given["base_rate"]
    # Predictors that were saved before these were have none.
    names = given.get("loss_names")
    predictor.loss_names_ = None if names is None else np.array(names)
    predictor.low_chances_ = LowChances(**_part(arrays, "low/"))
    predictor.encoding_, predictor.worst_ = Encoding.of_state(given["encoding"]), arrays["worst"]
    predictor.typical_ = arrays["typical"]
    predictor.model_ = AeLLE.load(folder) if with_model else None
    of_members = {name: _part(arrays, f"member/{name}/") for name in given["members"]}
    predictor.members_ = restored(of_members, predictor.encoding_, predictor.worst_, predictor.model_)
    predictor.stacks_ = {
        tuple(name.split("+")): StackAt(chosen, epochs, Stack(**_part(arrays, f"stack/{name}/")))
        for name, (chosen, epochs) in given["stacks"].items()
    }
    predictor.neighbourhoods_ = {
        what: _neighbourhoods(_part(arrays, f"near/{what}/")) for what in ("losses", "spectra")
    }
    return predictor


def _neighbourhoods(arrays: dict[str, np.ndarray]) -> dict[int, Neighbourhood]:
    found = {}
    for epoch in sorted({int(name.split("/")[0]) for name in arrays}):
        part: dict[str, Any] = _part(arrays, f"{epoch}/")
        found[epoch] = Neighbourhood(**{**part, "limit": float(part["limit"])})
    return found


def _part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _digests(folder: Path, with_model: bool) -> dict[str, str]:
    """Of the files that must belong together."""
    names = (ARRAYS, *(MODEL_FILES if with_model else ()))
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
