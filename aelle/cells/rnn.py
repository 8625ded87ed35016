"""The plain recurrent cell, with tanh or relu."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from aelle.cells.cell import Cell, Slopes, State, Weights, preactivation, recurrent, tanh_and_slope


@dataclass(frozen=True)
class RNN(Cell):
    """h' = φ(W_ih x + b_ih + W_hh h + b_hh), φ = tanh or relu."""

    relu: bool = False
    gates, parts = 1, 1

    def update(self, weights: Weights, driven: Float[Tensor, "V B GH"], state: State) -> State:
        z = recurrent(weights, state[0]).add_(driven)
        return (z.relu() if self.relu else z.tanh(),)

    def linearize(self, weights: Weights, x: Float[Tensor, "V B I"], state: State, full: bool) -> tuple[State, Slopes]:
        """∂h'/∂h = diag(φ') W_hh; relu' is 0 at 0, as in PyTorch."""
        z = preactivation(weights, x, state[0])
        h, slopes = (z.relu(), (z > 0).to(z.dtype)) if self.relu else tanh_and_slope(z)
        slopes = slopes[:, :, None, None]
        return (h,), Slopes(slopes, slopes, None)
