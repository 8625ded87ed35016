"""Checks of a configuration's options, before anything is trained."""

import os
from pathlib import Path
from typing import Any

from aelle.errors import UserError
from aelle.hyperparameters import why_reserved
from aelle.memory import parsed
from aelle.runs.format import MAX_EPOCHS, MAX_VARIANTS
from aelle.runs.settings import SEARCH_SETTINGS
from aelle.sweep.pruning_model import check_prediction
from aelle.terminal import option, pasted
from aelle.variants import check_space, check_spec, check_where

OPTIONS = (
    *("outputs", "sweep", "size", "pack_size", "pack", "variants", "seed", "repeats", "epochs", "hyperparameters"),
    "reference",
    *("task", "lyapunov", "prediction", "trainer", "logger", "search"),
)
"""The top level of a configuration; everything else there is a hyperparameter."""

SECTIONS = {
    "lyapunov": ("over", "sequences", "test", "steps", "k", "every_n_epochs", "precision"),
    "trainer": ("accelerator", "devices", "memory", "precision", "gradient_clip_val", "gradient_clip_algorithm"),
    "task": ("name", "threshold"),
}
"""Options that have options, and which of them every run reads."""

MAX_NAME = 255
"""Bytes of a folder's name that file systems allow."""


def with_names(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the names of all hyperparameters, those first that it lists itself."""
    listed = config["hyperparameters"]
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise UserError(f"hyperparameters={listed}: give a list of their names, e.g. [hidden_size,p]")
    if taken := [name for name in listed if name in OPTIONS]:
        raise UserError(f"hyperparameters: {taken[0]} is an option, not a hyperparameter; leave it out")
    names = [*dict.fromkeys([*listed, *(name for name in config if name not in OPTIONS)])]
    for name in names:
        if clash := why_reserved(name):
            raise UserError(f"{name} cannot be a hyperparameter: {clash}")
    return {**config, **{name: _with_text_keys(config.get(name)) for name in names}, "hyperparameters": names}


def _with_text_keys(spec: Any) -> Any:
    """A condition on numbers as it is read back from JSON."""
    if isinstance(spec, dict):
        return {str(key): _with_text_keys(value) for key, value in spec.items()}
    return spec


def check_options(config: dict[str, Any]) -> None:
    """Raise UserError for a value that no run could use."""
    for name, options in SECTIONS.items():
        section = config.get(name)
        if not isinstance(section, dict):
            raise UserError(
                f"{name}={section}: give its options one by one: {', '.join(f'{name}.{o}' for o in options)}"
            )
        if missing := [one for one in options if one not in section]:
            raise UserError(f"{name}.{missing[0]} is missing, which every run reads: do not delete it")
    search = config.get("search")
    if search is not None and not (isinstance(search, dict) and {*SEARCH_SETTINGS} <= {*search}):
        raise UserError(f"search={search}: choose search=optuna, or null")
    check_space({name: config.get(name) for name in config["hyperparameters"]})
    for name, most in (("epochs", MAX_EPOCHS), ("pack_size", MAX_VARIANTS), ("size", MAX_VARIANTS), ("repeats", None)):
        if not (name == "size" and config[name] is None):
            check_whole(name, config[name], 1, most)
    check_whole("seed", config["seed"], 0)
    check_reference(config)
    if config["repeats"] > 1 and config.get("variant_seed") is not None:
        raise UserError("repeats and variant_seed: repeated variants would be identical; give one of the two")
    lyapunov, trainer, threshold = config["lyapunov"], config["trainer"], config["task"]["threshold"]
    for name in ("sequences", "steps", "k"):
        if not (name != "sequences" and lyapunov[name] is None):
            check_whole(f"lyapunov.{name}", lyapunov[name], 1)
    epochs = lyapunov["every_n_epochs"]
    if not isinstance(epochs, list):
        check_whole("lyapunov.every_n_epochs", epochs, 1)
    elif not all(type(epoch) is int and epoch >= 0 for epoch in epochs):
        raise UserError(f"lyapunov.every_n_epochs={epochs}: give a whole number, or a list of epochs from 0 on")
    for name, value, allowed in (
        ("lyapunov.over", lyapunov["over"], ("hidden", "full")),
        ("lyapunov.precision", lyapunov["precision"], ("float64", "float32")),
        # A population is one model on one device. 16-mixed has one loss scale for all: a diverging variant changes it.
        ("trainer.devices", trainer["devices"], (1,)),
        ("trainer.precision", trainer["precision"], ("32-true", "64-true", "bf16-mixed")),
        ("trainer.gradient_clip_algorithm", trainer["gradient_clip_algorithm"], ("norm", "value")),
    ):
        if value not in allowed:
            raise UserError(f"{name}={value}: choose {' or '.join(map(str, allowed))}")
    parsed("trainer.memory", trainer["memory"])
    if trainer.get("accumulate_grad_batches", 1) != 1:
        raise UserError(
            "trainer.accumulate_grad_batches: a step is taken after every batch; choose a larger batch_size"
        )
    for name, value in (("task.threshold", threshold), ("trainer.gradient_clip_val", trainer["gradient_clip_val"])):
        optional = name == "trainer.gradient_clip_val" and value is None
        if not optional and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0):
            raise UserError(f"{name}={value}: give a number above 0")
    check_prediction(config)
    if not isinstance(config["outputs"], str):
        raise UserError(f"outputs={config['outputs']}: give the path of a folder")
    check_name(config["sweep"], config["outputs"])


def check_name(sweep: Any, outputs: str) -> None:
    """Raise UserError for what is no folder below `outputs`, and for one that repeats `outputs`, as for an analysis."""
    place = Path(sweep) if isinstance(sweep, str) and "\0" not in sweep else Path()
    for folder in dict.fromkeys([Path(outputs), Path(outputs).resolve()]):
        if folder.parts and place.parts[: len(folder.parts)] == folder.parts:
            name = Path(*place.parts[len(folder.parts) :])
            remedy = f"the name below it, {pasted(option('sweep', name))}" if name.parts else "another name"
            raise UserError(f"sweep={sweep}: {outputs} is where all sweeps are; give {remedy}")
    if not place.parts or place.is_absolute() or ".." in place.parts:
        raise UserError(f"sweep={sweep}: give the name of a folder below {outputs}")
    if longest := [part for part in place.parts if len(os.fsencode(part)) > MAX_NAME]:
        raise UserError(
            f"sweep={longest[0][:20]}…: this name has {len(os.fsencode(longest[0]))} bytes; give one of at most "
            f"{MAX_NAME}"
        )


def check_reference(config: dict[str, Any]) -> None:
    """Raise UserError unless it says how many networks there are for reference, and what they have instead of draws."""
    reference = config["reference"]
    if reference is None:
        return
    if config["size"] is None:
        raise UserError("reference: there is no sweep to compare with; set size=…, or reference=null")
    if not isinstance(reference, dict) or "size" not in reference:
        raise UserError(f"reference={reference}: give their number and values, e.g. {{size: 3, init: default}}")
    check_whole("reference.size", reference["size"], 1)
    for name, value in reference_values(config).items():
        if name not in config["hyperparameters"]:
            raise UserError(f"reference.{name}: {name} is not a hyperparameter of this sweep")
        check_spec(name, value)
        check_where(name, value, {name: config[name] for name in config["hyperparameters"]} | reference_values(config))


def reference_size(config: dict[str, Any]) -> int:
    return config["reference"]["size"] if config.get("reference") else 0


def reference_values(config: dict[str, Any]) -> dict[str, Any]:
    """The hyperparameters that the networks for reference have instead of draws."""
    return {name: value for name, value in (config.get("reference") or {}).items() if name != "size"}


def reference_space(config: dict[str, Any]) -> dict[str, Any]:
    """What the networks for reference are drawn from: seeds of their own unless they say otherwise."""
    space = {name: config.get(name) for name in config["hyperparameters"]}
    return space | ({"variant_seed": None} if "variant_seed" in space else {}) | reference_values(config)


def check_whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        allowed = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise UserError(f"{name}={value}: give a whole number {allowed}")
