"""Compilation of loops for the CPU."""

import inspect
from collections.abc import Callable

from numba import njit


def compiled(function: Callable) -> Callable:
    """Compile with numba. Sums may be reordered; NaN and infinity are kept, since a diverged network is a result.

    The function is unwrapped, because numba compiles plain functions only and the tests' shape checks wrap each one.
    """
    return njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp"})(inspect.unwrap(function))
