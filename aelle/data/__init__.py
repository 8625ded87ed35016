"""A name, a file or a seed in; training, validation and test parts as tensors, and the probe, out."""

from aelle.data.images import Part, Sequences, digits, fashion, mnist, mnist_pixels
from aelle.data.lorenz import lorenz, lorenz_threshold
from aelle.data.memory import adding, copy, copy_threshold, flip_flop, flip_flop_threshold, recall
from aelle.data.sines import FourSines
from aelle.data.text import Characters, book, topics

SOLVED = {"copy": copy_threshold, "flipflop": flip_flop_threshold, "lorenz": lorenz_threshold}
"""Thresholds that follow from a task's options: `${solved:copy,20,10}` in a configuration."""

__all__ = [
    "SOLVED",
    "Characters",
    "FourSines",
    "Part",
    "Sequences",
    "adding",
    "book",
    "copy",
    "digits",
    "fashion",
    "flip_flop",
    "flip_flop_threshold",
    "lorenz",
    "mnist",
    "mnist_pixels",
    "recall",
    "topics",
]
