"""Whether the derivative of a user's step is that of the step: against differences of its values.

Axes: n state, I input, S full state, N the part of it whose spectrum is wanted.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aelle.lyapunov.one_map import agree, nearby
from aelle.lyapunov.step import REMEDY, StepError

DISTANCES = {torch.float64: (1e-3, 1e-5, 1e-7), torch.float32: (1e-1, 1e-2, 1e-3)}
"""Between the values, in units of each number of the state, and of 1: how fast a step curves is not known."""

FAR = 0.5
"""From the first state to others that are tried, in the same units: kinks may be where a network starts."""

TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-2}
"""Relative difference of a derivative; that of a part which is not differentiated is seldom smaller."""


HIDING = (
    "NumPy, .detach(), .data, .item() and torch.no_grad() hide a part of it from PyTorch: leave them out, or give "
    "jacobian=…"
)


def check_derivative(
    values: Callable[[Tensor | None, Tensor], Float[Tensor, "n S"]],
    derivatives: Callable[[Tensor | None, Tensor, Tensor], Float[Tensor, "n N"]],
    x: Float[Tensor, "1 I"] | None,
    state: Float[Tensor, "1 S"],
    N: int,
    *,
    by_jacobian: bool,
) -> None:
    """Raises StepError if neither in the given state nor in some beside it a directional derivative agrees with a
    difference of values. One agreement is enough: a step may have kinks, or not be defined beside the state.

    The noise of a stochastic step is the same in each call for the same number of states.
    """
    try:
        apart = _apart(values, derivatives, x, state, N)
    except StepError:
        raise
    except Exception:
        # What the step raises beside the state is no fault of its derivative.
        return
    if apart > TOLERANCE[state.dtype]:
        what = (
            "jacobian is not the derivative of step" if by_jacobian else "PyTorch's derivative of step is not its own"
        )
        remedy = "compare them" if by_jacobian else HIDING
        raise StepError(f"{what}: differences of its values are {100 * apart:.2g} % apart from it; {remedy}")


def _apart(
    values: Callable, derivatives: Callable, x: Float[Tensor, "1 I"] | None, state: Float[Tensor, "1 S"], N: int
) -> float:
    """The least relative difference of both, over the states and distances where the differences of two distances agree
    with each other; 0 where none do."""
    states = torch.stack([state[0], *nearby(state[0]), *nearby(state[0], FAR)])
    several = None if x is None else x.expand(len(states), -1)
    u = torch.rand(N, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(states) - 0.5
    v = u * (1 + states[:, :N].abs())
    along, found = nn.functional.pad(v, (0, states.shape[1] - N)), derivatives(several, states, v)
    before, differences, rounding = values(several, states), [], []
    for distance in DISTANCES[states.dtype]:
        ahead, behind = (values(several, states + sign * distance * along)[:, :N] for sign in (1, -1))
        differences.append((ahead - behind) / (2 * distance))
        rounding.append(torch.finfo(states.dtype).eps * ahead.abs().amax(1) / distance)
    apart = [_relative(one, found, error) for one, error in zip(differences, rounding, strict=True)]
    settled = [
        _relative(one, other, error) <= TOLERANCE[states.dtype]
        for one, other, error in zip(differences, differences[1:], rounding[1:], strict=False)
    ]
    if not agree(before, values(several, states)):
        raise StepError(f"step is not one map: while its derivative was checked, it changed; {REMEDY}")
    known = torch.stack(settled).any(0) & torch.stack(apart).isfinite().all(0)
    return float(torch.stack(apart).amin(0)[known].amin()) if known.any() else 0.0


def _relative(one: Tensor, other: Tensor, rounding: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """The largest difference of each row in units of its largest number, less what rounding may make of it."""
    scale = torch.maximum(one.abs(), other.abs()).amax(1)
    difference = (one - other).abs().amax(1) - rounding
    return difference.clamp(min=0) / scale.clamp(min=torch.finfo(one.dtype).tiny)
