"""What a caller of `aelle.lyapunov.estimate` can get wrong, each with its remedy."""

import torch
from torch import Tensor

from aelle.lyapunov.interval import TOLERANCE


def check_options(over: str, product: str, orthonormalize_every: int | str, dtype: torch.dtype) -> None:
    if over not in ("hidden", "full"):
        raise ValueError(f'over={over!r}: choose "hidden" (h with the rest held) or "full" (all that is carried)')
    if product not in ("tangent", "transposed"):
        raise ValueError(f'product={product!r}: choose "tangent" or "transposed" (the paper\'s code)')
    if orthonormalize_every != "auto":
        check_whole("orthonormalize_every", orthonormalize_every, 1, 'give "auto" or ')
    if dtype not in TOLERANCE:
        raise ValueError(f"dtype={dtype}: choose torch.float64 or torch.float32")


def check_whole(name: str, value: object, least: int, remedy: str = "give ") -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r}: {remedy}a whole number, at least {least}")


def check_real(name: str, value: object) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} of type {type(value).__name__}: give a tensor, as by torch.as_tensor({name})")
    if value.is_complex():
        raise ValueError(f"{name} in {value.dtype}: expected real numbers")


def finite(name: str, value: Tensor, device: torch.device | None, dtype: torch.dtype) -> Tensor:
    """`value` there and in that precision, if it is finite before and after."""
    if not value.isfinite().all():
        raise ValueError(f"{name} holds NaN or infinite values: a spectrum needs finite ones")
    value = value.to(device, dtype)
    if not value.isfinite().all():
        raise ValueError(f"{name} holds values too large for {dtype}: give dtype=torch.float64, or scale them")
    return value


def checked_inputs(inputs: Tensor | None, width: int | None, device: torch.device | None, dtype: torch.dtype) -> Tensor:
    """[B, T, I], real, finite, not empty, of the network's input size where that is known; there and in `dtype`."""
    I = "I" if width is None else width
    if inputs is None:
        raise ValueError(f"inputs=None: a recurrent module is driven by sequences, [B, T, {I}]")
    check_real("inputs", inputs)
    if inputs.ndim != 3 or 0 in inputs.shape or width not in (None, inputs.shape[-1]):
        raise ValueError(
            f"inputs of shape {list(inputs.shape)}: expected [B, T, {I}] with at least one sequence and one step"
        )
    return finite("inputs", inputs.detach(), device, dtype)


def averaged_steps(inputs: Tensor | None, steps: int | None, warmup: int) -> int:
    """How many steps the exponents are averaged over."""
    check_whole("warmup", warmup, 0)
    if inputs is None:
        check_whole("steps", steps, 1, "without inputs give the steps to average, ")
        return steps or 1
    if steps is not None:
        raise ValueError(f"steps={steps} with inputs: their {inputs.shape[1]} steps decide; cut the inputs instead")
    if warmup >= inputs.shape[1]:
        raise ValueError(f"warmup={warmup}: of inputs of {inputs.shape[1]} steps at least one must be left to average")
    return inputs.shape[1] - warmup


def checked_k(k: int | None, N: int) -> int:
    if k is None:
        return N
    check_whole("k", k, 1)
    if k > N:
        raise ValueError(f"k={k}: the state has {N} dimensions, so give a whole number from 1 to {N}")
    return k
