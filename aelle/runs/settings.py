"""The part of a configuration that determines results, and its fingerprint."""

import hashlib
import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any

SEARCH_SETTINGS = ("sampler", "prune")
"""What of `search` determines which variants a sweep has, and which are stopped."""


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """What determines a variant's results besides its number: not where it runs, nor the threshold.

    Nor does a model that only predicts. A model that prunes does; it enters by the digest of its contents.
    """
    task = json.loads(json.dumps(config["task"]))
    task.pop("threshold", None)
    task["data"].pop("root", None)
    where = ("accelerator", "devices", "memory")
    trainer = {name: value for name, value in config["trainer"].items() if name not in where}
    space = {name: config.get(name) for name in config["hyperparameters"]}
    fixed = {name: config[name] for name in ("seed", "repeats", "epochs", "lyapunov")}
    if config.get("reference") is not None:
        # Which numbers are for reference, and what they have.
        fixed["reference"] = {**config["reference"], "size": config["size"]}
    prediction = config.get("prediction") or {}
    if prediction.get("prune") is not None:
        names = ("prune", "after", "digest", *(["may_lose"] if prediction["prune"] == "auto" else []))
        fixed["prediction"] = {name: prediction[name] for name in names}
    if config.get("search") is not None:
        fixed["search"] = {name: config["search"][name] for name in SEARCH_SETTINGS}
    return {**space, **fixed, "trainer": trainer, "task": task}


def fingerprint(config: dict[str, Any]) -> str:
    text = json.dumps(settings(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def target(options: Mapping[str, Any]) -> Any:
    """The object that `_target_` names. An import that fails inside its module is raised as it is."""
    module, _, name = str(options["_target_"]).rpartition(".")
    return getattr(import_module(module), name)
