"""A sweep's search space in Optuna's terms.

    [32, 64], choice(lstm, gru)      CategoricalDistribution
    uniform, log_uniform             FloatDistribution, with `step` or `log`
    integers                         IntDistribution
    normal, log_normal               FloatDistribution, from three standard deviations below the mean to three above

A list or distribution that depends on another hyperparameter is a parameter for each of its values, `name.value`:
Optuna's samplers model a parameter by one distribution. Single values are no parameters.
"""

import math
from collections.abc import Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalChoiceType,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import BaseTrial

from aelle.distributions import Distribution, parse
from aelle.errors import UserError
from aelle.hyperparameters import check_value
from aelle.variants import Space, Variant, is_open, variant_of

STANDARD_DEVIATIONS = 3.0
"""Of a normal distribution: how far from its mean is searched."""


def suggested(trial: BaseTrial, space: Space, seed: int) -> Variant:
    """The variant of a trial, which has its number; what the trial has no value of yet is suggested."""

    def chosen(name: str, spec: Any, branch: str | None) -> Any:
        key = name if branch is None else f"{name}.{branch}"
        return _suggested(trial, key, spec if not isinstance(spec, str) else parse(name, spec))

    return variant_of(space, seed, trial.number, chosen)


def check_searched(space: Space) -> None:
    """Raises UserError if nothing is left open, or if a value could be suggested that is not allowed."""
    specs = {name: [*_branches(spec)] for name, spec in space.items()}
    if not any(is_open(spec) for some in specs.values() for spec in some):
        raise UserError(
            "search: every hyperparameter has a single value, so that there is nothing to search; give a list or a "
            "distribution, e.g. 'learning_rate=\"log_uniform(1e-4, 1e-1)\"'"
        )
    for name, some in specs.items():
        for spec in some:
            if isinstance(spec, str) and is_open(spec):
                _check_bounds(name, spec)


def distribution_of(spec: Any) -> BaseDistribution:
    """Optuna's distribution for a list, or for one of ours."""
    if not isinstance(spec, Distribution):
        return CategoricalDistribution(_choices(spec))
    if spec.values is not None:
        return CategoricalDistribution(_choices(spec.values))
    low, high = _bounds(spec)
    if spec.function == "integers":
        step = int(spec.step or 1)
        return IntDistribution(int(low), int(low) + (int(high) - int(low)) // step * step, step=step)
    log = spec.function in ("log_uniform", "log_normal")
    if spec.function != "uniform" or spec.step is None:
        return FloatDistribution(low, high, log=log)
    # Optuna wants a whole number of steps between the bounds.
    return FloatDistribution(low, low + spec.step * math.floor((high - low) / spec.step + 1e-9), step=spec.step)


def _suggested(trial: BaseTrial, key: str, spec: Any) -> Any:
    asked = distribution_of(spec)
    if isinstance(asked, CategoricalDistribution):
        return trial.suggest_categorical(key, asked.choices)
    if isinstance(asked, IntDistribution):
        return trial.suggest_int(key, asked.low, asked.high, step=asked.step)
    assert isinstance(asked, FloatDistribution)
    value = trial.suggest_float(key, asked.low, asked.high, step=asked.step, log=asked.log)
    return value if spec.step is None else spec.rounded(value)


def _choices(values: Any) -> list[CategoricalChoiceType]:
    return list(dict.fromkeys(values))


def _bounds(spec: Distribution) -> tuple[float, float]:
    first, second = (float(x) for x in spec.arguments)
    if spec.bounds:
        return first, second
    low, high = first - STANDARD_DEVIATIONS * second, first + STANDARD_DEVIATIONS * second
    return (math.exp(low), math.exp(high)) if spec.function == "log_normal" else (low, high)


def _check_bounds(name: str, spec: str) -> None:
    distribution = parse(name, spec)
    if distribution.values is not None or distribution.bounds:
        return
    for bound in _bounds(distribution):
        try:
            check_value(name, bound if distribution.step is None else distribution.rounded(bound))
        except (UserError, OverflowError) as error:
            raise UserError(
                f"{name}={spec}: a search goes {STANDARD_DEVIATIONS:g} standard deviations to both sides of the mean, "
                f"where it is not allowed ({error}); give uniform(a, b) or log_uniform(a, b)"
            ) from None


def _branches(spec: Any) -> list[Any]:
    return list(next(iter(spec.values())).values()) if isinstance(spec, Mapping) else [spec]
