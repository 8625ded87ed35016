"""V recurrent networks of any cell, trained side by side: a cell of torchrecurrent or of one's own, by `vmap`.

Axes: V variant, B sequence, T step, I input, H hidden unit, C class, n row.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from aelle.cells.library import cell_options, check_option_names
from aelle.cells.module_cell import ModuleCell, ModuleStack, tensors_of
from aelle.cells.module_checks import checked_cell
from aelle.errors import UserError, in_one_line
from aelle.lyapunov.estimate import population_spectrum
from aelle.lyapunov.spectrum import Spectrum
from aelle.seeds import seed_for
from aelle.tasks.initialization import Initialization, initialized
from aelle.tasks.population import Between

MAX_LAYERS = 4

Noise = Callable[[int, tuple[int, int, int]], Tensor]
"""The normal numbers [V, T, B, H] for a layer, given its number and (T, B, H)."""


class CellPopulation(nn.Module):
    """V networks of `layers` layers of a cell class with a linear readout.

    Member v equals modules `cell(I, H, **options)`, … and `nn.Linear(H, C)` with the slices [v] of the parameters and
    buffers, which have the names of the cell's own with the layer's number behind, `weight_hh_l0` (dots become two
    underscores). They are built by the class itself from a random state seeded by `seeds[v]` alone, so that a member
    does not depend on its population; its matrices [R, C] are then initialized as `initializations[v]` says, except
    those under a parametrization.

    `options` are the constructor's, the same for all members; `member_options[v]` has further ones, whose defaults must
    be floats, of member v. Inputs are vectors [V, B, T, I], or the indices [V, B, T] of one-hot vectors.

    Raises UserError for a class that is no cell or cannot run as a population, by name.
    """

    def __init__(
        self,
        cell: type[nn.Module],
        inputs: int,
        hidden_size: int,
        outputs: int,
        initializations: Sequence[Initialization],
        seeds: Sequence[int],
        *,
        layers: int = 1,
        options: Mapping[str, Any] | None = None,
        member_options: Sequence[Mapping[str, float]] = (),
    ):
        super().__init__()
        if not 1 <= layers <= MAX_LAYERS:
            raise UserError(f"layers={layers}: give a whole number from 1 to {MAX_LAYERS}")
        self.inputs, self.hidden_size = inputs, hidden_size
        sizes = [inputs, *[hidden_size] * (layers - 1)]
        own_options = [{**(options or {}), **own} for own in member_options or [{}] * len(seeds)]
        for own in own_options:
            check_option_names(cell, own)
        _check_member_options(cell, member_options)
        members = [
            _member(cell, sizes, hidden_size, outputs, init, seed, own, bool(member_options))
            for init, seed, own in zip(initializations, seeds, own_options, strict=True)
        ]
        _check_reproducible(cell, sizes, hidden_size, own_options[0], seeds[0])
        tried = members if member_options else [members[0], *members[1:][-1:]]
        self._cells: list[ModuleCell] = []  # A list hides them, whose tensors are one member's, from PyTorch.
        self._names: list[list[str]] = []
        for l, size in enumerate(sizes):
            self._cells.append(checked_cell([cells[l] for cells, _ in tried], size, hidden_size))
            of_members = [tensors_of(cells[l]) for cells, _ in members]
            self._names.append(list(of_members[0]))
            for name, first in of_members[0].items():
                self._add(_name(name, l), first, torch.stack([tensors[name].detach() for tensors in of_members]))
        self.readout_weight = nn.Parameter(torch.stack([readout.weight.detach() for _, readout in members]))
        self.readout_bias = nn.Parameter(torch.stack([readout.bias.detach() for _, readout in members]))

    def _add(self, name: str, first: Tensor, stacked: Tensor) -> None:
        assert not hasattr(self, name), name
        if isinstance(first, nn.Parameter):
            self.register_parameter(name, nn.Parameter(stacked, requires_grad=first.requires_grad))
        else:
            self.register_buffer(name, stacked)

    def __len__(self) -> int:
        return len(self.readout_weight)

    @property
    def stack(self) -> ModuleStack:
        """The recurrent part, as `aelle.lyapunov.estimate.population_spectrum` takes it."""
        for cell in self._cells:
            cell.train(self.training)
        tensors = [{name: getattr(self, _name(name, l)) for name in names} for l, names in enumerate(self._names)]
        return ModuleStack(tuple(self._cells), tuple(tensors))

    @property
    def preactivations(self) -> int:
        """How many numbers a step computes per sequence, in all variants' widest layer, by its state and matrices."""
        stack = self.stack
        rows = [w.shape[1] for tensors in stack.tensors for w in tensors.values() if w.ndim == 3]
        return len(self) * max(rows + [cell.size for cell in stack.layers])

    @property
    def noisy(self) -> bool:
        """Whether the cell takes normal numbers as its argument `noise`."""
        return self._cells[0].form.noisy

    def spectrum(
        self, probe: Tensor, *, over: str, dtype: torch.dtype, steps: int | None = None, k: int | None = None
    ) -> Spectrum:
        """The spectrum of the full state, without noise, when driven by the probe [B, T, I], averaged over its length.

        Whatever `over` says: of a cell that is only a function it is not known what "hidden" is.
        """
        return population_spectrum(self.stack, probe, k=k, over=over, dtype=dtype)

    def forward(self, x: Float[Tensor, "V B T I"] | Int[Tensor, "V B T"]) -> Float[Tensor, "V B C"]:
        """Logits after the last step."""
        return self.readout(self.hidden(x)[-1])

    def hidden(
        self,
        x: Float[Tensor, "V B T I"] | Int[Tensor, "V B T"],
        between: Between | None = None,
        noise: Noise | None = None,
    ) -> Float[Tensor, "T V B H"]:
        """The last layer's output after each step, from the zero state; without `noise`, a cell's noise is zero."""
        if not x.is_floating_point():
            x = F.one_hot(x, self.inputs).to(self.readout_weight.dtype)
        stack, h = self.stack, None
        for l, (cell, tensors) in enumerate(zip(stack.layers, stack.tensors, strict=True)):
            if h is not None:
                x = (h if between is None else between(h, l - 1)).permute(1, 2, 0, 3)
            drawn = noise(l, (x.shape[2], x.shape[1], self.hidden_size)) if noise and self.noisy else None
            h = cell.outputs(tensors, x, None if drawn is None else drawn.transpose(1, 2))
        assert h is not None
        return h

    def readout(self, h: Float[Tensor, "V n H"]) -> Float[Tensor, "V n C"]:
        return torch.baddbmm(self.readout_bias[:, None], h, self.readout_weight.mT)


