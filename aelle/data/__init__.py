"""A name or a file in; training, validation and test parts as tensors, and the probe, out."""

from aelle.data.images import Part, Sequences, digits, mnist, mnist_pixels
from aelle.data.sines import FourSines
from aelle.data.text import Characters, book, topics

__all__ = ["Characters", "FourSines", "Part", "Sequences", "book", "digits", "mnist", "mnist_pixels", "topics"]
