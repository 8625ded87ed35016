"""Names of the run folders that no pack has: of single variants, and of runs put together by hand."""

import hashlib
import re

from aelle.variants import Variant

NOT_IN_A_LABEL = (
    "task",
    "experiment",
    "sweep",
    "outputs",
    "pack",
    "logger",
    "prediction.model",
    "trainer.accelerator",
    "trainer.devices",
    "task.data.root",
)


def numbers_label(variants: list[Variant]) -> str:
    numbers = [v.number for v in variants]
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"variants-{numbers[0]}-{numbers[-1]}"
    return _shortened("variants-" + ",".join(map(str, numbers)))


def overrides_label(overrides: list[str]) -> str:
    """A folder's name for a run that its overrides tell apart."""
    telling = [
        o.lstrip("+~")
        for o in overrides
        if (name := o.lstrip("+~").split("=")[0]) not in NOT_IN_A_LABEL and not name.startswith("logger.")
    ]
    return _shortened(re.sub(r"[^\w.,=+-]", "_", ",".join(sorted(telling))).lstrip(".")) or "defaults"


def _shortened(name: str) -> str:
    """File systems allow 255 bytes; what is cut off goes on to tell names apart."""
    return name if len(name) <= 120 else f"{name[:110]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
