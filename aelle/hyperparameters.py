"""The hyperparameters that aelle's own modules read: allowed values, defaults, and where they have a meaning.

A hyperparameter of a user's own module, or of a cell's constructor, is not listed here: it may be a number or a word.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from aelle.errors import UserError

NOT_READ = math.nan
"""The value of a hyperparameter that a variant does not read, such as the momentum of Adam."""

RESERVED = (
    *("variant", "number", "run", "row", "state", "error", "complete", "epoch", "seconds"),
    *("val_loss", "spectrum", "test_spectrum", "init_seed", "shuffle_seed", "final_loss", "low_error", "outside"),
    "checksum",
)
"""Columns of a run's, a sweep's and a report's tables, which no hyperparameter can have as its name."""


class Hyperparameter(NamedTuple):
    """`default`: its value where a search space says nothing. `allowed`: values that it may have, in words.

    `words`: it is one of these words; None: it is a number that `allows` accepts. `cuts`: variants that differ in it
    cannot be trained together, because it changes the shape of a tensor, the order of batches, or the optimizer.
    `where`: it is read only where another hyperparameter has one of these values.
    """

    default: Any
    allowed: str
    allows: Callable[[Any], bool] = lambda x: True
    words: tuple[str, ...] | None = None
    whole: bool = False
    cuts: bool = False
    where: tuple[str, tuple[str, ...]] | None = None


def _word(default: str, *others: str, cuts: bool = False) -> Hyperparameter:
    words = (default, *others)
    return Hyperparameter(default, f"one of {', '.join(words)}", words=words, cuts=cuts)


def _whole(default: Any, least: int = 1, most: int | float = math.inf, cuts: bool = False) -> Hyperparameter:
    allowed = f"a whole number of at least {least}" if most == math.inf else f"a whole number from {least} to {most}"
    return Hyperparameter(default, allowed, lambda x: x == int(x) and least <= x <= most, whole=True, cuts=cuts)


def _above_0(default: float, **where: tuple[str, ...]) -> Hyperparameter:
    return Hyperparameter(default, "a number above 0", lambda x: x > 0, where=next(iter(where.items()), None))


def _at_least_0(default: float) -> Hyperparameter:
    return Hyperparameter(default, "a number of at least 0", lambda x: x >= 0)


def _below_1(default: float, **where: tuple[str, ...]) -> Hyperparameter:
    allowed = "a number of at least 0 and below 1"
    return Hyperparameter(default, allowed, lambda x: 0 <= x < 1, where=next(iter(where.items()), None))


HYPERPARAMETERS: Mapping[str, Hyperparameter] = {
    "cell": Hyperparameter("lstm", "the name of a cell, e.g. lstm, gru, rnn or lem", words=(), cuts=True),
    "hidden_size": _whole(64, cuts=True),
    "layers": _whole(1, most=4, cuts=True),
    "readout": _word("last", "mean"),
    "init": _word("uniform", "default", "orthogonal", "xavier", "identity", "spectral"),
    "p": _above_0(NOT_READ, init=("uniform",)),
    "spectral_radius": _above_0(1.0, init=("spectral",)),
    "gain": _above_0(1.0),
    "forget_bias": Hyperparameter(0.0, "a number", where=("cell", ("lstm", "gru"))),
    "optimizer": _word("adam", "adamw", "sgd", "rmsprop", cuts=True),
    "learning_rate": _above_0(0.001),
    "schedule": _word("constant", "cosine", "step"),
    "warmup": _below_1(0.0),
    "weight_decay": _at_least_0(0.0),
    "momentum": _below_1(0.0, optimizer=("sgd", "rmsprop")),
    "beta1": _below_1(0.9, optimizer=("adam", "adamw")),
    "beta2": _below_1(0.999, optimizer=("adam", "adamw")),
    "gradient_clip": _above_0(math.inf),
    # A rate of nearly 1 is 1 in single precision.
    "dropout": Hyperparameter(0.0, "a number from 0 to 0.99", lambda x: 0 <= x <= 0.99),
    "label_smoothing": _below_1(0.0),
    "batch_size": _whole(32, cuts=True),
    "keep": Hyperparameter(1.0, "a number above 0 and at most 1", lambda x: 0 < x <= 1),
    "variant_seed": _whole(NOT_READ, least=0),
    "g": _above_0(1.0),
    "target": _word("fixed", "random"),
}


def default(name: str) -> Any:
    """The value of a hyperparameter of which a search space says nothing."""
    known = HYPERPARAMETERS.get(name)
    return NOT_READ if known is None else known.default


def cuts_packs(name: str, value: Any) -> bool:
    """Whether variants that differ in it are trained separately. Of a name that is not listed here, only floats may
    differ within a pack: whole numbers and words tend to change shapes."""
    known = HYPERPARAMETERS.get(name)
    return not isinstance(value, float) if known is None else known.cuts


def not_read(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def why_reserved(name: str) -> str:
    """Why no hyperparameter can have that name; "" if one can."""
    taken = name in RESERVED or re.fullmatch(r"chance_epoch_\d+", name)
    return f"the tables of results have a column of that name; rename it, e.g. to {name}_" if taken else ""


def check_value(name: str, value: Any) -> None:
    """Raise UserError for a value that the hyperparameter cannot have."""
    known = HYPERPARAMETERS.get(name)
    if known is not None and known.words is not None:
        if not isinstance(value, str) or (known.words and value not in known.words):
            raise UserError(f"{name}={value}: give {known.allowed}")
        return
    if known is None and isinstance(value, (str, bool)):
        return
    if isinstance(value, int) and abs(value) >= 2**63:
        raise UserError(f"{name} is beyond 2^63: give a smaller whole number")
    infinite = isinstance(value, float) and math.isinf(value) and (known is None or value != known.default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value) or infinite:
        allowed = known.allowed if known else "a number or a word"
        raise UserError(f"{name}={value!r} is not a finite number: give {allowed}")
    if known is not None and not known.allows(value):
        raise UserError(f"{name}={value}: give {known.allowed}")
