"""Running a module's code for its result alone: what it changes meanwhile is as before afterwards."""

import random
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def without_trace(module: nn.Module, evaluation: bool = True) -> Iterator[None]:
    """Inside, the module and its parts are in evaluation mode (or, on request, in their own) and record no gradients,
    and may change. Afterwards their attributes, the numbers in their tensors, their lists and dictionaries, and all
    random states are as before, bit for bit."""
    parts = [(part, dict(vars(part))) for part in module.modules()]
    contents = [(value, value.copy()) for _, own in parts for value in own.values() if isinstance(value, (dict, list))]
    held = [*(own for _, own in parts), *(content for _, content in contents)]
    tensors = {id(value): value for values in held for value in _values(values) if isinstance(value, Tensor)}
    numbers = [(tensor, part, part.clone()) for tensor in tensors.values() for part in _numbers(tensor)]
    recording = {id(tensor) for tensor in tensors.values() if tensor.grad_fn is not None}
    try:
        devices = {tensor.device for tensor in tensors.values()}
        mode = in_evaluation_mode(module) if evaluation else nullcontext()
        with random_states_kept(devices), mode, torch.no_grad():
            yield
    finally:
        for part, own in parts:
            vars(part).clear()
            vars(part).update(own)
        for value, content in contents:
            value.clear()
            value.extend(content) if isinstance(value, list) else value.update(content)
        for tensor, part, before in numbers:
            if tensor.grad_fn is not None and id(tensor) not in recording:
                tensor.detach_()
            if not torch.equal(part, before):
                part.copy_(before)


@contextmanager
def all_without_trace(modules: Iterable[nn.Module], evaluation: bool = True) -> Iterator[None]:
    """`without_trace` of several."""
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(without_trace(module, evaluation))
        yield


def _numbers(tensor: Tensor) -> Iterator[Tensor]:
    """The array in memory in which its numbers are, if it is of a kind that has one."""
    # Of .data, because changing it does not count as a change of the tensor for autograd.
    tensor = tensor.data
    if tensor.layout == torch.sparse_coo:
        yield tensor._values()
    elif tensor.layout != torch.strided:
        yield tensor.values()
    elif not (tensor.is_meta or tensor.is_nested or tensor.is_quantized):
        yield tensor


def _values(values: dict | list) -> Any:
    return values.values() if isinstance(values, dict) else values


@contextmanager
def in_evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Without dropout and the like; afterwards each part is in the mode that it was in."""
    training = [part for part in module.modules() if part.training]
    try:
        for part in training:
            part.training = False
        yield
    finally:
        for part in training:
            part.training = True


@contextmanager
def random_states_kept(devices: set[torch.device]) -> Iterator[None]:
    """PyTorch's, on these devices as well, NumPy's and Python's."""
    state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng([device for device in devices if device.type == "cuda"]):
            yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)
