"""V recurrent networks of one shape, trained side by side: every parameter has a leading variant axis.

Axes: V variant, B sequence, T step, I input, H hidden unit, C output.
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from aelle.cells import CELLS, Weights, looked_up
from aelle.cells.stack import Stack
from aelle.lyapunov.estimate import population_spectrum
from aelle.lyapunov.spectrum import Spectrum
from aelle.tasks.initialization import Initialization, initialized

Between = Callable[[Float[Tensor, "T V B H"], int], Float[Tensor, "T V B H"]]
"""What lies between two layers, such as dropout: the states of the layer of that number in, the next input out."""


class Population(nn.Module):
    """V networks of a built-in cell ("lstm", "gru", "rnn" or "rnn_relu") with 1 to 4 layers and a linear readout.

    With I `inputs`, H the `hidden_size` and C `outputs`, member v equals `nn.LSTM(I, H, layers)` (`nn.GRU`, `nn.RNN`)
    and `nn.Linear(H, C)` with the slices [v] of the
    parameters, which have PyTorch's names. Its weights follow `initializations[v]`, biases are zero but for
    init=default, the readout has PyTorch's default, all drawn from a generator seeded by `seeds[v]` alone: a member
    does not depend on its population. Without `recurrent_bias` all b_hh stay zero.

    Inputs are vectors [V, B, T, I], or the indices [V, B, T] of one-hot vectors.
    """

    def __init__(
        self,
        cell: str,
        inputs: int,
        hidden_size: int,
        outputs: int,
        initializations: Sequence[Initialization],
        seeds: Sequence[int],
        *,
        layers: int = 1,
        recurrent_bias: bool = True,
    ):
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"cell={cell!r}: choose one of {', '.join(CELLS)}")
        self.cell, self.layers, H = CELLS[cell], layers, hidden_size
        members = []
        for initialization, seed in zip(initializations, seeds, strict=True):
            generator = torch.Generator().manual_seed(seed)
            sizes = [inputs] + [H] * (layers - 1)
            weights = [_layer(I, H, self.cell.gates, initialization, recurrent_bias, generator) for I in sizes]
            members.append((*weights, readout_layer(H, outputs, generator)))
        *stacked, readout = [map(torch.stack, zip(*part, strict=True)) for part in zip(*members, strict=True)]
        for l, tensors in enumerate(stacked):
            for name, tensor in zip(Weights._fields, tensors, strict=True):
                if name == "bias_hh" and not recurrent_bias:
                    self.register_buffer(f"{name}_l{l}", tensor, persistent=False)
                else:
                    self.register_parameter(f"{name}_l{l}", nn.Parameter(tensor))
        self.readout_weight, self.readout_bias = map(nn.Parameter, readout)

    def __len__(self) -> int:
        return len(self.readout_weight)

    @property
    def stack(self) -> Stack:
        """The recurrent part, as `aelle.lyapunov.estimate.population_spectrum` takes it."""
        layers = [Weights(*(getattr(self, f"{name}_l{l}") for name in Weights._fields)) for l in range(self.layers)]
        return Stack(self.cell, tuple(layers))

    @property
    def hidden_size(self) -> int:
        return self.readout_weight.shape[-1]

    @property
    def preactivations(self) -> int:
        """How many numbers a step computes per sequence, in all variants' widest layer."""
        return len(self) * self.cell.gates * self.hidden_size

    def spectrum(
        self, probe: Tensor, *, over: str, dtype: torch.dtype, steps: int | None = None, k: int | None = None
    ) -> Spectrum:
        """The spectrum when driven by the probe [B, T, I], averaged over its length, which is why `steps` is not read.
        `k`, `over` and `dtype` as in `population_spectrum`."""
        return population_spectrum(self.stack, probe, k=k, over=over, dtype=dtype)

    def forward(self, x: Float[Tensor, "V B T I"] | Int[Tensor, "V B T"]) -> Float[Tensor, "V B C"]:
        """Outputs after the last step of `x`."""
        return self.readout(self.hidden(x)[-1])

    def hidden(
        self, x: Float[Tensor, "V B T I"] | Int[Tensor, "V B T"], between: Between | None = None
    ) -> Float[Tensor, "T V B H"]:
        """h of the last layer after each step of `x`, from the zero state. `between`: what lies between two layers."""
        first, *others = self.stack.layers
        h = self.cell.states(first, x) if x.is_floating_point() else self._states_of_indices(first, x)
        for l, weights in enumerate(others):
            h = h if between is None else between(h, l)
            h = self.cell.states(weights, h.permute(1, 2, 0, 3))
        return h

    def _states_of_indices(self, weights: Weights, x: Int[Tensor, "V B T"]) -> Float[Tensor, "T V B H"]:
        zeros = weights.weight_hh.new_zeros(*x.shape[:2], weights.weight_hh.shape[-1])
        state, steps = (zeros,) * self.cell.parts, []
        for driven in looked_up(weights, x):
            state = self.cell.update(weights, driven, state)
            steps.append(state[0])
        return torch.stack(steps)

    def readout(self, h: Float[Tensor, "V n H"]) -> Float[Tensor, "V n C"]:
        return torch.baddbmm(self.readout_bias[:, None], h, self.readout_weight.mT)


def _layer(
    I: int, H: int, gates: int, initialization: Initialization, recurrent_bias: bool, generator: Generator
) -> Weights:
    """One network's weights of one layer, without the variant axis."""
    plain, R = initialization.name == "default", gates * H
    # PyTorch's default is uniform on ±1/√H for all tensors, biases as well.
    rule = initialization._replace(name="uniform", p=None) if plain else initialization
    W_ih = initialized(torch.empty(R, I), H, rule, generator, recurrent=False)
    W_hh = initialized(torch.empty(R, H), H, rule, generator, recurrent=True)
    b_ih, b_hh = torch.zeros(R), torch.zeros(R)
    if plain:
        for bias in (b_ih, b_hh) if recurrent_bias else (b_ih,):
            bias.uniform_(-1 / math.sqrt(H), 1 / math.sqrt(H), generator=generator)
    if gates > 1:
        b_ih[H : 2 * H] += initialization.forget_bias
    return Weights(W_ih, W_hh, b_ih, b_hh)


def readout_layer(H: int, C: int, generator: Generator) -> tuple[Float[Tensor, "C H"], Float[Tensor, "C"]]:
    """Weight and bias of one network's readout, as `nn.Linear` begins."""
    weight, bias = torch.empty(C, H), torch.empty(C)
    for tensor in (weight, bias):
        tensor.uniform_(-1 / math.sqrt(H), 1 / math.sqrt(H), generator=generator)
    return weight, bias
