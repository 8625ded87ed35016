"""Many trajectories, measured piece by piece.

Axes: V variant, B sequence, T step, N state dimension, K exponent.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from aelle.lyapunov.chunks import Chunk, chunks, trajectory_bytes, work_off
from aelle.lyapunov.product import Growth, System, Transposed, growth
from aelle.lyapunov.spectrum import Spectrum

OWN_COPIES = 3
"""Copies of a variant's weights in double precision while it is measured."""


@dataclass(frozen=True)
class Ensemble:
    """V · B trajectories of a system of N dimensions; `part` gives a chunk's system and the states it starts from.

    `analytic`: it calls no user function and no automatic differentiation, so threads and inference mode are safe.
    `weights`: how many numbers a variant's system has, where they are known.
    """

    V: int
    B: int
    N: int
    device: torch.device
    dtype: torch.dtype
    analytic: bool
    part: Callable[[Chunk], tuple[System, Any]]
    weights: int = 0


def measure(
    ensemble: Ensemble,
    *,
    K: int,
    warmup: int,
    steps: int,
    every: int | str = "auto",
    transposed: bool = False,
    history: bool = False,
    in_blocks: bool = False,
    until: float | None = None,
    dt: float = 1.0,
    among_finite: bool = False,
) -> Spectrum:
    """The leading K exponents of every trajectory, in QR's order; NaN for one that became NaN or infinite.

    `in_blocks`: of a single trajectory, the standard error comes from averages over blocks of time. `until`: it stops
    once none is larger, and `steps` is how many are made at most. `among_finite`: the mean over the others. Raises
    TooLargeError if a single trajectory does not fit into memory.
    """
    V, B, N = ensemble.V, ensemble.B, ensemble.N
    identity = torch.eye(K, N, dtype=ensemble.dtype, device=ensemble.device)

    mode = torch.inference_mode if ensemble.analytic else torch.no_grad

    @mode()
    def of_chunk(chunk: Chunk) -> Growth:
        system, state = ensemble.part(chunk)
        basis = identity.repeat(len(range(V)[chunk[0]]), len(range(B)[chunk[1]]), 1, 1)
        if transposed:
            system = Transposed(system)
        return growth(
            system,
            state,
            basis,
            warmup=warmup,
            steps=steps,
            every=every,
            history=history,
            in_blocks=in_blocks and B == 1,
            until=None if until is None else until * dt,
        )

    # With `until`, how many steps there will be is not known.
    recorded = steps if history and until is None else 0
    each = trajectory_bytes(
        N,
        K,
        every=every,
        steps=max(warmup, steps),
        recorded=recorded,
        transposed=transposed,
        analytic=ensemble.analytic,
    )
    own = OWN_COPIES * 8 * ensemble.weights
    pieces, threads = chunks(V, B, N, ensemble.device, each, own, threaded=ensemble.analytic)
    results = work_off(of_chunk, pieces, ensemble.device, threads)
    rates = identity.new_empty(V, B, K)
    stderr = identity.new_empty(V, B, K)
    error = identity.new_empty(V, B, K)
    running = identity.new_empty(V, B, results[0].steps, K) if history else None
    for (variants, sequences), result in zip(pieces, results, strict=True):
        rates[variants, sequences] = result.rates.to(ensemble.dtype)
        stderr[variants, sequences] = result.stderr.to(ensemble.dtype)
        error[variants, sequences] = result.error.to(ensemble.dtype)
        if running is not None and result.history is not None:
            running[variants, sequences] = result.history.to(ensemble.dtype)
    kept = (rates < torch.inf).all(-1).all(0)
    if not among_finite or kept.all() or not kept.any():
        return Spectrum.from_rates(rates, results[0].steps, N, running, stderr, error, dt)
    some = None if running is None else running[:, kept]
    spectrum = Spectrum.from_rates(rates[:, kept], results[0].steps, N, some, stderr[:, kept], error[:, kept], dt)
    return replace(
        spectrum,
        per_sequence=torch.full_like(rates, torch.nan).index_copy(1, kept.nonzero()[:, 0], spectrum.per_sequence),
    )
