"""A training step as a CUDA graph: a GPU takes less time for the kernels of small networks than the host for launching
them one by one.

Axes: V variant, B sequence.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from jaxtyping import Float, Int
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules import module as torch_module

Loss = Callable[[Int[Tensor, "V B"]], Float[Tensor, ""]]

PRECISIONS = ("32-true", "64-true")

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
PARAMETER_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")
GLOBAL_HOOKS = tuple(f"_global{name}" for name in HOOKS)


class Recording(NamedTuple):
    """A graph, where it reads its batch from, and where it writes the loss and the gradients to."""

    graph: torch.cuda.CUDAGraph
    batch: Int[Tensor, "V B"]
    loss: Float[Tensor, ""]
    gradients: tuple[Tensor | None, ...]


class CapturedStep:
    """The loss and the gradients of one training step, recorded once and replayed for every batch of that shape.

    A graph contains the addresses of all tensors: if one of them has moved, as after `PopulationModule.take`, it is
    recorded anew. PyTorch's settings, such as the precision of products, are those of the recording. A copy, and what
    is read from a pickle, has recorded nothing.
    """

    def __init__(self):
        self.key: tuple | None = None
        self.recording: Recording | None = None

    def __reduce__(self) -> tuple[type, tuple]:
        return type(self), ()

    def __call__(
        self,
        loss: Loss,
        batch: Int[Tensor, "V B"],
        parameters: Sequence[nn.Parameter],
        changed: Sequence[Tensor],
        constant: Sequence[Tensor],
    ) -> Float[Tensor, ""]:
        """`loss(batch)`, differentiable with respect to the parameters that require it.

        It may change `changed` in place, must not read results back to the host, and must depend on nothing but the
        batch, the parameters, `changed` and `constant`.
        """
        wanted = [parameter for parameter in parameters if parameter.requires_grad]
        tensors = tuple(map(_identity, (*parameters, *changed, *constant)))
        key = getattr(loss, "__code__", loss), tensors, batch.device, batch.dtype, batch.shape
        if self.recording is None or self.key != key:
            self.recording = None  # Its memory is free for the next one.
            self.recording, self.key = self._record(loss, batch, wanted, changed), key
        self.recording.batch.copy_(batch)
        self.recording.graph.replay()
        # The next replay overwrites them, perhaps before a backward pass of this loss.
        gradients = [None if g is None else g.clone() for g in self.recording.gradients]
        return _WithGradients.apply(self.recording.loss, gradients, *wanted)

    def _record(
        self, loss: Loss, batch: Tensor, parameters: Sequence[nn.Parameter], changed: Sequence[Tensor]
    ) -> Recording:
        # Streams and graphs belong to the current device.
        with torch.cuda.device(batch.device):
            graph, batch = torch.cuda.CUDAGraph(), batch.clone(memory_format=torch.contiguous_format)
            # Libraries set themselves up in a first step, which a graph cannot contain; what it changes is put back.
            before, stream = [tensor.clone() for tensor in changed], torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                torch.autograd.grad(loss(batch), parameters, allow_unused=True)
            torch.cuda.current_stream().wait_stream(stream)
            for tensor, value in zip(changed, before, strict=True):
                tensor.copy_(value)
            with (
                _no_garbage_collection(),
                torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"),
            ):
                found = loss(batch)
                gradients = torch.autograd.grad(found, parameters, allow_unused=True)
                # In the parameters' layout, so that the optimizer takes them all at once.
                gradients = tuple(None if g is None else g.contiguous() for g in gradients)
        return Recording(graph, batch, found.detach(), gradients)


class _WithGradients(torch.autograd.Function):
    """A loss whose gradients by the parameters are known: autograd sees one operation instead of the whole step."""

    @staticmethod
    def forward(ctx, loss: Tensor, gradients: Sequence[Tensor | None], *_parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, *of_loss: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        (factor,) = of_loss
        return None, None, *(None if g is None else g * factor for g in ctx.gradients)


def recordable(module: pl.LightningModule, batch: Tensor) -> bool:
    """Whether a graph of the step is the step: on a GPU, and nothing else takes part in it."""
    return batch.is_cuda and plain(module, batch.device)


def plain(module: pl.LightningModule, device: torch.device) -> bool:
    """Whether all of the module is on one device, in one process, in one precision, with no hook or check between."""
    trainer: Any = module._trainer
    parameters = list(module.parameters())
    return (
        torch.is_grad_enabled()
        and not torch.is_anomaly_enabled()
        and not torch.is_autocast_enabled(device.type)
        and not torch.compiler.is_compiling()
        and not (torch.distributed.is_available() and torch.distributed.is_initialized())
        and module._fabric is None
        and (
            trainer is None
            or (
                trainer.world_size == 1
                and isinstance(trainer.strategy, SingleDeviceStrategy)
                and trainer.accumulate_grad_batches == 1
                and str(trainer.precision) in PRECISIONS
            )
        )
        and any(parameter.requires_grad for parameter in parameters)
        and len({parameter.dtype for parameter in parameters}) == 1
        and all(tensor.device == device for tensor in (*parameters, *module.buffers()))
        and not any(getattr(part, name, None) for part in module.modules() for name in HOOKS)
        and not any(getattr(parameter, name, None) for parameter in parameters for name in PARAMETER_HOOKS)
        and not any(getattr(torch_module, name, None) for name in GLOBAL_HOOKS)
    )


def _identity(tensor: Tensor) -> tuple:
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device, tensor.requires_grad


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
