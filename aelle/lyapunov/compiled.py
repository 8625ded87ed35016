"""How the project compiles its loops for the CPU."""

import inspect
from collections.abc import Callable

from numba import njit


def compiled(function: Callable) -> Callable:
    """Sums may be reordered; NaN and infinity keep their meaning, since a diverged network is a result.

    Unwrapped, because numba compiles none but plain functions and the tests check shapes by wrapping every one.
    """
    return njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp"})(inspect.unwrap(function))
