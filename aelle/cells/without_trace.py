"""Running a module's code for its result alone: what it changes meanwhile is as before afterwards."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def without_trace(module: nn.Module) -> Iterator[None]:
    """Inside, the module and its parts are in evaluation mode and record no gradients, and may change. Afterwards their
    attributes, the numbers in their tensors, their lists and dictionaries, and all random states are as before, bit for
    bit."""
    parts = [(part, dict(vars(part))) for part in module.modules()]
    contents = [(value, value.copy()) for _, own in parts for value in own.values() if isinstance(value, (dict, list))]
    held = [*(own for _, own in parts), *(content for _, content in contents)]
    tensors = {id(value): value for values in held for value in _values(values) if isinstance(value, Tensor)}
    numbers = [(tensor, tensor.detach().clone()) for tensor in tensors.values()]
    try:
        devices = {tensor.device for tensor in tensors.values()}
        with random_states_kept(devices), in_evaluation_mode(module), torch.no_grad():
            yield
    finally:
        for part, own in parts:
            vars(part).clear()
            vars(part).update(own)
        for value, content in contents:
            value.clear()
            value.extend(content) if isinstance(value, list) else value.update(content)
        for tensor, before in numbers:
            if not torch.equal(tensor, before):
                tensor.data.copy_(before)


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
