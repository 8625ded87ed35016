"""What drives a network while it is measured: fixed sequences, or what a trained embedding makes of them."""

import hashlib
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from aelle.cells.without_trace import without_trace
from aelle.errors import UserError, in_one_line
from aelle.lyapunov.checks import check_real

Probe = Tensor | Callable[[Any], Any] | None
"""Sequences [B, T, I], token ids [B, T] for an embedding, a function of the LightningModule that returns [B, T, I], or
nothing."""


def check_probe(name: str, probe: Any, embedding: Any) -> None:
    """Raises UserError for what could drive no network, and what no embedding could take."""
    if embedding is not None and not isinstance(embedding, str):
        raise UserError(
            f"embedding is of type {type(embedding).__name__}: give its attribute path in the LightningModule, e.g. "
            f'"embedding", or {name}=lambda module: … that calls it'
        )
    if probe is None or (callable(probe) and not isinstance(probe, Tensor)):
        if embedding is not None:
            what = "None" if probe is None else "a function"
            raise UserError(
                f"embedding={embedding!r} and {name} is {what}: give token ids [B, T], or leave embedding out"
            )
        return
    if isinstance(probe, PackedSequence):
        raise UserError(f"{name} is a PackedSequence: give a tensor [B, T, I], of sequences of the same length")
    check_real(name, probe)
    if embedding is None and probe.ndim == 2 and not probe.is_floating_point():
        raise UserError(
            f"{name} of shape {list(probe.shape)} in {probe.dtype}, which look like token ids: give embedding=, the "
            f"attribute path of their embedding, or {name}=lambda module: … that returns [B, T, I]"
        )


def probe_inputs(pl_module: pl.LightningModule, name: str, probe: Probe, embedding: str | None) -> Tensor | None:
    """The network's inputs [B, T, I]. What a function or an embedding changes or logs meanwhile is undone."""
    if probe is None or (isinstance(probe, Tensor) and embedding is None):
        return probe
    with without_trace(pl_module):
        vars(pl_module)["log"] = vars(pl_module)["log_dict"] = _not_logged
        if isinstance(probe, Tensor):
            assert embedding is not None
            inputs, source = _embedded(pl_module, embedding, name, probe), embedding
        else:
            inputs, source = probe(pl_module), f"{name}(module)"
        check_real(source, inputs)
        if inputs.ndim != 3 or 0 in inputs.shape:
            raise UserError(
                f"{source} returns shape {list(inputs.shape)}: return the network's inputs [B, T, I], batch first, "
                "with at least one sequence and one step"
            )
        # A function may return a tensor of the module's, whose numbers are put back.
        return inputs.detach().clone()


def fingerprint(probe: Probe) -> str:
    """The same for the same probe in another process; of functions, their names and those that they use."""
    if isinstance(probe, Tensor):
        numbers = probe.detach().cpu().flatten().view(torch.uint8).numpy().tobytes()
        return hashlib.sha256(f"{list(probe.shape)} {probe.dtype}".encode() + numbers).hexdigest()[:16]
    code = getattr(probe, "__code__", None)
    names = (*code.co_names, *code.co_freevars) if code else ()
    return " ".join((getattr(probe, "__qualname__", type(probe).__qualname__), *names))


def _embedded(pl_module: pl.LightningModule, path: str, name: str, ids: Tensor) -> Any:
    """Raises UserError where the embedding cannot take them: on a GPU, a wrong id would end the process."""
    part = _embedding(pl_module, path)
    given = f"embedding={path!r} cannot take {name} {list(ids.shape)} in {ids.dtype}"
    if isinstance(part, nn.Embedding):
        if ids.dtype not in (torch.int64, torch.int32):
            raise UserError(f"{given}: give token ids as whole numbers, e.g. {name}.long()")
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < part.num_embeddings:
            raise UserError(
                f"{given}: its ids are {int(ids.min())} to {int(ids.max())}; give ids from 0 to "
                f"{part.num_embeddings - 1}"
            )
    try:
        return part(ids.to(pl_module.device))
    except (RuntimeError, IndexError, TypeError, ValueError) as error:
        raise UserError(f"{given}: {in_one_line(error)}; give what it takes in training") from error


def _embedding(pl_module: nn.Module, path: str) -> Callable[[Tensor], Any]:
    try:
        found: Any = attrgetter(path)(pl_module)
    except AttributeError:
        found = None
    if not callable(found):
        what = "not an attribute" if found is None else f"a {type(found).__name__}"
        known = [name for name, part in pl_module.named_modules() if isinstance(part, nn.Embedding)]
        raise UserError(
            f"embedding={path!r} is {what} of {type(pl_module).__name__}: its embeddings are {known}; give one of "
            "them, or another module that returns [B, T, I]"
        )
    return found


def _not_logged(*_: object, **__: object) -> None:
    """In place of the module's `log`."""
