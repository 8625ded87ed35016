"""Cut a batch of matrices into pieces that fit the cache or the memory, and process them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Lock, RLock
from typing import NamedTuple, TypeVar

import torch

from aelle.memory import TooLargeError, available, shown

CPU_CHUNK_NUMBERS = 2**18
"""Numbers in one stack of matrices on a CPU: 2 MB in float64, several of which fit its last-level cache."""

MATRICES_TOGETHER, MAX_NUMBERS_TOGETHER = 16, 2**20
"""Larger matrices are still processed this many at a time, because they share the reading of the weights, up to this
many numbers in total."""

DEVICE_CHUNK_NUMBERS = 2**25
"""Numbers in one stack on other devices: 256 MiB in float64; about ten stacks are needed at once. On an H100, an
eighth of them takes 2.2 times as long, and more save nothing (`bench/README.md`). Chunks are smaller where less memory
is available."""

LONGEST_TRAIL, OTHER_STACKS = 8, 6
"""Stacks of tangent vectors that a trajectory needs at once: one for each step of an interval, and the bases before and
after it, factors and what they are solved with."""

Chunk = tuple[slice, slice]
"""Variants and sequences."""

Piece = TypeVar("Piece")
Result = TypeVar("Result")


class Chunks(NamedTuple):
    """Pieces of [V, B], and how many of them may be in memory at once, each on a thread of its own."""

    pieces: list[Chunk]
    threads: int


def trajectory_bytes(
    N: int,
    K: int,
    *,
    every: int | str = "auto",
    steps: int = LONGEST_TRAIL,
    recorded: int = 0,
    transposed: bool = False,
    analytic: bool = True,
) -> int:
    """What the leading K exponents of one trajectory take in memory while they are measured.

    `steps`: how many are made. `recorded`: of how many running exponents are kept. `analytic`: automatic
    differentiation, where there is any, needs more for a Jacobian.
    """
    trail = min(LONGEST_TRAIL if every == "auto" else int(every), steps)
    jacobians = (2 if analytic else 6) + 2 * transposed
    return 8 * ((trail + OTHER_STACKS) * K * N + jacobians * N**2 + 3 * recorded * K)


def chunks(V: int, B: int, N: int, device: torch.device, each: int, own: int = 0, threaded: bool = False) -> Chunks:
    """Whole variants if they fit; on a CPU, if `threaded`, a piece for each of torch's threads if that pays off.

    `each`: bytes that a trajectory needs; `own`: those that its variant needs besides. Raises TooLargeError if there
    are not even those of one.
    """
    room, least = available(device), each + own
    if room < least:
        raise TooLargeError(
            f"the spectrum of {N} dimensions needs about {shown(least)} for one sequence, and {shown(room)} of memory "
            f"are available on {device.type}: measure the leading exponents only, e.g. k={max(1, min(N // 10, 100))}, "
            "or fewer units"
        )
    threads = min(torch.get_num_threads() if threaded and device.type == "cpu" else 1, int(room // least))
    room /= threads
    matrices = DEVICE_CHUNK_NUMBERS // N**2
    if device.type == "cpu":
        shared = min(MATRICES_TOGETHER, MAX_NUMBERS_TOGETHER // N**2, -(-V * B // torch.get_num_threads()))
        matrices = max(CPU_CHUNK_NUMBERS // N**2, shared)
    variants = int(min(matrices // B, room // (B * each + own)))
    sequences = B if variants else max(1, int(min(B, matrices, (room - own) // each)))
    variants, pieces = max(1, variants), -(-B // sequences)
    sequences = -(-B // pieces)
    cut = [
        (slice(v, v + variants), slice(b, b + sequences)) for v in range(0, V, variants) for b in range(0, B, sequences)
    ]
    return Chunks(cut, threads)


def work_off(
    function: Callable[[Piece], Result], pieces: Sequence[Piece], device: torch.device, threads: int
) -> list[Result]:
    """The results in order; on a CPU on so many threads, each with a piece in its cache."""
    threads = min(threads if device.type == "cpu" else 1, len(pieces))
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