def drawn_noise(seeds: Sequence[int], *key: int | str, like: Tensor, sizes: Sequence[int] | None = None) -> Noise:
    """Noise for `CellPopulation.hidden`: variant v's comes from seeds[v] and the key (epoch, batch) alone, and is 0
    beyond its first sizes[v] sequences.

    On the device and in the dtype of `like`.
    """

    def drawn(layer: int, shape: tuple[int, int, int]) -> Tensor:
        T, B, H = shape
        numbers = like.new_zeros(len(seeds), B, T, H)
        for seed, of_one, size in zip(seeds, numbers, sizes or [B] * len(seeds), strict=True):
            generator = torch.Generator(like.device).manual_seed(seed_for(seed, "noise", layer, *key))
            of_one[:size].copy_(torch.randn(size, T, H, generator=generator, dtype=like.dtype, device=like.device))
        return numbers.transpose(1, 2)

    return drawn


def _name(name: str, layer: int) -> str:
    return f"{name.replace('.', '__')}_l{layer}"


def _member(
    cell: type[nn.Module],
    sizes: Sequence[int],
    hidden_size: int,
    outputs: int,
    initialization: Initialization,
    seed: int,
    options: Mapping[str, Any],
    own_numbers: bool,
) -> tuple[list[nn.Module], nn.Linear]:
    """One network's cells, the lowest first, and its readout."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        cells = [_constructed(cell, size, hidden_size, options) for size in sizes]
        readout = nn.Linear(hidden_size, outputs)
    generator = torch.Generator().manual_seed(seed_for(seed, "weights"))
    for module in cells:
        _initialize(module, hidden_size, initialization, generator)
        if own_numbers:
            _numbers_to_buffers(module)
    return cells, readout


def _constructed(cell: type[nn.Module], size: int, hidden_size: int, options: Mapping[str, Any]) -> nn.Module:
    try:
        return cell(size, hidden_size, **options)
    except Exception as error:
        given = "".join(f", {name}={value!r}" for name, value in options.items())
        raise UserError(
            f"{cell.__name__}({size}, {hidden_size}{given}) cannot be made: {in_one_line(error)}; a cell's constructor "
            "takes (input_size, hidden_size) and options"
        ) from error


def _check_reproducible(
    cell: type[nn.Module], sizes: Sequence[int], hidden_size: int, options: Mapping[str, Any], seed: int
) -> None:
    made = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            made.append(tensors_of(_constructed(cell, sizes[0], hidden_size, options)))
    if not all(torch.equal(one, made[1][name]) for name, one in made[0].items()):
        raise UserError(
            f"{cell.__name__} draws its initial weights from another generator than PyTorch's: a variant's come from "
            "its seed; draw them with torch.randn or torch.nn.init"
        )


@torch.no_grad()
def _initialize(
    module: nn.Module, hidden_size: int, initialization: Initialization, generator: torch.Generator
) -> None:
    name, matrices = type(module).__name__, 0
    for path, parameter in module.named_parameters():
        if parameter.ndim == 2 and "parametrizations" not in path.split("."):
            recurrent = (
                not path.endswith("_ih") and parameter.shape[1] == hidden_size and not len(parameter) % hidden_size
            )
            parameter.copy_(initialized(parameter, hidden_size, initialization, generator, recurrent))
            matrices += 1
    if not matrices and (initialization.name != "default" or initialization.gain != 1):
        raise UserError(
            f"init={initialization.name}, gain={initialization.gain}: {name} has no weight matrices of its own, outside"
            " of a parametrization: use init=default and gain=1"
        )
    if initialization.forget_bias:
        raise UserError(
            f"forget_bias={initialization.forget_bias}: which bias of {name} is a forget gate's is not known; use "
            "forget_bias=0"
        )


def _numbers_to_buffers(module: nn.Module) -> None:
    """The cell's own floats become buffers, so that they may differ between members."""
    for name, value in list(vars(module).items()):
        if isinstance(value, float):
            delattr(module, name)
            module.register_buffer(name, torch.tensor(value))


def _check_member_options(cell: type[nn.Module], member_options: Sequence[Mapping[str, float]]) -> None:
    defaults = cell_options(cell)
    for name in sorted({name for own in member_options for name in own}):
        if not isinstance(defaults[name], float):
            raise UserError(
                f"{name} of {cell.__name__} has the default {defaults[name]!r}: only options whose default is a float "
                "can differ within a population; give members of one value"
            )
