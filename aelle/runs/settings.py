"""What of a configuration determines results, and its fingerprint."""

import hashlib
import json
from typing import Any


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """What determines a variant's results, its number apart. Where and how it runs, and how it is judged, does not.

    Nor do the chances that a model gives it, unless it is stopped by them: then the model counts by what it holds.
    """
    task = json.loads(json.dumps(config["task"]))
    task.pop("threshold", None)
    task["data"].pop("root", None)
    trainer = {name: value for name, value in config["trainer"].items() if name not in ("accelerator", "devices")}
    space = {name: config[name] for name in config["hyperparameters"]}
    fixed = {name: config[name] for name in ("seed", "epochs", "lyapunov")}
    prediction = config.get("prediction") or {}
    if prediction.get("prune") is not None:
        fixed["prediction"] = {name: prediction[name] for name in ("prune", "after", "digest")}
    return {**space, **fixed, "trainer": trainer, "task": task}


def fingerprint(config: dict[str, Any]) -> str:
    text = json.dumps(settings(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
