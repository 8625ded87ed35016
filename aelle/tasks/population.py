"""V recurrent networks of one shape, trained side by side: every parameter has a leading variant axis.

Axes: V variant, B sequence, T step, I input, H hidden unit, C class.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from aelle.cells import CELLS, Weights, looked_up
from aelle.cells.stack import Stack
from aelle.lyapunov.estimate import population_spectrum
from aelle.lyapunov.spectrum import Spectrum


class Population(nn.Module):
    """V one-layer networks of a cell ("lstm", "gru" or "rnn") with a linear readout.

    Member v equals `nn.LSTM(I, H)` (`nn.GRU`, `nn.RNN`) and `nn.Linear(H, C)` with the slices [v] of the parameters,
    which have PyTorch's names. W_ih and W_hh are uniform on [−p_v, p_v], biases are zero, the readout has PyTorch's
    default, all drawn from a generator seeded by `seeds[v]` alone: a member does not depend on its population. Without
    `recurrent_bias` b_hh stays zero.

    Inputs are vectors [V, B, T, I], or the indices [V, B, T] of one-hot vectors.
    """

    bias_hh_l0: Tensor

    def __init__(
        self,
        cell: str,
        inputs: int,
        hidden_size: int,
        classes: int,
        p: Sequence[float],
        seeds: Sequence[int],
        *,
        recurrent_bias: bool = True,
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
        if recurrent_bias:
            self.bias_hh_l0 = nn.Parameter(torch.zeros(V, rows))
        else:
            self.register_buffer("bias_hh_l0", torch.zeros(V, rows), persistent=False)

    def __len__(self) -> int:
        return len(self.weight_hh_l0)

    @property
    def stack(self) -> Stack:
        """The recurrent part, as `aelle.lyapunov.estimate.population_spectrum` takes it."""
        weights = Weights(self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0)
        return Stack(self.cell, (weights,))

    def spectrum(
        self, probe: Tensor, *, over: str, dtype: torch.dtype, steps: int | None = None, k: int | None = None
    ) -> Spectrum:
        """The spectrum when driven by the probe [B, T, I], averaged over its length."""
        return population_spectrum(self.stack, probe, k=k, over=over, dtype=dtype)

    def forward(self, x: Float[Tensor, "V B T I"] | Int[Tensor, "V B T"]) -> Float[Tensor, "V B C"]:
        """Logits after the last step."""
        return self.readout(self.hidden(x)[-1])

    def hidden(self, x: Float[Tensor, "V B T I"] | Int[Tensor, "V B T"]) -> Float[Tensor, "T V B H"]:
        """h after each step, from the zero state."""
        (weights,) = self.stack.layers
        if x.is_floating_point():
            return self.cell.states(weights, x)
        zeros = weights.weight_hh.new_zeros(*x.shape[:2], weights.weight_hh.shape[-1])
        state, steps = (zeros,) * self.cell.parts, []
        for driven in looked_up(weights, x):
            state = self.cell.update(weights, driven, state)
            steps.append(state[0])
        return torch.stack(steps)

    def readout(self, h: Float[Tensor, "V n H"]) -> Float[Tensor, "V n C"]:
        return torch.baddbmm(self.readout_bias[:, None], h, self.readout_weight.mT)


def _initial(I: int, H: int, C: int, rows: int, p: float, seed: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)

    def uniform(bound: float, *shape: int) -> Tensor:
        return torch.empty(shape).uniform_(-bound, bound, generator=generator)

    readout = 1 / math.sqrt(H)
    return uniform(p, rows, I), uniform(p, rows, H), uniform(readout, C, H), uniform(readout, C)
