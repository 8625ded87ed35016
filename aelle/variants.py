"""A variant's hyperparameters and seeds, which the sweep's seed and the variant's number alone determine.

A hyperparameter is given in the configuration as
    0.01                        a value: the same for every variant
    [32, 64, 128, 256]          assigned in turn; several lists are assigned in all combinations
    uniform(2.0, 3.0)           drawn from the interval
    log_uniform(1e-4, 1e-1)     its logarithm drawn uniformly
    integers(8, 64)             drawn from 8, 9, …, 64
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aelle.errors import UserError
from aelle.seeds import generator, seed_for

DISTRIBUTIONS = {
    "uniform": lambda rng, low, high: float(rng.uniform(low, high)),
    "log_uniform": lambda rng, low, high: math.exp(rng.uniform(math.log(low), math.log(high))),
    "integers": lambda rng, low, high: int(rng.integers(int(low), int(high), endpoint=True)),
}
ALLOWED = "a number, a list, uniform(a, b), log_uniform(a, b) or integers(a, b)"
WHOLE = (lambda x: x == int(x) and x >= 1, "a whole number of at least 1")
POSITIVE = (lambda x: x > 0, "a number above 0")
NUMERIC = {
    "hidden_size": WHOLE,
    "batch_size": WHOLE,
    "p": POSITIVE,
    "g": POSITIVE,
    "learning_rate": POSITIVE,
    "keep": (lambda x: 0 < x <= 1, "a number above 0 and at most 1"),
    "dropout": (lambda x: 0 <= x < 1, "a number of at least 0 and below 1"),
}
"""Allowed values of a hyperparameter: a test, and its description."""

WORDS = {"cell": ("lstm", "gru", "rnn"), "target": ("fixed", "random")}
"""Hyperparameters whose values are names, not numbers."""

SCALING = ("p", "g")
"""Hyperparameters that may differ within a pack: only the initial scale and the seeds do."""


@dataclass(frozen=True)
class Variant:
    number: int
    hyperparameters: dict[str, Any]
    seeds: dict[str, int]

    @property
    def shape(self) -> tuple:
        """What the variants of one pack have in common."""
        return tuple(value for name, value in self.hyperparameters.items() if name not in SCALING)


def check_space(space: Mapping[str, Any]) -> None:
    """Raise UserError for a search space that cannot be drawn from, before anything is trained."""
    if not space:
        raise UserError("the search space is empty: give its names, e.g. hyperparameters=[hidden_size,p]")
    for name, spec in space.items():
        if isinstance(spec, Sequence) and not isinstance(spec, str):
            if not len(spec):
                raise UserError(f"{name}=[] is an empty list: give {ALLOWED}")
            for value in spec:
                _check_value(name, value)
        elif isinstance(spec, str) and name not in WORDS:
            function, low, high = _parse(name, spec)
            if not low < high or (function == "log_uniform" and low <= 0):
                raise UserError(f"{name}={spec}: the lower bound must be below the upper, and positive for log_uniform")
            if NUMERIC.get(name) is WHOLE and function != "integers":
                raise UserError(f"{name}={spec}: {name} must be a whole number; give integers(a, b), a list or a value")
            for bound in (low, high):
                _check_value(name, int(bound) if function == "integers" and bound == int(bound) else bound)
                if function == "integers" and bound != int(bound):
                    raise UserError(f"{name}={spec}: the bounds of integers(a, b) must be whole numbers")
        else:
            _check_value(name, spec)


def _check_value(name: str, value: Any) -> None:
    if name in WORDS:
        if value not in WORDS[name]:
            raise UserError(f"{name}={value}: choose one of {', '.join(WORDS[name])}")
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UserError(f"{name}={value!r} is not a finite number: give {ALLOWED}")
    if name in NUMERIC:
        allows, allowed = NUMERIC[name]
        if not allows(value):
            raise UserError(f"{name}={value}: give {allowed}")


def _parse(name: str, spec: str) -> tuple[str, float, float]:
    number = r"\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*"
    match = re.fullmatch(rf"\s*(\w+)\({number},{number}\)\s*", spec)
    if not match or match[1] not in DISTRIBUTIONS:
        raise UserError(f"{name}={spec!r} is not a distribution: give {ALLOWED}")
    try:
        return match[1], float(match[2]), float(match[3])
    except ValueError:
        raise UserError(f"{name}={spec!r} has a bound that is not a number: give {ALLOWED}") from None


def draw(space: Mapping[str, Any], seed: int, number: int) -> Variant:
    """The variant with this number in the sweep with this seed."""
    hyperparameters, dealt = {}, number
    for name, spec in space.items():
        if isinstance(spec, str) and name not in WORDS:
            function, low, high = _parse(name, spec)
            hyperparameters[name] = DISTRIBUTIONS[function](generator(seed, number, name), low, high)
        elif isinstance(spec, Sequence) and not isinstance(spec, str):
            hyperparameters[name] = spec[dealt % len(spec)]
            dealt //= len(spec)
        else:
            hyperparameters[name] = spec
    seeds = {purpose: seed_for(seed, number, f"{purpose} seed") for purpose in ("init", "shuffle")}
    return Variant(number, hyperparameters, seeds)


def cost(variant: Variant) -> float:
    """Relative training time, units^1.5: between that of small networks (∝ units) and of large ones (∝ units²)."""
    units = variant.hyperparameters.get("hidden_size", 1)
    return units**1.5 if isinstance(units, (int, float)) and units > 0 else 1.0
