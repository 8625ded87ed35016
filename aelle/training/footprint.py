"""How much memory a pack needs, estimated before it is trained.

A pack is V variants of one shape, so one of them, tried for a few sequences, tells what all need for a whole batch:
weights, gradients, moments, what is kept for the backward pass, and what is needed in between are all linear in both.
The bytes are counted as tensors are made and deleted, so the count holds for any cell, and takes no memory itself.
"""

import gc
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from aelle.cells.module_cell import ModuleStack
from aelle.cells.stack import Stack
from aelle.cells.without_trace import random_states_kept
from aelle.lyapunov.chunks import trajectory_bytes
from aelle.lyapunov.ensemble import OWN_COPIES
from aelle.memory import Bytes, TooLargeError, available, ran_out, shown
from aelle.tasks.module import PopulationModule
from aelle.training.parts import Parts
from aelle.variants import Variant

TRIED = (8, 16)
"""Sequences of the steps that are tried: enough for activations, not weights, to decide when most memory is taken."""

COPIES = 6
"""Of its weights, a variant whose step cannot be tried: themselves, gradients, two moments, and two in between."""

SLACK, MODULE_SLACK = 1.8, 2.7
"""Memory taken over memory counted: what allocators keep unused, and workspaces of libraries; for cells of modules,
copies within the operations that run all variants at once (`bench/memory.py`)."""

REST = 1 / 8
"""The share of what is available that a pack leaves to evaluations, spectra and checkpoints."""


class Footprint(NamedTuple):
    """Bytes: `shared`, of the data, where they are copied for a pack; of each variant, those that it keeps all along
    and those that its training `step` needs besides; and those of the `spectrum` of a single sequence.

    `recorded`: a step's tensors stay, as part of a CUDA graph.
    """

    shared: Bytes
    kept: Bytes
    step: Bytes
    spectrum: Bytes
    recorded: bool

    def of(self, variants: int) -> Bytes:
        return self.lasting(variants) + max(0 if self.recorded else variants * self.step, self.spectrum)

    def lasting(self, variants: int) -> Bytes:
        """What is left of them for evaluations and spectra is what is available without this."""
        return self.shared + variants * (self.kept + self.recorded * self.step)

    def most(self, room: Bytes) -> int:
        """How many variants fit, with a rest for evaluations and checkpoints."""
        steps = ((1 - REST) * room - self.shared) / (self.kept + self.step)
        return max(0, int(min(steps, (room - self.shared - self.spectrum) / (self.kept + self.recorded * self.step))))


class Live(TorchDispatchMode):
    """Counts the bytes of the tensors that are made inside while they live: `now`, and `peak` since it was set."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping | None = None) -> Any:
        made = func(*args, **(kwargs or {}))
        # A view of a tensor from outside is not made here.
        outside = {_address(given) for given in tree_leaves((args, kwargs)) if isinstance(given, Tensor)} - self.known
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and _address(tensor) not in outside:
                self._see(tensor)
        return made

    def _see(self, tensor: Tensor) -> None:
        storage, address = tensor.untyped_storage(), _address(tensor)
        if address and address not in self.known:
            self.known.add(address)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, address, storage.nbytes()).atexit = False

    def _forget(self, address: int, size: int) -> None:
        self.known.discard(address)
        self.now -= size


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided and not tensor.is_meta else 0


def footprint(parts: Parts, variant: Variant) -> Footprint:
    """That of a pack of variants like this one. Raises UserError if its network cannot be built."""
    on_gpu = parts.device.type == "cuda"
    precision = torch.float64 if parts.config["trainer"]["precision"] == "64-true" else torch.float32
    with random_states_kept({parts.device}), Live() as live:
        module: PopulationModule = parts.module(parts.data, [variant])
        module.to(parts.device, precision)
        buffers = dict(module.named_buffers())
        data = [buffers[name] for name in module.shared if name in buffers]
        shared = sum(tensor.nbytes for tensor in data if _address(tensor) in live.known)
        weights = sum(parameter.nbytes for parameter in module.parameters())
        kept, step = live.now - shared + (COPIES - 1) * weights, 0
        if module.sequences_per_step:
            try:
                kept, step = _tried(module, live, shared)
            except Exception as error:
                # A module of a user's own may need what only a trainer gives, or fail in training as well: its weights
                # have to do.
                if ran_out(error):
                    raise
    stack: Any = getattr(getattr(module, "network", None), "stack", None)
    slack, spectrum = MODULE_SLACK if isinstance(stack, ModuleStack) else SLACK, 0
    if stack is not None:
        spectrum = _spectrum(stack, parts.config["lyapunov"])
    return Footprint(SLACK * shared, slack * kept, slack * step, spectrum, recorded=on_gpu and step > 0)


def _spectrum(stack: Stack | ModuleStack, options: dict[str, Any]) -> int:
    """Bytes that a single sequence's needs."""
    N = stack.dimension(options["over"] == "full")
    each = trajectory_bytes(N, min(options["k"] or N, N), analytic=isinstance(stack, Stack))
    return each + OWN_COPIES * 8 * stack.weights


def variants_together(needed: Footprint, variants: int, parts: Parts) -> int:
    """How many of a pack's variants are trained together. Raises TooLargeError if there is no memory for one."""
    room = available(parts.device)
    if needed.most(room) < variants:
        # The tensors of the pack before may be garbage by now, in cycles through its trainer.
        gc.collect()
        room = available(parts.device)
    if needed.of(1) > room:
        raise TooLargeError(
            f"one network needs about {shown(needed.of(1))} of memory (its training step {shown(needed.step)}, the "
            f"spectrum of a sequence {shown(needed.spectrum)}), and {shown(room)} are available on "
            f"{parts.device.type}: choose a smaller batch_size or hidden_size, fewer exponents (lyapunov.k=…), or give "
            "more (trainer.memory=…)"
        )
    return max(1, min(variants, needed.most(room)))


def _tried(module: PopulationModule, live: Live, shared: int) -> tuple[Bytes, Bytes]:
    """Bytes that a variant keeps, and that its step needs besides, for as many sequences as it will have."""
    optimizer: Any = module.configure_optimizers()
    few, more = (min(sequences, module.sequences_per_step) for sequences in TRIED)
    peaks = []
    # The first makes the gradients and moments that all later ones find.
    for sequences in (few, few, more):
        live.peak = live.now
        loss = module.trial_loss(sequences)
        optimizer.zero_grad()
        loss.backward()
        del loss
        peaks.append(live.peak)
        module.configure_gradient_clipping(optimizer)
        optimizer.step()
    kept = live.now - shared
    slope = (peaks[2] - peaks[1]) / max(more - few, 1)
    whole = peaks[2] + slope * (module.sequences_per_step - more)
    return kept, max(whole, live.peak) - shared - kept
