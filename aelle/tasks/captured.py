"""A training step as a CUDA graph: a GPU takes less time for the kernels of small networks than the host for launching
them one by one.

Axes: V variant, B sequence.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class Recording(NamedTuple):
    """A graph, where it reads its batch from, and where it writes the loss and the gradients to."""

    graph: torch.cuda.CUDAGraph
    batch: Int[Tensor, "V B"]
    loss: Float[Tensor, ""]
    gradients: tuple[Tensor | None, ...]


class CapturedStep:
    """The loss and the gradients of one training step, recorded once and replayed for every batch of that shape.

    `loss(batch)` is the loss to differentiate. It may change `buffers` in place, must not read results back to the
    host, and must depend on nothing but the batch, `parameters` and `buffers`. A graph contains their addresses: if one
    of them has moved, as after `PopulationModule.take`, it is recorded anew. Python's part of the step, including hooks
    of modules, runs only while it is recorded.
    """

    def __init__(self, loss: Callable[[Int[Tensor, "V B"]], Float[Tensor, ""]]):
        self.loss = loss
        self.places: tuple | None = None
        self.recording: Recording | None = None

    @property
    def gradients(self) -> tuple[Tensor | None, ...]:
        """Those of the parameters by the last loss; the next call overwrites them."""
        return self.recording.gradients if self.recording else ()

    def __call__(
        self, batch: Int[Tensor, "V B"], parameters: Sequence[nn.Parameter], buffers: Sequence[Tensor]
    ) -> Float[Tensor, ""]:
        """The loss, detached."""
        places = batch.shape, *((tensor.data_ptr(), tensor.shape) for tensor in (*parameters, *buffers))
        if self.recording is None or self.places != places:
            self.recording = None  # Its memory is free for the next one.
            self.recording, self.places = self._record(batch, parameters, buffers), places
        self.recording.batch.copy_(batch)
        self.recording.graph.replay()
        return self.recording.loss.clone()

    def _record(self, batch: Tensor, parameters: Sequence[nn.Parameter], buffers: Sequence[Tensor]) -> Recording:
        graph, batch = torch.cuda.CUDAGraph(), batch.clone(memory_format=torch.contiguous_format)
        # Libraries set themselves up in a first step, which a graph cannot contain; what it changes is put back.
        before, stream = [buffer.clone() for buffer in buffers], torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            torch.autograd.grad(self.loss(batch), parameters, allow_unused=True)
        torch.cuda.current_stream().wait_stream(stream)
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
        with _no_garbage_collection(), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            loss = self.loss(batch)
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            # In the parameters' layout, so that the optimizer takes them all at once.
            gradients = tuple(None if g is None else g.contiguous() for g in gradients)
        return Recording(graph, batch, loss.detach(), gradients)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Collect before, and not within: freeing another graph while one is recorded is an error."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
