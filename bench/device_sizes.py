"""How much `bench/device.py` measures, and in what time."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch

from aelle.data.images import Part, Sequences, mnist


@dataclass(frozen=True)
class Sizes:
    """`seconds` of each part; `images` of the data; probe `sequences`; (V, hidden units) of `early`, (V, N) of `force`,
    (N, V) of `spectra`; and every pair of `populations` and `hidden`."""

    seconds: dict[str, float]
    images: int
    matrix: int
    sequences: int
    populations: tuple[int, ...]
    hidden: tuple[int, ...]
    spectra: tuple[tuple[int, int], ...]
    early: tuple[int, int]
    force: tuple[tuple[int, int], ...]


FULL = Sizes(
    seconds={"peaks": 10, "correctness": 50, "early": 90, "training": 50, "force": 10, "spectra": 80},
    images=60000,
    matrix=8192,
    sequences=32,
    populations=(25, 100, 200, 400),
    hidden=(64, 256),
    spectra=((64, 25), (64, 200), (128, 25), (128, 200), (256, 25), (256, 100), (512, 4), (512, 25)),
    early=(200, 64),
    force=((1, 512), (25, 512), (100, 512)),
)
QUICK = Sizes(
    seconds=dict.fromkeys(FULL.seconds, 10),
    images=400,
    matrix=128,
    sequences=3,
    populations=(2,),
    hidden=(8,),
    spectra=((4, 2), (8, 2)),
    early=(2, 8),
    force=((2, 16),),
)


class Clock:
    """The time that a part may still take."""

    def __init__(self, seconds: float):
        self.end = perf_counter() + seconds

    @property
    def left(self) -> float:
        return self.end - perf_counter()


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds(run: Callable[[], object], device: torch.device, repeats: int = 1) -> float:
    """Of one call, the mean of `repeats` in a row."""
    synchronize(device)
    since = perf_counter()
    for _ in range(repeats):
        run()
    synchronize(device)
    return (perf_counter() - since) / repeats


def data_of(images: int) -> tuple[Sequences, str]:
    """MNIST, or random images of its shape, and which of the two."""
    root = os.environ.get("AELLE_DATA")
    # Without the files `mnist` would download them.
    if root and images == FULL.images and Path(root, "mnist", "MNIST", "raw").is_dir():
        return mnist(f"{root}/mnist"), "MNIST"
    generator = torch.Generator().manual_seed(0)

    def part(n: int) -> Part:
        return Part(torch.rand(n, 28, 28, generator=generator), torch.randint(10, (n,), generator=generator))

    return Sequences(part(images), part(images // 12), part(images // 12), 10), "random images"
