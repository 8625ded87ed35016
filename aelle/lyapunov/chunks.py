"""Cut a batch of matrices into pieces that fit the cache or the memory, and process them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Lock, RLock
from typing import TypeVar

import torch

CPU_CHUNK_NUMBERS = 2**18
"""Numbers in one stack of matrices on a CPU: 2 MB in float64, several of which fit its last-level cache."""

MATRICES_TOGETHER, MAX_NUMBERS_TOGETHER = 16, 2**20
"""Larger matrices are still processed this many at a time, because they share the reading of the weights, up to this
many numbers in total."""

DEVICE_CHUNK_NUMBERS = 2**25
"""Numbers in one stack on other devices: 256 MiB in float64; about ten stacks are needed at once. On an H100, an
eighth of them takes 2.2 times as long, and more save nothing (`bench/README.md`)."""

Chunk = tuple[slice, slice]
"""Variants and sequences."""

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def chunks(V: int, B: int, N: int, device: torch.device) -> list[Chunk]:
    """Pieces of [V, B], whole variants if they fit; on a CPU, one for each of torch's threads if that pays off."""
    matrices = DEVICE_CHUNK_NUMBERS // N**2
    if device.type == "cpu":
        shared = min(MATRICES_TOGETHER, MAX_NUMBERS_TOGETHER // N**2, -(-V * B // torch.get_num_threads()))
        matrices = max(CPU_CHUNK_NUMBERS // N**2, shared)
    matrices = max(1, matrices)
    variants, sequences = max(1, matrices // B), min(B, matrices)
    pieces = -(-B // sequences)
    sequences = -(-B // pieces)
    return [
        (slice(v, v + variants), slice(b, b + sequences)) for v in range(0, V, variants) for b in range(0, B, sequences)
    ]


def work_off(
    function: Callable[[Piece], Result], pieces: Sequence[Piece], device: torch.device, threaded: bool
) -> list[Result]:
    """The results in order; on a CPU, if `threaded`, on torch's number of threads, each with a piece in its cache."""
    threads = min(torch.get_num_threads() if threaded and device.type == "cpu" else 1, len(pieces))
    kernels = _single_threaded_kernels if device.type == "cpu" else nullcontext()
    with kernels, torch.autocast(device.type, enabled=False):
        if threads == 1:
            return [function(piece) for piece in pieces]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(function, pieces))


class _SingleThreadedKernels:
    """Runs kernels on one thread: threads slow small factorisations down, and MKL's batch LU with several gives wrong
    pivots at N = 256.

    The number of threads is a setting of the whole process: calls from several threads take turns, and each restores
    the number that the first active one has found.
    """

    def __init__(self):
        self.count, self.turn = Lock(), RLock()
        self.under_way = self.depth = 0
        self.threads = 1

    def __enter__(self) -> None:
        with self.count:
            if self.under_way == 0:
                self.threads = torch.get_num_threads()
            self.under_way += 1
        self.turn.acquire()
        self.depth += 1
        torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        self.depth -= 1
        torch.set_num_threads(1 if self.depth else self.threads)
        self.turn.release()
        with self.count:
            self.under_way -= 1


_single_threaded_kernels = _SingleThreadedKernels()
