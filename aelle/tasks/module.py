"""The base of every task's LightningModule: V variants, each with its own loss, shuffling and divergence."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import pytorch_lightning as pl
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aelle.seeds import seed_for
from aelle.tasks.captured import CapturedStep, Loss, recordable
from aelle.variants import Variant


class PopulationModule(pl.LightningModule):
    """Trains V variants with one backward pass of their summed losses, which gives each exactly its own gradient.

    A variant whose loss or gradient is not finite has diverged: from that step on its gradient is zero, from the end
    of that epoch its weights are frozen; the others continue. `metrics` contains the results of the last evaluation,
    [V] each. Every parameter has a leading variant axis, and so has every buffer except those named in `shared`.
    """

    alive: Tensor
    shared: ClassVar[tuple[str, ...]] = ()

    def __init__(self, variants: Sequence[Variant]):
        super().__init__()
        self.variants = list(variants)
        self.metrics: dict[str, Tensor] = {}
        self.register_buffer("alive", torch.ones(len(variants), dtype=torch.bool))
        self.captured = CapturedStep()

    def captured_loss(self, loss: Loss, batch: Int[Tensor, "V B"]) -> Float[Tensor, ""]:
        """`loss(batch)`; on a GPU by a CUDA graph (see `CapturedStep`), unless anything speaks against it."""
        if not recordable(self, batch):
            return loss(batch)
        buffers = dict(self.named_buffers())
        constant = [buffers.pop(name) for name in self.shared if name in buffers]
        return self.captured(loss, batch, list(self.parameters()), list(buffers.values()), constant)

    def summed(self, losses: Float[Tensor, "V"]) -> Float[Tensor, ""]:
        """The loss to differentiate, without the variants that have diverged."""
        self.alive &= losses.detach().isfinite()
        return torch.where(self.alive, losses, 0).sum()

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None) -> None:
        """Clip each variant's gradient by its own norm (or value), and zero that of diverged variants."""
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        finite = torch.stack([g.flatten(1).isfinite().all(1) for g in gradients]).all(0)
        self.alive &= finite
        scale = self.alive.to(gradients[0].dtype)
        if gradient_clip_val and gradient_clip_algorithm != "value":
            norm = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0).sqrt()
            scale = scale * (gradient_clip_val / norm).clamp(max=1)
        for g in gradients:
            rows = (slice(None),) + (None,) * (g.ndim - 1)
            if gradient_clip_val and gradient_clip_algorithm == "value":
                g.clamp_(-gradient_clip_val, gradient_clip_val)
            g.copy_(torch.where(self.alive[rows], g * scale[rows], 0))

    def on_train_epoch_end(self) -> None:
        """Reset the momentum of diverged variants: with a zero gradient, their weights are frozen from here on."""
        diverged = ~self.alive
        if diverged.any():
            for optimizer in self.trainer.optimizers:
                for state in optimizer.state.values():
                    state["exp_avg"][diverged] = 0

    @torch.no_grad()
    def take(self, rows: Sequence[int], optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Continue with these variants only, given as rows of the variant axis: each keeps its weights, its optimizer
        state and everything else."""
        rows = list(rows)
        for optimizer in optimizers:
            for parameter, state in optimizer.state.items():
                for name, value in state.items():
                    if isinstance(value, Tensor) and value.shape == parameter.shape:
                        state[name] = value[rows]
        for parameter in self.parameters():
            parameter.data, parameter.grad = parameter[rows], None
        for name, buffer in self.named_buffers():
            if name not in self.shared:
                buffer.data = buffer[rows]
        self.metrics = {name: values[rows] for name, values in self.metrics.items()}
        self.variants = [self.variants[row] for row in rows]

    @abstractmethod
    def example_outputs(self) -> dict[str, Tensor | list]:
        """Each variant's outputs after training, for figures: columns of V rows, as tensors [V, …] or lists of V."""

    def diverged(self) -> Bool[Tensor, "V"]:
        return ~self.alive


class ShuffledBatches:
    """Index batches [V, B]: in epoch e, variant v visits its samples in an order determined by its seed and e.

    Its samples are all, or a share `keep` of them, chosen by its seed.
    """

    def __init__(
        self, samples: int, batch_size: int, seeds: Sequence[int], epoch: Callable[[], int], keep: float = 1.0
    ):
        self.batch_size, self.seeds, self.epoch = batch_size, seeds, epoch
        self.used = max(1, round(keep * samples))
        self.samples = [_permutation(samples, seed, "keep")[: self.used] for seed in seeds] if keep < 1 else None

    def take(self, rows: Sequence[int]) -> None:
        """Continue with these variants only."""
        self.seeds = [self.seeds[row] for row in rows]
        self.samples = self.samples and [self.samples[row] for row in rows]

    def __len__(self) -> int:
        return -(-self.used // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        epoch = self.epoch()
        orders = [_permutation(self.used, seed, epoch) for seed in self.seeds]
        if self.samples is not None:
            orders = [samples[order] for samples, order in zip(self.samples, orders, strict=True)]
        yield from torch.stack(orders).split(self.batch_size, dim=1)


def _permutation(n: int, *key: int | str) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed_for(*key)))
