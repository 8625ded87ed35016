"""The data that networks learn from, loaded once and the same for every variant: tensors, parts and the probe."""

from aelle.data.images import ImageRows, Part, digits, mnist, mnist_pixels
from aelle.data.sines import FourSines
from aelle.data.text import Characters, book, topics

__all__ = ["Characters", "FourSines", "ImageRows", "Part", "book", "digits", "mnist", "mnist_pixels", "topics"]
