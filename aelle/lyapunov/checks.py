"""Checks of the arguments of `aelle.lyapunov.estimate`; each error says how to fix it."""

import math
from numbers import Integral, Real

import torch
from torch import Tensor

from aelle.errors import UserError


def check_options(over: str, product: str, orthonormalize_every: int | str, dtype: torch.dtype) -> None:
    if over not in ("hidden", "full"):
        raise ValueError(
            f'over={over!r}: choose "hidden" (h, with the cell state held fixed) or "full" (the whole state)'
        )
    if product not in ("tangent", "transposed"):
        raise ValueError(f'product={product!r}: choose "tangent" or "transposed" (the paper\'s code)')
    if orthonormalize_every != "auto":
        check_whole("orthonormalize_every", orthonormalize_every, 1, 'give "auto" or ')
    if dtype not in (torch.float64, torch.float32):
        raise ValueError(f"dtype={dtype}: choose torch.float64 or torch.float32")


def check_whole(name: str, value: object, least: int, remedy: str = "give ") -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r}: {remedy}a whole number of at least {least}")


def check_real(name: str, value: object) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} of type {type(value).__name__}: give a tensor, e.g. torch.as_tensor({name})")
    check_dense(name, value)
    if value.is_complex():
        raise ValueError(f"{name} in {value.dtype}: give real numbers")


def check_dense(name: str, value: Tensor) -> None:
    """Raises UserError for a tensor that has no array of values."""
    if value.is_nested:
        raise UserError(f"{name} is a nested tensor: give a dense one, of sequences of the same length")
    if value.is_meta:
        raise UserError(f"{name} is on the meta device, without values: give a tensor on a device that stores them")
    if value.layout != torch.strided or value.is_quantized:
        kind = value.dtype if value.is_quantized else value.layout
        raise UserError(f"{name} is {kind}: give a dense tensor of numbers")


def finite(name: str, value: Tensor, device: torch.device | None, dtype: torch.dtype) -> Tensor:
    """`value` on that device and in that precision. Raises ValueError if it is not finite, before or after."""
    check_dense(name, value)
    if not value.isfinite().all():
        raise ValueError(f"{name} contains NaN or infinite values: give finite ones")
    value = value.to(device, dtype)
    if not value.isfinite().all():
        raise ValueError(
            f"{name} contains values too large for {dtype}: choose dtype=torch.float64, or scale them down"
        )
    return value


def checked_inputs(inputs: Tensor | None, width: int | None, device: torch.device | None, dtype: torch.dtype) -> Tensor:
    """`inputs` on `device` in `dtype`, checked: [B, T, I] with I = `width` if given, real, finite and not empty."""
    I = "I" if width is None else width
    if inputs is None:
        raise ValueError(f"inputs=None: a recurrent module needs input sequences; give [B, T, {I}]")
    check_real("inputs", inputs)
    if inputs.ndim != 3 or 0 in inputs.shape or width not in (None, inputs.shape[-1]):
        raise ValueError(
            f"inputs of shape {list(inputs.shape)}: give [B, T, {I}] with at least one sequence and one step"
        )
    return finite("inputs", inputs.detach(), device, dtype)


def averaged_steps(inputs: Tensor | None, steps: int | None, warmup: int) -> int:
    """The number of steps over which exponents are averaged."""
    check_whole("warmup", warmup, 0)
    if inputs is None:
        check_whole("steps", steps, 1, "without inputs, give the number of steps to average, ")
        return int(steps or 1)
    if steps is not None:
        raise ValueError(
            f"steps={steps}: the {inputs.shape[1]} steps of inputs decide; leave it out, or cut the inputs"
        )
    if warmup >= inputs.shape[1]:
        raise ValueError(
            f"warmup={warmup}: of {inputs.shape[1]} input steps at least one must be left to average; give fewer"
        )
    return inputs.shape[1] - int(warmup)


def check_until(until: float, inputs: Tensor | None, steps: int | None, max_steps: int, sequences: int) -> None:
    """Of a run that ends when its exponents are known well enough."""
    check_positive("until", until, "the standard error at which to stop")
    if inputs is not None:
        raise ValueError(f"until={until}: the steps of inputs decide; leave it out")
    if steps is not None:
        raise ValueError(f"until={until} and steps={steps}: give one of them (max_steps limits until)")
    if sequences > 1:
        raise ValueError(
            f"until={until} with {sequences} initial states: give one state [N]; the standard error is that of its "
            "trajectory"
        )
    check_whole("max_steps", max_steps, 1)


def check_positive(name: str, value: object, what: str) -> None:
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 < float(value) < math.inf:
        raise ValueError(f"{name}={value!r}: give {what}, a finite number above 0")


def check_noise(stochastic: bool, generator: torch.Generator | None, jacobian: object | None) -> torch.Generator | None:
    """The generator of a stochastic step's noise."""
    if not stochastic:
        if generator is not None:
            raise ValueError("generator is for a step that draws noise: give stochastic=True as well, or leave it out")
        return None
    if not isinstance(generator, torch.Generator):
        raise ValueError("stochastic=True: give generator=torch.Generator().manual_seed(…)")
    if jacobian is not None:
        raise ValueError("jacobian with stochastic=True: it does not know the step's noise; leave jacobian out")
    return generator


def checked_k(k: int | None, N: int) -> int:
    if k is None:
        return N
    check_whole("k", k, 1)
    if k > N:
        raise ValueError(f"k={k}: the state has {N} dimensions; give a whole number from 1 to {N}")
    return int(k)
