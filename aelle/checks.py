"""What a caller of `aelle.lyapunov` can get wrong, each with its remedy."""

import torch
from torch import Tensor

from aelle.interval import TOLERANCE


def check_options(over: str, product: str, orthonormalize_every: int | str, dtype: torch.dtype) -> None:
    if over not in ("hidden", "full"):
        raise ValueError(f'over={over!r}: choose "hidden" (h with the rest held) or "full" (all that is carried)')
    if product not in ("tangent", "transposed"):
        raise ValueError(f'product={product!r}: choose "tangent" or "transposed" (the paper\'s code)')
    whole = isinstance(orthonormalize_every, int) and orthonormalize_every >= 1
    if orthonormalize_every != "auto" and not whole:
        raise ValueError(f'orthonormalize_every={orthonormalize_every!r}: give "auto" or a number of steps, at least 1')
    if dtype not in TOLERANCE:
        raise ValueError(f"dtype={dtype}: choose torch.float64 or torch.float32")


def checked_inputs(inputs: Tensor | None, width: int | None) -> Tensor:
    """[B, T, I], real, finite, not empty, of the network's input size where that is known."""
    I = "I" if width is None else width
    if inputs is None:
        raise ValueError(f"inputs=None: a recurrent module is driven by sequences, [B, T, {I}]")
    if inputs.ndim != 3 or 0 in inputs.shape or width not in (None, inputs.shape[-1]):
        raise ValueError(
            f"inputs of shape {list(inputs.shape)}: expected [B, T, {I}] with at least one sequence and one step"
        )
    if inputs.is_complex():
        raise ValueError(f"inputs in {inputs.dtype}: expected real numbers")
    if not inputs.isfinite().all():
        raise ValueError("inputs hold NaN or infinite values: the network cannot be driven by them")
    return inputs.detach()


def averaged_steps(inputs: Tensor | None, steps: int | None, warmup: int) -> int:
    """How many steps the exponents are averaged over."""
    if warmup < 0:
        raise ValueError(f"warmup={warmup}: give a number of steps, at least 0")
    if inputs is None:
        if steps is None or steps < 1:
            raise ValueError(f"steps={steps}: without inputs give the number of steps to average, at least 1")
        return steps
    if steps is not None:
        raise ValueError(f"steps={steps} with inputs: their {inputs.shape[1]} steps decide; cut the inputs instead")
    if warmup >= inputs.shape[1]:
        raise ValueError(f"warmup={warmup}: of inputs of {inputs.shape[1]} steps at least one must be left to average")
    return inputs.shape[1] - warmup


def checked_k(k: int | None, N: int) -> int:
    if k is not None and not 1 <= k <= N:
        raise ValueError(f"k={k}: the state has {N} dimensions, so give a whole number from 1 to {N}")
    return k or N
