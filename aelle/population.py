"""V recurrent networks of one shape, trained side by side: every parameter carries a leading variant axis.

Axes: V variant, B sequence, T step, I input, H hidden unit, C class.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aelle.cells import CELLS, Weights
from aelle.stack import Stack


class Population(nn.Module):
    """V one-layer networks of a cell ("lstm", "gru" or "rnn") with a linear readout of the last step.

    Member v equals `nn.LSTM(I, H)` (`nn.GRU`, `nn.RNN`) and `nn.Linear(H, C)` with the slices [v] of the parameters,
    which bear PyTorch's names. W_ih and W_hh are uniform on [−p_v, p_v], biases zero, the readout is PyTorch's default,
    all drawn from a generator seeded by `seeds[v]` alone: a member does not depend on its population.
    """

    def __init__(
        self, cell: str, inputs: int, hidden_size: int, classes: int, p: Sequence[float], seeds: Sequence[int]
    ):
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"cell={cell!r}: choose one of {', '.join(CELLS)}")
        self.cell = CELLS[cell]
        I, H, V, rows = inputs, hidden_size, len(seeds), self.cell.gates * hidden_size
        members = [_initial(I, H, classes, rows, p_v, seed) for p_v, seed in zip(p, seeds, strict=True)]
        stacked = [nn.Parameter(torch.stack(tensors)) for tensors in zip(*members, strict=True)]
        self.weight_ih_l0, self.weight_hh_l0, self.readout_weight, self.readout_bias = stacked
        self.bias_ih_l0 = nn.Parameter(torch.zeros(V, rows))
        self.bias_hh_l0 = nn.Parameter(torch.zeros(V, rows))

    def __len__(self) -> int:
        return len(self.weight_hh_l0)

    @property
    def stack(self) -> Stack:
        """The recurrent part, as `aelle.lyapunov.population_spectrum` takes it."""
        weights = Weights(self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0)
        return Stack(self.cell, (weights,))

    def forward(self, x: Float[Tensor, "V B T I"]) -> Float[Tensor, "V B C"]:
        """Logits after the last step, from the zero state."""
        (weights,) = self.stack.layers
        zeros = x.new_zeros(*x.shape[:2], self.weight_hh_l0.shape[-1])
        state = (zeros,) * self.cell.parts
        for x_t in x.unbind(2):
            state = self.cell.step(weights, x_t, state)
        return torch.baddbmm(self.readout_bias[:, None], state[0], self.readout_weight.mT)


def _initial(I: int, H: int, C: int, rows: int, p: float, seed: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)

    def uniform(bound: float, *shape: int) -> Tensor:
        return torch.empty(shape).uniform_(-bound, bound, generator=generator)

    readout = 1 / math.sqrt(H)
    return uniform(p, rows, I), uniform(p, rows, H), uniform(readout, C, H), uniform(readout, C)
