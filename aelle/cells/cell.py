"""What a recurrent cell is: its one-step map and the slopes of that map.

Axes: V variant, B sequence, G gate, I input, H hidden unit, P part of the state (h, or h and c).
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

State = tuple[Tensor, ...]
"""(h,) or (h, c), [V, B, H] each."""


class Weights(NamedTuple):
    """One layer of V networks of one shape, as PyTorch stores a layer, with a leading variant axis."""

    weight_ih: Float[Tensor, "V GH I"]
    weight_hh: Float[Tensor, "V GH H"]
    bias_ih: Float[Tensor, "V GH"]
    bias_hh: Float[Tensor, "V GH"]


class Slopes(NamedTuple):
    """The derivative of one step as factors of the weights' rows, so that no Jacobian is built by matrix products.

    d(part p)'_i = Σ_g recurrent_pgi (W_hh,g dh)_i + Σ_g driven_pgi (W_ih,g dx)_i + carried_pi d(last part)_i
    """

    recurrent: Float[Tensor, "V B P G H"]
    driven: Float[Tensor, "V B P G H"]
    carried: Float[Tensor, "V B P H"] | None

    def to(self, dtype: torch.dtype) -> "Slopes":
        carried = None if self.carried is None else self.carried.to(dtype)
        return Slopes(self.recurrent.to(dtype), self.driven.to(dtype), carried)


class Cell(ABC):
    """One-step map (x, state) -> state'. The state's first part is h."""

    gates: int
    parts: int

    @abstractmethod
    def update(self, weights: Weights, driven: Float[Tensor, "V B GH"], state: State) -> State:
        """The next state from `driven` = W_ih x + b_ih; differentiable by autograd."""

    def step(self, weights: Weights, x: Float[Tensor, "V B I"], state: State) -> State:
        """The next state, differentiable by autograd."""
        return self.update(weights, driven(weights, x), state)

    def states(self, weights: Weights, x: Float[Tensor, "V B T I"]) -> Float[Tensor, "T V B H"]:
        """h after each step, from the zero state; differentiable by autograd."""
        zeros = x.new_zeros(*x.shape[:2], weights.weight_hh.shape[-1])
        state, h = (zeros,) * self.parts, []
        for x_t in x.unbind(2):
            state = self.step(weights, x_t, state)
            h.append(state[0])
        return torch.stack(h)

    @abstractmethod
    def linearize(self, weights: Weights, x: Float[Tensor, "V B I"], state: State, full: bool) -> tuple[State, Slopes]:
        """The next state and its slopes: those of h with the rest held fixed, or (`full`) those of every part."""


def driven(weights: Weights, x: Float[Tensor, "V B I"]) -> Float[Tensor, "V B GH"]:
    """W_ih x + b_ih."""
    return torch.baddbmm(weights.bias_ih[:, None], x, weights.weight_ih.mT)


def looked_up(weights: Weights, x: Int[Tensor, "V B T"]) -> Float[Tensor, "T V B GH"]:
    """W_ih x + b_ih for one-hot x, given as indices: columns of W_ih, for all steps at once."""
    V, _, I = weights.weight_ih.shape
    table = (weights.weight_ih.mT + weights.bias_ih[:, None]).flatten(0, 1)
    rows = x + I * torch.arange(V, device=x.device)[:, None, None]
    return nn.functional.embedding(rows.permute(2, 0, 1), table)


def recurrent(weights: Weights, h: Float[Tensor, "V B H"]) -> Float[Tensor, "V B GH"]:
    """W_hh h + b_hh."""
    return torch.baddbmm(weights.bias_hh[:, None], h, weights.weight_hh.mT)


def preactivation(weights: Weights, x: Float[Tensor, "V B I"], h: Float[Tensor, "V B H"]) -> Float[Tensor, "V B GH"]:
    """W_ih x + b_ih + W_hh h + b_hh."""
    bias = (weights.bias_ih + weights.bias_hh)[:, None]
    return torch.baddbmm(torch.baddbmm(bias, x, weights.weight_ih.mT), h, weights.weight_hh.mT)


def sigmoids(z: Tensor) -> tuple[Tensor, Tensor]:
    """σ(z) and σ(−z). Their product is σ', and stays accurate where 1 − σ(z) would lose all digits."""
    return z.sigmoid(), z.neg().sigmoid_()


def tanh_and_slope(z: Tensor) -> tuple[Tensor, Tensor]:
    """tanh z = σ(2z) − σ(−2z) and tanh' z = 4 σ(2z) σ(−2z), for the same reason."""
    up, down = sigmoids(2 * z)
    return up - down, 4 * up * down
