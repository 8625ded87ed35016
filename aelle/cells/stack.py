"""Layers of recurrent cells, for V networks of one shape at once, and the conversion of PyTorch's modules.

Axes: V variant, H hidden unit.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeGuard

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from aelle.cells import CELLS, RNN, Cell, Weights

RECURRENT_MODULES = (nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell)
Module = nn.RNNBase | nn.RNNCellBase


@dataclass(frozen=True)
class Stack:
    """V recurrent networks: their cell and their layers, the lowest first."""

    cell: Cell
    layers: tuple[Weights, ...]

    def __len__(self) -> int:
        return len(self.layers[0].weight_hh)

    @property
    def input_size(self) -> int:
        return self.layers[0].weight_ih.shape[-1]

    @property
    def hidden_size(self) -> int:
        return self.layers[0].weight_hh.shape[-1]

    @property
    def device(self) -> torch.device:
        return self.layers[0].weight_hh.device

    def dimension(self, full: bool) -> int:
        """N: the numbers in the full state of all layers, or in their hidden states only."""
        return len(self.layers) * self.hidden_size * (self.cell.parts if full else 1)

    @property
    def weights(self) -> int:
        """How many numbers one network has."""
        return sum(w[0].numel() for layer in self.layers for w in layer)

    def finite(self) -> Bool[Tensor, "V"]:
        """Which of the V networks contain no NaN and no infinity."""
        return torch.stack([w.flatten(1).isfinite().all(1) for layer in self.layers for w in layer]).all(0)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Stack":
        """The same networks with every tensor replaced."""
        return replace(self, layers=tuple(Weights(*map(function, layer)) for layer in self.layers))

    def to(self, dtype: torch.dtype) -> "Stack":
        """The same networks in that precision, detached."""
        return self.map(lambda w: w.detach().to(dtype))


def is_recurrent(network: object) -> TypeGuard[Module]:
    """Whether `stack_of` accepts it; a subclass with its own `forward` computes something else."""
    return any(isinstance(network, known) and type(network).forward is known.forward for known in RECURRENT_MODULES)


def with_own_forward(network: object) -> str:
    """Why a subclass of a recurrent module is not measured as one, or "" for anything else."""
    parents = [known.__name__ for known in RECURRENT_MODULES if isinstance(network, known)]
    if not parents or is_recurrent(network):
        return ""
    return (
        f"{type(network).__name__} has a forward of its own, which may compute something else than {parents[0]}, whose "
        "Jacobian is known"
    )


def stack_of(network: Module) -> Stack:
    """The cell and the weights (V = 1) of `nn.RNN`, `nn.GRU`, `nn.LSTM` or their one-step `*Cell` forms.

    Dropout between layers is left out, as in evaluation. Raises ValueError, by name, for bidirectional and projected
    networks.
    """
    kind = type(network).__name__
    if isinstance(network, nn.RNNBase) and network.bidirectional:
        raise ValueError(
            f"bidirectional {kind}: it reads future inputs, so it has no one-step map; give a unidirectional network"
        )
    if isinstance(network, nn.RNNBase) and network.proj_size:
        raise ValueError(f"{kind} with proj_size={network.proj_size}: projections are not supported; use proj_size=0")
    if isinstance(network, nn.RNNCellBase):
        return Stack(_cell(network), (_weights(network, ""),))
    return Stack(_cell(network), tuple(_weights(network, f"_l{l}") for l in range(network.num_layers)))


def _cell(network: Module) -> Cell:
    if isinstance(network, (nn.LSTM, nn.LSTMCell)):
        return CELLS["lstm"]
    if isinstance(network, (nn.GRU, nn.GRUCell)):
        return CELLS["gru"]
    return RNN(relu=network.nonlinearity == "relu")


def _weights(network: Module, suffix: str) -> Weights:
    """The weights of one layer; biases are zero if the network has none."""

    def parameter(name: str) -> Tensor:
        return getattr(network, name + suffix).detach()[None]

    ih, hh = parameter("weight_ih"), parameter("weight_hh")
    if network.bias:
        return Weights(ih, hh, parameter("bias_ih"), parameter("bias_hh"))
    zeros = torch.zeros_like(hh[..., 0])
    return Weights(ih, hh, zeros, zeros)
