"""Tasks of memory, generated from a seed: no download, and as long as one likes.

Training, validation and test part are drawn from separate streams of random numbers. Axes: T step, I input.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from numbers import Integral
from typing import Any

import numpy as np
import torch

from aelle.data.images import Part, Sequences
from aelle.errors import UserError
from aelle.seeds import generator

SYMBOLS = 8
"""How many different symbols `recall` and `copy` ask for."""

BLANK, MARK = SYMBOLS, SYMBOLS + 1
"""Inputs of `copy` that are no symbols: nothing, and the question."""


@lru_cache
def recall(
    steps: int, noise: float | int, train: int = 2000, val: int = 500, test: int = 500, seed: int = 0
) -> Sequences:
    """A symbol to be named after `steps` steps: one of 8 at the first step, one-hot, and only noise on the same inputs
    after it, of standard deviation `noise`.

    The latching problem of Bengio, Simard & Frasconi (1994), the "two-sequence problem" of Hochreiter & Schmidhuber
    (1997), with 8 classes. Guessing costs ln 8 = 2.08 nats.

    `train`, `val` and `test`: how many sequences each part has, drawn from `seed`. Raises ValueError for sizes that
    cannot be.
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

    `train`, `val` and `test`: how many sequences each part has, drawn from `seed`. Raises ValueError for sizes that
    cannot be.
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


@lru_cache
def copy(delay: int, length: int = 10, train: int = 2000, val: int = 500, test: int = 500, seed: int = 0) -> Sequences:
    """`length` symbols of 8, to be repeated in order `delay` steps after the last of them, when a mark asks for it.

    There are delay + 2 length steps, and an answer after each. The inputs are symbols 0..7 at the first `length` steps,
    MARK before the last `length`, and BLANK elsewhere; the answer is BLANK until MARK, and then the symbols. Answering
    BLANK and then guessing costs length ln 8 / (delay + 2 length) nats per step. The copying memory problem after
    Hochreiter & Schmidhuber (1997), as Arjovsky, Shah & Bengio (2016) have it.

    `train`, `val` and `test`: how many sequences each part has, drawn from `seed`. Raises ValueError for sizes that
    cannot be.
    """
    check_whole("delay", delay, least=1)
    check_whole("length", length, least=1)

    def draw(rng: np.random.Generator, n: int) -> Part:
        symbols = rng.integers(SYMBOLS, size=(n, length))
        x, y = np.full((2, n, delay + 2 * length), BLANK)
        x[:, :length] = y[:, -length:] = symbols
        x[:, -length - 1] = MARK
        return part(x, y)

    return from_seed("copy", draw, (train, val, test), seed, classes=SYMBOLS + 1, symbols=SYMBOLS + 2)


def copy_threshold(delay: int, length: int) -> float:
    """A tenth of the loss of guessing the symbols, to two digits, in nats per step."""
    check_whole("delay", delay, least=1)
    check_whole("length", length, least=1)
    return float(f"{length * math.log(SYMBOLS) / (delay + 2 * length) / 10:.2g}")


@lru_cache
def flip_flop(
    steps: int, bits: int, pulses: float | int, train: int = 1000, val: int = 300, test: int = 300, seed: int = 0
) -> Sequences:
    """The sign of the last pulse of each input, asked for after every step, [n, T, bits] of ±1.

    At each step after the first, an input is +1 or −1 with probability `pulses`, and 0 otherwise; at the first step it
    is +1 or −1. The constant answer 0 has a mean squared error of 1; a network without memory, which knows the sign of
    present pulses only, has (1 − pulses) (steps − 1) / steps. The 3-bit flip-flop of Sussillo & Barak (2013).

    `train`, `val` and `test`: how many sequences each part has, drawn from `seed`. Raises ValueError for sizes that
    cannot be.
    """
    check_whole("steps", steps, least=2)
    check_whole("bits", bits, least=1)
    check_share("pulses", pulses)

    def draw(rng: np.random.Generator, n: int) -> Part:
        pulsed = rng.random((n, steps, bits), np.float32) < pulses
        pulsed[:, 0] = True
        signs = rng.choice(np.array([-1, 1], np.float32), (n, steps, bits))
        # The step of the last pulse, which is the largest so far.
        last = np.maximum.accumulate(np.where(pulsed, np.arange(steps)[:, None], 0), axis=1)
        return part(signs * pulsed, np.take_along_axis(signs, last, axis=1))

    return from_seed("flip_flop", draw, (train, val, test), seed)


def flip_flop_threshold(steps: int, bits: int, pulses: float | int) -> float:
    """A third of what not remembering one of the bits costs, to one digit: below it, every bit is remembered. For three
    bits, this is a ninth of the error of a network without memory. `steps`, `bits` and `pulses` as in `flip_flop`.
    Raises ValueError for pulses=1, which leaves nothing to remember."""
    check_whole("steps", steps, least=2)
    check_whole("bits", bits, least=1)
    check_share("pulses", pulses)
    if pulses == 1:
        raise UserError("task.data.pulses=1: nothing is left to remember; give a share below 1, or task.threshold=…")
    return float(f"{(1 - pulses) * (steps - 1) / steps / bits / 3:.1g}")


def from_seed(
    name: str,
    draw: Callable[[np.random.Generator, int], Part],
    sizes: tuple[int, int, int],
    seed: int,
    classes: int = 0,
    symbols: int = 0,
) -> Sequences:
    """Training, validation and test part of these sizes, each by `draw(generator, size)` from its own generator.

    Raises UserError for a size below 1 or a negative seed, named as options of `task.data`.
    """
    names = ("train", "val", "test")
    for which, size in zip(names, sizes, strict=True):
        check_whole(which, size, least=1)
    check_whole("seed", seed, least=0)
    parts = [draw(generator(seed, name, which), size) for which, size in zip(names, sizes, strict=True)]
    return Sequences(*parts, classes=classes, symbols=symbols)


def part(x: np.ndarray, y: np.ndarray) -> Part:
    return Part(torch.from_numpy(x), torch.from_numpy(y))


def check_whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise UserError(f"task.data.{name}={value}: give a whole number of at least {least}")


def check_number(name: str, value: Any, least: float) -> None:
    if type(value) not in (int, float) or not least <= value < math.inf:
        raise UserError(f"task.data.{name}={value}: give a number of at least {least:g}")


def check_share(name: str, value: Any) -> None:
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise UserError(f"task.data.{name}={value}: give a number from 0 to 1")
