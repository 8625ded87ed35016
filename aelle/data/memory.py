"""Tasks of memory, generated from a seed: no download, and as long as one likes.

Training, validation and test part are drawn from separate streams of random numbers. Axes: T step, I input.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from aelle.data.images import Part, Sequences
from aelle.errors import UserError
from aelle.seeds import generator

SYMBOLS = 8
"""How many different symbols `recall` and `copy` ask for."""


@lru_cache
def recall(
    steps: int, noise: float | int, train: int = 2000, val: int = 500, test: int = 500, seed: int = 0
) -> Sequences:
    """A symbol to be named after `steps` steps: one of 8 at the first step, one-hot, and only noise on the same inputs
    after it, of standard deviation `noise`.

    The latching problem of Bengio, Simard & Frasconi (1994), the "two-sequence problem" of Hochreiter & Schmidhuber
    (1997), with 8 classes. Guessing costs ln 8 = 2.08 nats.
    """
    check_whole("steps", steps, least=2)
    check_number("noise", noise, least=0.0)

    def draw(rng: np.random.Generator, n: int) -> Part:
        symbol = rng.integers(SYMBOLS, size=n)
        x = noise * rng.standard_normal((n, steps, SYMBOLS), np.float32)
        x[:, 0] = np.eye(SYMBOLS)[symbol]
        return part(x, symbol)

    return from_seed("recall", draw, (train, val, test), seed, classes=SYMBOLS)


@lru_cache
def adding(steps: int, train: int = 2000, val: int = 500, test: int = 500, seed: int = 0) -> Sequences:
    """The sum of two marked numbers, asked for at the end. Inputs: a number on [0, 1) at each step, and a marker, 1 at
    two steps, one in each half of the sequence, and 0 elsewhere.

    The adding problem of Hochreiter & Schmidhuber (1997), in the form of Arjovsky, Shah & Bengio (2016). The best
    constant answer, 1, has a mean squared error of 1/6, the variance of the sum.
    """
    check_whole("steps", steps, least=2)

    def draw(rng: np.random.Generator, n: int) -> Part:
        half, row = steps // 2, np.arange(n)
        x = np.zeros((n, steps, 2), np.float32)
        x[..., 0] = rng.random((n, steps), np.float32)
        first, second = rng.integers(half, size=n), rng.integers(half, steps, size=n)
        x[row, first, 1] = x[row, second, 1] = 1
        return part(x, x[row, first, :1] + x[row, second, :1])

    return from_seed("adding", draw, (train, val, test), seed)


def from_seed(
    name: str,
    draw: Callable[[np.random.Generator, int], Part],
    sizes: tuple[int, int, int],
    seed: int,
    classes: int = 0,
) -> Sequences:
    """Training, validation and test part of these sizes, each by `draw(generator, size)` from its own generator.

    Raises UserError for a size below 1 or a negative seed, named as options of `task.data`.
    """
    names = ("train", "val", "test")
    for which, size in zip(names, sizes, strict=True):
        check_whole(which, size, least=1)
    check_whole("seed", seed, least=0)
    parts = [draw(generator(seed, name, which), size) for which, size in zip(names, sizes, strict=True)]
    return Sequences(*parts, classes=classes)


def part(x: np.ndarray, y: np.ndarray) -> Part:
    return Part(torch.from_numpy(x), torch.from_numpy(y))


def check_whole(name: str, value: Any, least: int) -> None:
    if type(value) is not int or value < least:
        raise UserError(f"task.data.{name}={value}: give a whole number of at least {least}")


def check_number(name: str, value: Any, least: float) -> None:
    if type(value) not in (int, float) or not least <= value < math.inf:
        raise UserError(f"task.data.{name}={value}: give a number of at least {least:g}")
