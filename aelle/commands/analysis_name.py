"""What tells one analysis of a sweep from another, as a name and in words."""

import re
from typing import Any

from aelle.model.autoencoder import Training
from aelle.model.estimator import AeLLE
from aelle.sweep.plan import shortened


def analysis_name(settings: list[str], threshold: float | None, usual: float) -> str:
    """What tells an analysis from the usual one of its sweep: other options of AeLLE, and another threshold than the
    task's, which arrays do not have. Empty for the usual one."""
    parts = []
    for setting in sorted(settings, key=lambda one: one.lstrip("+~").partition("=")[0]):
        name, _, value = setting.lstrip("+~").partition("=")
        if name != "aelle":
            parts.append(f"{name.removeprefix('aelle.')}-{value}")
        elif value != "default":
            parts.append(value)
    if threshold is not None and threshold != usual:
        parts.append(f"threshold-{threshold:.6g}")
    return shortened(re.sub(r"[^\w.]+", "-", "-".join(parts)).strip("-"))


def in_words(parameters: dict[str, Any]) -> str:
    """AeLLE's parameters that are not the defaults."""
    usual = AeLLE(1.0).get_params() | {"alphas": list(Training.alphas)}
    changed = [f"{name} {value}" for name, value in parameters.items() if value != usual[name]]
    return ", ".join(changed) or "default settings"
