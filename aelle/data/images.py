"""Images read row by row, or pixel by pixel, as sequences.

Training, validation and test parts are disjoint, and the same for every variant of every sweep.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Float, Int
from torch import Tensor

from aelle.errors import UserError
from aelle.seeds import generator

SPLIT_SEED = 0
MNIST_FILES = {
    "train-images-idx3-ubyte": 47_040_016,
    "train-labels-idx1-ubyte": 60_008,
    "t10k-images-idx3-ubyte": 7_840_016,
    "t10k-labels-idx1-ubyte": 10_008,
}
"""The files of MNIST, and of Fashion-MNIST, and their sizes in bytes."""


class Part(NamedTuple):
    """n sequences `x` of vectors [n, T, I], or of the indices of one-hot vectors [n, T], and what is to be learned of
    each sequence or each of its steps: classes `y` [n] or [n, T], or numbers [n, O] or [n, T, O]."""

    x: Float[Tensor, "n T I"] | Int[Tensor, "n T"]
    y: Int[Tensor, "n"] | Int[Tensor, "n T"] | Float[Tensor, "n O"] | Float[Tensor, "n T O"]


@dataclass(frozen=True)
class Sequences:
    """A data set of sequences: the parts `train`, `val` and `test`. `classes`: how many there are; 0 where numbers are
    to be learned. `symbols`: the inputs are indices of one-hot vectors of this size; 0: they are vectors."""

    train: Part
    val: Part
    test: Part
    classes: int = 0
    symbols: int = 0

    @property
    def inputs(self) -> int:
        """Of a step, I."""
        return self.symbols or self.train.x.shape[-1]

    def probe(self, sequences: int, part: str = "val") -> Float[Tensor, "B T I"]:
        """The first `sequences` of the validation (or test) part, whose order is random and fixed, as vectors.
        Raises ValueError for more than there are."""
        x = first_sequences(getattr(self, part), sequences, part)
        return torch.nn.functional.one_hot(x, self.symbols).float() if self.symbols else x


def first_sequences(part: Part, sequences: int, name: str) -> Tensor:
    if not 1 <= sequences <= len(part.x):
        raise UserError(
            f"lyapunov.sequences={sequences}: give a number from 1 to {len(part.x)}, the size of the {name} part"
        )
    return part.x[:sequences]


@lru_cache
def digits() -> Sequences:
    """scikit-learn's 1797 digits of 8×8 pixels, split 1077 / 360 / 360: x [n, 8, 8], a row of pixels per step, from 0
    to 1. Part of scikit-learn: no download."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images, labels = np.asarray(images), np.asarray(labels)
    order = generator(SPLIT_SEED, "digits split").permutation(len(images))
    x = torch.as_tensor(images[order].reshape(-1, 8, 8) / 16, dtype=torch.float32)
    y = torch.as_tensor(labels[order])
    cut = [slice(0, 1077), slice(1077, 1437), slice(1437, 1797)]
    return Sequences(*(Part(x[part], y[part]) for part in cut), classes=10)


@lru_cache
def mnist(root: str) -> Sequences:
    """MNIST: its 60,000 training images, and its 10,000 others split into validation and test, 5,000 each.

    x [n, 28, 28], a row of pixels per step, from 0 to 1. Downloaded through torchvision into `root` if it is not there,
    by one process while others wait. Raises ValueError where it cannot be downloaded or read.
    """
    return _downloaded("MNIST", root)


@lru_cache
def fashion(root: str) -> Sequences:
    """Fashion-MNIST (Xiao, Rasul & Vollgraf 2017): ten kinds of clothes, in the format, sizes and parts of `mnist`;
    downloaded into `root`."""
    return _downloaded("FashionMNIST", root)


@lru_cache
def mnist_pixels(root: str, permuted: bool = False) -> Sequences:
    """The images of `mnist` in `root`, read pixel by pixel, row after row: 784 steps of one number.

    `permuted`: in a random order instead, the same for all images (Le, Jaitly & Hinton 2015).
    """
    if type(permuted) is not bool:
        raise UserError(f"task.data.permuted={permuted}: give true or false")
    data = mnist(root)
    pixels = data.train.x[0].numel()
    order = generator(SPLIT_SEED, "pixel order").permutation(pixels) if permuted else np.arange(pixels)
    train, val, test = (
        Part(part.x.flatten(1)[:, order].unsqueeze(-1), part.y) for part in (data.train, data.val, data.test)
    )
    return Sequences(train, val, test, data.classes)


def _downloaded(name: str, root: str) -> Sequences:
    """The data set of that name of torchvision's, which has the files of MNIST."""
    from torchvision import datasets

    folder, kind = Path(root), getattr(datasets, name)
    raw = folder / name / "raw"
    try:
        # A file of another size may be incomplete, with another process still writing it.
        sizes = {raw / file: size for file, size in MNIST_FILES.items()}
        if not all(file.exists() and file.stat().st_size == size for file, size in sizes.items()):
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".download.lock"):
                kind(folder, download=True)
        parts = [kind(folder, train=train) for train in (True, False)]
        (train_x, train_y), (rest_x, rest_y) = ((_rows(p.data), p.targets.long()) for p in parts)
    except Exception as error:
        # torchvision raises whatever its parser fails with, assertions included.
        why = (str(error).strip() or "not in the idx format").splitlines()[0]
        raise UserError(_remedy(name, raw, why)) from error
    sizes = (len(train_x), len(train_y), len(rest_x), len(rest_y))
    if sizes != (60000, 60000, 10000, 10000):
        raise UserError(_remedy(name, raw, f"found {sizes[0]} training and {sizes[2]} other images"))
    order = torch.as_tensor(generator(SPLIT_SEED, "mnist split").permutation(10000))
    val, test = order[:5000], order[5000:]
    return Sequences(
        Part(train_x, train_y), Part(rest_x[val], rest_y[val]), Part(rest_x[test], rest_y[test]), classes=10
    )


def _rows(images: Tensor) -> Float[Tensor, "n T I"]:
    return images.float() / 255


def _remedy(name: str, raw: Path, why: str) -> str:
    return (
        f"{name} in {raw.parent.parent} cannot be used ({why}): it needs the four idx files under {raw}; "
        "delete damaged ones to download them again, or choose another folder with task.data.root=…"
    )
