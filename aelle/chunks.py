"""Cut a batch of matrices into pieces that fit the cache or the memory, and work them off."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

CPU_CHUNK = 2**17
"""Numbers in one stack of Jacobians on a CPU: a megabyte in float64, which its caches hold."""

DEVICE_CHUNK = 2**25
"""Likewise elsewhere: 256 MiB in float64, of which about ten are needed at once."""

Chunk = tuple[slice, slice]
"""Variants and sequences."""

Result = TypeVar("Result")


def chunks(V: int, B: int, N: int, device: torch.device) -> list[Chunk]:
    """Pieces of [V, B], whole variants where they fit."""
    matrices = max(1, (CPU_CHUNK if device.type == "cpu" else DEVICE_CHUNK) // N**2)
    variants, sequences = max(1, matrices // B), min(B, matrices)
    pieces = -(-B // sequences)
    sequences = -(-B // pieces)
    return [
        (slice(v, v + variants), slice(b, b + sequences)) for v in range(0, V, variants) for b in range(0, B, sequences)
    ]


def work_off(
    function: Callable[[Chunk], Result], pieces: list[Chunk], device: torch.device, threads: int
) -> list[Result]:
    """In order; on a CPU by `threads`, each of which works alone on matrices that its cache holds."""
    with _single_threaded_kernels(device):
        if device.type != "cpu" or min(threads, len(pieces)) == 1:
            return [function(piece) for piece in pieces]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(torch.no_grad()(function), pieces))


@contextmanager
def _single_threaded_kernels(device: torch.device) -> Iterator[None]:
    """Small factorisations lose by threads inside them, and MKL's threaded batch LU gives wrong pivots at N = 256."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_num_threads(threads)
