"""Checks of the options for prediction during training, and the identity of the model that prunes."""

import hashlib
from pathlib import Path
from typing import Any

from aelle.errors import UserError, reason
from aelle.files import MODEL_FILES, PREDICTOR_FILES, SAVED_FILES, UnfitFileError, read_regular, replace_folder
from aelle.terminal import option, pasted

MODEL_COPY = "pruning-model"
"""In a pruned sweep's folder: a copy of the model that prunes it, as an analysis may overwrite the original."""

MAX_MODEL = 1 << 30
"""Bytes of each of its files."""

AUTO = "auto"
"""As `prediction.prune`: the chance by which at most the share `prediction.may_lose` of low-error variants is lost."""


def check_prediction(config: dict[str, Any]) -> None:
    """Raises UserError for values that no run could use. The model's files are checked when it is loaded."""
    prediction = config["prediction"]
    if not isinstance(prediction, dict):
        raise UserError(f"prediction={prediction}: give prediction.model, prediction.prune and prediction.after")
    model, prune, after, may_lose = (prediction[name] for name in ("model", "prune", "after", "may_lose"))
    if model is not None and not isinstance(model, str):
        raise UserError(f"prediction.model={model}: give the folder of a model that an analysis saved, or null")
    if type(after) is not int or after < 0:
        raise UserError(f"prediction.after={after}: give an epoch, a whole number of at least 0")
    if not _is_share(may_lose):
        raise UserError(f"prediction.may_lose={may_lose}: give a share of the low-error variants, between 0 and 1")
    if prune is None:
        return
    if prune != AUTO and not _is_share(prune):
        raise UserError(f"prediction.prune={prune}: give a chance between 0 and 1, {AUTO}, or null")
    if model is None:
        raise UserError(
            f"prediction.prune={prune} needs a model: give the folder of one that an analysis saved, e.g. "
            "prediction.model=outputs/digits/model"
        )
    least = [name for name in ("min_epochs", "min_steps") if config["trainer"].get(name) is not None]
    if least:
        raise UserError(f"trainer.{least[0]} and prediction.prune cannot be combined: leave one of them out")
    if after >= config["epochs"]:
        raise UserError(
            f"prediction.after={after}: a run has {config['epochs']} epochs, and nothing is left to save after the "
            "last; give an earlier epoch"
        )


def _is_share(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, (int, float)) and 0 < value < 1


def with_digest(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the digest of the model that prunes, if one does: another model in the same folder would
    give other results. Raises UserError if the model's files cannot be read."""
    prediction = config["prediction"]
    if prediction["prune"] is None:
        return config
    folder = Path(prediction["model"])
    if not folder.exists():
        raise UserError(f"prediction.model={folder} does not exist: give the folder of a model that an analysis saved")
    try:
        return {**config, "prediction": {**prediction, "digest": _digest(folder)}}
    except (OSError, UnfitFileError) as error:
        why = f"{Path(error.filename).name}: {reason(error)}" if isinstance(error, OSError) else str(error)
        raise UserError(
            f"prediction.model={folder} contains no complete predictor ({why}): give the folder of a model that an "
            "analysis saved"
        ) from error


def keep_model(sweep: Path, config: dict[str, Any]) -> None:
    """Copy the model that prunes the sweep, if one does, to the sweep's folder. Raises OSError."""
    prediction = config.get("prediction") or {}
    if prediction.get("prune") is None:
        return
    source, kept = Path(prediction["model"]), sweep / MODEL_COPY
    if kept.exists() and kept.samefile(source):
        return
    check_digest(prediction)
    if kept.exists() and _digest(kept) != prediction["digest"]:
        raise UserError(
            f"{sweep} was pruned by the model in {kept}: use that one, or start another sweep with sweep=NAME"
        )
    files = {name: read_regular(source / name, MAX_MODEL) for name in _files(source)}
    replace_folder(kept, lambda new: [(new / name).write_bytes(files[name]) for name in files], SAVED_FILES)


def check_digest(prediction: dict[str, Any]) -> None:
    """Raises UserError if the model that prunes has changed since this process started."""
    if prediction.get("digest") is None:
        return
    try:
        same = _digest(Path(prediction["model"])) == prediction["digest"]
    except (OSError, UnfitFileError):
        same = False
    if not same:
        raise UserError(
            f"prediction.model={prediction['model']} has been rewritten since this sweep started: resume with the "
            f"copy in the sweep's folder, {MODEL_COPY}, or start another sweep"
        )


def another_model(sweep: Path, there: dict[str, Any], now: dict[str, Any]) -> str:
    """The error if a sweep is resumed with another model than the one it was started with and has a copy of, or ""."""
    digests = [(one.get("prediction") or {}).get("digest") for one in (there, now)]
    try:
        if None in digests or digests[0] == digests[1] or _digest(sweep / MODEL_COPY) != digests[0]:
            return ""
    except (OSError, UnfitFileError):
        return ""
    kept = pasted(option("prediction.model", sweep / MODEL_COPY))
    return (
        f"prediction.model={now['prediction']['model']} is not the model that {sweep} was started with, or has been "
        f"rewritten since: resume with {kept}, or start another sweep with sweep=NAME"
    )


def _files(folder: Path) -> list[str]:
    """A predictor that was fitted without spectra has no AeLLE."""
    return [*PREDICTOR_FILES, *(name for name in MODEL_FILES if (folder / name).exists())]


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in _files(folder):
        digest.update(read_regular(folder / name, MAX_MODEL))
    return digest.hexdigest()[:16]
