"""One-step forecasts of the Lorenz system, whose Lyapunov exponents are known. Generated from a seed.

ẋ = σ (y − x), ẏ = x (ρ − z) − y, ż = x y − β z, with σ = 10, ρ = 28, β = 8/3 (Lorenz 1963).
"""

import math
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from aelle.data.images import Part, Sequences
from aelle.data.memory import check_whole, from_seed
from aelle.errors import UserError

SIGMA, RHO, BETA = 10.0, 28.0, 8 / 3

EXPONENTS = (0.9056, 0.0, -14.5723)
"""Lyapunov exponents in nats per unit of time (Sprott 2003); their sum is −(σ + 1 + β)."""

CENTRE, SCALE = (0.0, 0.0, 23.55), (7.92, 9.01, 8.62)
"""Mean and standard deviation of x, y and z on the attractor."""

MAX_SUBSTEP = 0.01
"""Longest step of the Runge-Kutta method, in units of time."""

TRANSIENT = 10.0
"""Time in which a trajectory reaches the attractor before it is recorded."""


@lru_cache
def lorenz(steps: int, dt: float | int, train: int = 500, val: int = 200, test: int = 200, seed: int = 0) -> Sequences:
    """The state `dt` later, asked for after every step: x [n, T, 3] and y [n, T, 3] with y[:, t] = x[:, t + 1].

    States are centred and scaled to a variance of 1 on the attractor, which is the mean squared error of the constant
    answer 0. Every sequence is a trajectory of its own, of `steps` + 1 states. Source: Lorenz 1963.

    `train`, `val` and `test`: how many sequences each part has, drawn from `seed`. Raises ValueError for a `dt` that is
    not above 0 and at most 1, in units of time.
    """
    check_whole("steps", steps, least=1)
    if type(dt) not in (int, float) or not 0 < dt <= 1:
        raise UserError(f"task.data.dt={dt}: give a number above 0 and at most 1, in units of time")
    centre, scale = (torch.tensor(values, dtype=torch.float64) for values in (CENTRE, SCALE))

    def draw(rng: np.random.Generator, n: int) -> Part:
        state = flow(centre + scale * torch.from_numpy(rng.standard_normal((n, 3))), TRANSIENT)
        states = [state]
        for _ in range(steps):
            states.append(flow(states[-1], dt))
        scaled = ((torch.stack(states, 1) - centre) / scale).float()
        return Part(scaled[:, :-1], scaled[:, 1:])

    return from_seed("lorenz", draw, (train, val, test), seed)


def lorenz_threshold(dt: float | int) -> float:
    """A tenth of the least mean squared error of three answers that need no training, to two digits: the last two
    states extrapolated in a straight line, best up to a `dt` of 0.09; "no change", up to 0.16; and the constant 0."""
    x, y = lorenz(40, dt, train=500, val=1, test=1).train
    line, no_change = y[:, 1:] - (2 * x[:, 1:] - x[:, :-1]), y - x
    error = min(line.square().mean().item(), no_change.square().mean().item(), 1.0)
    return float(f"{error / 10:.2g}")


def flow(state: Float[Tensor, "*n 3"], time: float | int) -> Float[Tensor, "*n 3"]:
    """The states after that time, by the fourth-order method of Runge and Kutta."""
    substeps = math.ceil(time / MAX_SUBSTEP)
    h = time / substeps
    for _ in range(substeps):
        a = velocity(state)
        b = velocity(state + h / 2 * a)
        c = velocity(state + h / 2 * b)
        d = velocity(state + h * c)
        state = state + h / 6 * (a + 2 * b + 2 * c + d)
    return state


def velocity(state: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    x, y, z = state.unbind(-1)
    return torch.stack((SIGMA * (y - x), x * (RHO - z) - y, x * y - BETA * z), -1)
