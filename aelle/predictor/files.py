"""A fitted EarlyPredictor as files: `predictor.json` and `predictor.npz`, next to those of its AeLLE."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aelle.files import MODEL_FILES, PREDICTOR_FILES, SAVED_FILES, digest, refuse_unless, replace_folder
from aelle.model.estimator import AeLLE
from aelle.model.parameters import check_threshold
from aelle.model.saved import MAX_ARRAYS, check_finite, check_learned_from, read_saved, reading, write_saved
from aelle.predictor.encoding import Encoding
from aelle.predictor.low_chances import LowChances
from aelle.predictor.members import restored
from aelle.predictor.outside import Neighbourhood
from aelle.predictor.stacking import Stack, StackAt

if TYPE_CHECKING:
    from aelle.predictor.early_predictor import EarlyPredictor

FORMAT = 3

CHANCES = "low/"
"""Before the names of arrays that may contain NaN: chances of variants that had none."""


def write_predictor(folder: Path, predictor: "EarlyPredictor") -> None:
    replace_folder(folder, lambda new: _write(new, predictor), SAVED_FILES)


def _write(folder: Path, predictor: "EarlyPredictor") -> None:
    """Into a new folder."""
    if predictor.model_ is not None:
        predictor.model_.learned_from_ = predictor.learned_from_
        predictor.model_.write(folder)
    low = {f"{CHANCES}{name}": array for name, array in predictor.low_chances_._asdict().items()}
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
        "model": _digests(folder, predictor.model_ is not None),
    }
    write_saved(folder, PREDICTOR_FILES, description, arrays_of(predictor) | low)


def remove_predictor(folder: Path) -> None:
    """Remove the files of a saved predictor, and the folder if nothing else is in it. A link is not followed."""
    refuse_unless(folder, "folder")
    for name in SAVED_FILES:
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
    with reading(folder, PREDICTOR_FILES[0], "predictor"):
        if (folder / MODEL_FILES[0]).exists() and not (folder / PREDICTOR_FILES[0]).exists():
            raise ValueError("it has an AeLLE alone, which aelle.AeLLE.load reads: analyze its sweep again")
        return _read(folder, kind)


def _read(folder: Path, kind: "type[EarlyPredictor]") -> "EarlyPredictor":
    given, arrays = read_saved(folder, PREDICTOR_FILES, FORMAT)
    with_model = bool(given["model"])
    if _digests(folder, with_model) != given["model"]:
        raise ValueError("its files do not belong together")
    learned_from = given["learned_from"]
    check_learned_from(learned_from)
    check_threshold(given["threshold"])
    check_finite(arrays, CHANCES)
    predictor = kind(given["threshold"], aelle=given["aelle"], seed=given["seed"])
    predictor.learned_from_ = learned_from
    predictor.epochs_, predictor.base_rate_ = given["epochs"], given["base_rate"]
    names = given["loss_names"]
    predictor.loss_names_ = None if names is None else np.array(names)
    predictor.low_chances_ = LowChances(**_part(arrays, CHANCES))
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
    """Of the files of its AeLLE, if it has one."""
    return {name: digest(folder / name, MAX_ARRAYS) for name in (MODEL_FILES if with_model else ())}
