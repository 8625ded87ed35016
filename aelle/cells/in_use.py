"""The weights of a recurrent module's next forward pass, which may not be those that it has now."""

from collections.abc import Sequence
from contextlib import suppress
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from aelle.cells.stack import Module, Stack, stack_of
from aelle.cells.without_trace import without_trace
from aelle.errors import UserError


def stack_in_use(network: Module, around: Sequence[nn.Module] | None = None) -> Stack:
    """`stack_of(network)` with the weights of its next forward pass in evaluation mode; nothing is changed.

    Weights may be computed in each forward pass: by forward pre-hooks of the network (`torch.nn.utils.weight_norm`,
    `torch.nn.utils.prune`), by a parametrization, or by a module around it that sets them in its own forward
    (WeightDrop). `around`: the modules that contain the network, the innermost first; the last one is not called.

    Raises UserError if `around` is given and nothing in it computes weights that depend on others.
    """
    if not (network._forward_pre_hooks or _computed(network)):
        return stack_of(network)
    with without_trace(around[-1] if around else network):
        names = [name for name in _computed(network) if not is_parametrized(network, name)]
        before = {name: _state(network, name) for name in names}
        found: list[Stack] = []
        _record_calls(network, found)
        for module in (network, *(around or ())[:-1]):
            found.clear()
            _call(module, network)
            if found and all(_state(network, name) != before[name] for name in names):
                return found[0]
    if around is not None and any(getattr(network, name).requires_grad for name in names):
        raise UserError(
            f"{', '.join(names)} of {type(network).__name__} are computed from other parameters, and not by a module "
            "around it that can be called with its input: compute them in a forward pre-hook of the network "
            "(register_forward_pre_hook), or by torch.nn.utils.parametrize"
        )
    return stack_of(network)


def _computed(network: Module) -> list[str]:
    """The names of its weights that are no parameters."""
    layers = range(network.num_layers) if isinstance(network, nn.RNNBase) else ()
    suffixes = [f"_l{layer}" for layer in layers] or [""]
    kinds = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if network.bias else ()))
    return [kind + suffix for suffix, kind in product(suffixes, kinds) if kind + suffix not in network._parameters]


def _state(network: Module, name: str) -> tuple[int, int]:
    """Another one whenever that weight is set, or changed in place."""
    weight: Tensor = getattr(network, name)
    return id(weight), weight._version


class _ReachedError(Exception):
    """The network's forward has been called, and its weights recorded."""


def _record_calls(network: Module, found: list[Stack]) -> None:
    """Replace the forward of this instance."""

    def forward(*_: object, **__: object) -> None:
        found.append(stack_of(network).map(torch.clone))
        raise _ReachedError

    network.forward = forward


def _call(module: nn.Module, network: Module) -> None:
    """With an input of the network's. A module around the network, or a hook, may take another one, and fail."""
    weight: Tensor = getattr(network, "weight_ih_l0" if isinstance(network, nn.RNNBase) else "weight_ih")
    x = weight.new_zeros(1, network.input_size)
    with suppress(Exception):
        module(x[None] if isinstance(network, nn.RNNBase) else x)
