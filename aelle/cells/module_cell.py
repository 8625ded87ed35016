"""Cells that are PyTorch modules, as functions of their parameters and buffers, for V networks at once.

Such a cell is known only as a function: `torch.func.vmap` adds the variant axis to it, automatic differentiation its
Jacobian. Its tensors are its parameters and buffers by name, with a leading axis [V].

Axes: V variant, B sequence, T step, I input, H hidden unit, S number in the state.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.utils import parametrize

State = tuple[Tensor, ...]
"""The parts of a state, [B, …] each; the first is the output, unless the module returns it separately."""

Tensors = dict[str, Tensor]
"""A module's parameters and buffers by name."""

PREFIX = "module."


@dataclass(frozen=True)
class Form:
    """How a module takes and returns its state: parts of these shapes (without B); as a `bare` tensor or as a tuple;
    with the output `separate`, as (output, state); with normal numbers [B, H] as its argument `noise`."""

    shapes: tuple[torch.Size, ...]
    bare: bool
    separate: bool
    noisy: bool

    def parted(self, result: Any) -> tuple[Tensor, State]:
        """The output and the state, from what the module has returned."""
        state = result[1] if self.separate else result
        state = (state,) if self.bare else tuple(state)
        return (result[0] if self.separate else state[0]), state


class ModuleCell(nn.Module):
    """A module of one step, x [B, I] and a state in, the next state out; applied along sequences from a given state."""

    def __init__(self, module: nn.Module, form: Form, input_size: int, hidden_size: int):
        super().__init__()
        self.module, self.form = module, form
        self.input_size, self.hidden_size = input_size, hidden_size

    @property
    def size(self) -> int:
        """S: the numbers in the state of one sequence."""
        return sum(shape.numel() for shape in self.form.shapes)

    def zeros(self, x: Tensor, *sizes: int) -> State:
        """The state that sequences start from, [*sizes, …] each."""
        return tuple(x.new_zeros(*sizes, *shape) for shape in self.form.shapes)

    def forward(
        self, x: Float[Tensor, "B T I"], state: State, noise: Float[Tensor, "B T H"] | None = None
    ) -> tuple[Float[Tensor, "T B H"], State]:
        """The outputs of all steps and the last state."""
        outputs = []
        # A parametrized weight is computed once, not at every step.
        with parametrize.cached():
            for t, x_t in enumerate(x.unbind(1)):
                output, state = self.step(x_t, state, None if noise is None else noise[:, t])
                outputs.append(output)
        return torch.stack(outputs), state

    def step(self, x: Float[Tensor, "B I"], state: State, noise: Tensor | None) -> tuple[Tensor, State]:
        given = {}
        if self.form.noisy:
            given["noise"] = x.new_zeros(len(x), self.hidden_size) if noise is None else noise
        return self.form.parted(self.module(x, state[0] if self.form.bare else state, **given))

    def applied(self, tensors: Tensors, *inputs: Any) -> tuple[Tensor, State]:
        """`forward` with other parameters and buffers."""
        return functional_call(self, {PREFIX + name: tensor for name, tensor in tensors.items()}, inputs)

    def outputs(
        self, tensors: Tensors, x: Float[Tensor, "V B T I"], noise: Float[Tensor, "V B T H"] | None = None
    ) -> Float[Tensor, "T V B H"]:
        """The outputs of V members after each step, from zeros; differentiable by autograd."""

        def of_one(tensors: Tensors, x: Tensor, state: State, noise: Tensor | None) -> Tensor:
            return self.applied(tensors, x, state, noise)[0]

        mapped = vmap(of_one, (0, 0, 0, None if noise is None else 0), out_dims=1)
        return mapped(tensors, x, self.zeros(x, *x.shape[:2]), noise)

    def flat_step(
        self, tensors: Tensors, x: Float[Tensor, "B I"], flat: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B S"]]:
        """One step of one member from a flat state: its output and the next flat state."""
        sizes = [shape.numel() for shape in self.form.shapes]
        parts = zip(flat.split(sizes, -1), self.form.shapes, strict=True)
        # A module may change its state in place.
        state = tuple(part.clone().unflatten(-1, shape) if len(shape) > 1 else part.clone() for part, shape in parts)
        outputs, new = self.applied(tensors, x[:, None], state)
        return outputs[0], torch.cat([part.flatten(1) for part in new], -1)


@dataclass(frozen=True)
class ModuleStack:
    """V recurrent networks of such cells: their layers, the lowest first, and the tensors of each, [V, …]."""

    layers: tuple[ModuleCell, ...]
    tensors: tuple[Tensors, ...]

    def __len__(self) -> int:
        return len(next(iter(self.tensors[0].values())))

    @property
    def input_size(self) -> int:
        return self.layers[0].input_size

    @property
    def device(self) -> torch.device:
        return next(iter(self.tensors[0].values())).device

    def dimension(self, full: bool = True) -> int:
        """N: the numbers in the full state of all layers. There is no other spectrum than the full state's: what is
        "hidden" is not known of a cell that is only a function."""
        return sum(cell.size for cell in self.layers)

    @property
    def weights(self) -> int:
        """How many numbers one network has."""
        return sum(w[0].numel() for layer in self.tensors for w in layer.values())

    def finite(self) -> Bool[Tensor, "V"]:
        """Which of the V networks contain no NaN and no infinity."""
        tensors = [w.reshape(len(self), -1) for layer in self.tensors for w in layer.values()]
        return torch.stack([w.isfinite().all(1) for w in tensors]).all(0)

    def map(self, function: Callable[[Tensor], Tensor]) -> "ModuleStack":
        """The same networks with every tensor replaced."""
        return replace(self, tensors=tuple({name: function(w) for name, w in layer.items()} for layer in self.tensors))

    def to(self, dtype: torch.dtype) -> "ModuleStack":
        """The same networks in that precision, detached."""
        return self.map(lambda w: w.detach().to(dtype) if w.is_floating_point() else w)

    def step(
        self, tensors: tuple[Tensors, ...], x: Float[Tensor, "B I"], flat: Float[Tensor, "B S"]
    ) -> Float[Tensor, "B S"]:
        """One step of one network from a flat state, layer by layer."""
        states = []
        for cell, of_layer, state in zip(
            self.layers, tensors, flat.split([cell.size for cell in self.layers], -1), strict=True
        ):
            x, new = cell.flat_step(of_layer, x, state)
            states.append(new)
        return torch.cat(states, -1)


def tensors_of(module: nn.Module) -> Tensors:
    """Its parameters and buffers by name, each once."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def doubled(tensors: Tensors) -> Tensors:
    return {name: t.detach().double() if t.is_floating_point() else t.detach() for name, t in tensors.items()}
