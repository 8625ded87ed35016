"""V recurrent networks of one shape, trained side by side: every parameter carries a leading variant axis.

Axes: V variant, B sequence, T step, I input, H hidden unit, C class.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aelle import lstm
from aelle.lstm import LSTMWeights


class PopulationLSTM(nn.Module):
    """V one-layer LSTMs with a linear readout of the last step.

    Member v equals `nn.LSTM(I, H)` and `nn.Linear(H, C)` with the slices [v] of the parameters, which bear
    `nn.LSTM`'s names. W_ih and W_hh are uniform on [−p_v, p_v], biases zero, the readout is PyTorch's default,
    all drawn from a generator seeded by `seeds[v]` alone: a member does not depend on its population.
    """

    def __init__(self, inputs: int, hidden_size: int, classes: int, p: Sequence[float], seeds: Sequence[int]):
        super().__init__()
        I, H, V = inputs, hidden_size, len(seeds)
        members = [_initial(I, H, classes, p_v, seed) for p_v, seed in zip(p, seeds, strict=True)]
        stacked = [nn.Parameter(torch.stack(tensors)) for tensors in zip(*members, strict=True)]
        self.weight_ih_l0, self.weight_hh_l0, self.readout_weight, self.readout_bias = stacked
        self.bias_ih_l0 = nn.Parameter(torch.zeros(V, 4 * H))
        self.bias_hh_l0 = nn.Parameter(torch.zeros(V, 4 * H))

    def __len__(self) -> int:
        return len(self.weight_hh_l0)

    @property
    def weights(self) -> LSTMWeights:
        return LSTMWeights(self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0 + self.bias_hh_l0)

    def forward(self, x: Float[Tensor, "V B T I"]) -> Float[Tensor, "V B C"]:
        """Logits after the last step, from the zero state."""
        weights = self.weights
        state = lstm.zero_state(weights, x.shape[1])
        for x_t in x.unbind(2):
            state = lstm.step(weights, x_t, state)
        return torch.baddbmm(self.readout_bias[:, None], state.h, self.readout_weight.mT)


def _initial(I: int, H: int, C: int, p: float, seed: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)

    def uniform(bound: float, *shape: int) -> Tensor:
        return torch.empty(shape).uniform_(-bound, bound, generator=generator)

    readout = 1 / math.sqrt(H)
    return uniform(p, 4 * H, I), uniform(p, 4 * H, H), uniform(readout, C, H), uniform(readout, C)
