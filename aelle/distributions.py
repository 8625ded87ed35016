"""Distributions of a hyperparameter, written as text.

    uniform(2.0, 3.0)           from the interval
    log_uniform(1e-4, 1e-1)     the logarithm is uniform
    integers(8, 64)             8, 9, …, 64
    normal(0, 0.5)              mean and standard deviation
    log_normal(-7, 1)           the logarithm is normal, with this mean and standard deviation
    choice(lstm, gru)           one of these, words or numbers

All but choice take a last argument `step=`: uniform(0, 0.5, step=0.1) draws 0, 0.1, …, 0.5 with equal chances, and so
does integers; the others are rounded to a multiple of it.
"""

import math
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from aelle.errors import UserError

Value = int | float | str

ALLOWED = (
    "a value, a list, or uniform(a, b), log_uniform(a, b), integers(a, b), normal(mean, sd), log_normal(mean, sd) "
    "or choice(a, b, …)"
)

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")

LARGEST = 1e15
"""Largest number of a distribution, and of its steps: beyond it, neighbouring whole numbers are the same float."""

DRAWS: dict[str, Callable[[np.random.Generator, float, float], float]] = {
    "uniform": lambda rng, low, high: float(rng.uniform(low, high)),
    "log_uniform": lambda rng, low, high: math.exp(rng.uniform(math.log(low), math.log(high))),
    "integers": lambda rng, low, high: int(rng.integers(int(low), int(high), endpoint=True)),
    "normal": lambda rng, mean, sd: float(rng.normal(mean, sd)),
    "log_normal": lambda rng, mean, sd: float(rng.lognormal(mean, sd)),
}


class Distribution(NamedTuple):
    """`arguments`: the two bounds, mean and standard deviation, or the values of a choice."""

    function: str
    arguments: tuple[Value, ...]
    step: float | None = None

    @property
    def values(self) -> tuple[Value, ...] | None:
        """What it can draw, of a choice; None for any other."""
        return self.arguments if self.function == "choice" else None

    @property
    def bounds(self) -> tuple[Value, ...]:
        """The least and the largest draw, where there are such."""
        if self.function not in ("uniform", "log_uniform", "integers"):
            return ()
        return tuple(map(int, self.arguments)) if self.function == "integers" else self.arguments  # pyright: ignore[reportArgumentType]

    @property
    def whole(self) -> bool:
        """Whether all draws are whole numbers."""
        if self.function == "choice":
            return all(isinstance(value, int) for value in self.arguments)
        whole_step = self.step is not None and self.step == int(self.step)
        return self.function == "integers" or (whole_step and (self.function != "uniform" or _whole(self.arguments[0])))

    def draw(self, rng: np.random.Generator) -> Value:
        if self.function == "choice":
            return self.arguments[int(rng.integers(len(self.arguments)))]
        first, second = (float(x) for x in self.arguments)
        if self.step is None:
            return DRAWS[self.function](rng, first, second)
        if self.function in ("uniform", "integers"):
            steps = math.floor((second - first) / self.step + 1e-9)
            return self._on_grid(first + self.step * int(rng.integers(steps, endpoint=True)))
        return self.rounded(DRAWS[self.function](rng, first, second))

    def rounded(self, value: float) -> int | float:
        """The nearest multiple of the step, within the bounds of log_uniform; of uniform and integers, the nearest
        whole number of steps from the lower bound."""
        assert self.step is not None
        first, second = (float(x) for x in self.arguments)
        if self.function in ("uniform", "integers"):
            return self._on_grid(first + self.step * round((value - first) / self.step))
        value = self.step * round(value / self.step)
        if self.function == "log_uniform":
            lowest, highest = math.ceil(first / self.step - 1e-9), math.floor(second / self.step + 1e-9)
            value = min(max(value, self.step * lowest), self.step * highest)
        return self._on_grid(value)

    def _on_grid(self, value: float) -> int | float:
        # 0.1 · 3 is 0.30000000000000004.
        return int(value) if self.whole else float(f"{value:.12g}")


def is_distribution(spec: object) -> bool:
    return isinstance(spec, str) and "(" in spec


def parse(name: str, spec: str) -> Distribution:
    """Raises UserError, naming the hyperparameter, for anything else than a distribution that can be drawn from."""
    match = re.fullmatch(r"\s*(\w+)\((.*)\)\s*", spec)
    if spec.count("(") > spec.count(")"):
        raise UserError(f'{name}={spec}: a ) is missing; within braces, quote a distribution, as in "uniform(a, b)"')
    if not match or match[1] not in (*DRAWS, "choice"):
        raise UserError(f"{name}={spec!r} is not a distribution: give {ALLOWED}")
    function, texts, step = match[1], [text.strip() for text in match[2].split(",")], None
    if function == "choice":
        values = tuple(_value(text) for text in texts)
        if "" in values or any(isinstance(value, str) and re.search(r"[()=]", value) for value in values):
            raise UserError(f"{name}={spec}: give choice(a, b, …) of words or numbers")
        return Distribution(function, values)
    if found := re.fullmatch(r"step\s*=\s*(.*)", texts[-1]):
        step = _value(found[1])
        texts.pop()
    arguments = tuple(_value(text) for text in texts)
    numbers = [x for x in (*arguments, *([] if step is None else [step])) if isinstance(x, str)]
    if len(arguments) != 2 or numbers:
        raise UserError(f"{name}={spec!r} is not a distribution: give {ALLOWED}")
    return _checked(name, spec, Distribution(function, arguments, None if step is None else float(step)))


def _checked(name: str, spec: str, distribution: Distribution) -> Distribution:
    function, (first, second), step = distribution.function, map(float, distribution.arguments), distribution.step
    if max(abs(first), abs(second), step or 0.0) > LARGEST:
        raise UserError(f"{name}={spec}: its numbers must not be larger than {LARGEST:g}")
    if function in ("normal", "log_normal"):
        if not second > 0:
            raise UserError(f"{name}={spec}: the standard deviation must be above 0")
    elif not first < second or (function == "log_uniform" and first <= 0):
        raise UserError(f"{name}={spec}: the lower bound must be below the upper, and positive for log_uniform")
    if function == "integers" and not all(map(_whole, (first, second, 1 if step is None else step))):
        raise UserError(f"{name}={spec}: the bounds and the step of integers(a, b) must be whole numbers")
    if step is not None and not step > 0:
        raise UserError(f"{name}={spec}: the step must be above 0")
    if step is not None and max(abs(first), abs(second)) / step > LARGEST:
        raise UserError(f"{name}={spec}: the step is too small; at most {LARGEST:g} steps make sense")
    if step is not None and function == "log_uniform" and math.ceil(first / step - 1e-9) * step > second:
        raise UserError(f"{name}={spec}: there is no multiple of {step:g} between {first:g} and {second:g}")
    return distribution


def _value(text: str) -> Value:
    """A number where it is written as one, and true and false; a word may be in quotes."""
    if text in ("true", "false"):
        return text == "true"
    if NUMBER.fullmatch(text):
        return int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text)
    return text.strip("'\"")


def _whole(x: Value) -> bool:
    return not isinstance(x, str) and math.isfinite(x) and x == int(x)
