"""The base of every task's LightningModule: V variants, each with its own loss, options, shuffling and divergence.

Axes: V variant, B sequence in a batch.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import pytorch_lightning as pl
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aelle.seeds import seed_for
from aelle.tasks.captured import CapturedStep, Loss, recordable
from aelle.tasks.optimizers import PopulationOptimizer, optimizer_of
from aelle.variants import Variant, values_of

NETWORK = ("cell", "hidden_size", "layers", "init", "p", "spectral_radius", "gain", "forget_bias")
"""The hyperparameters that `networks_of` reads."""

TRAINING = (
    *("optimizer", "learning_rate", "schedule", "warmup", "weight_decay", "momentum", "beta1", "beta2"),
    "gradient_clip",
)
"""The hyperparameters that `PopulationModule` reads if it is trained by the optimizer that it configures."""


class PopulationModule(pl.LightningModule):
    """Trains V variants with one backward pass of their summed losses, which gives each exactly its own gradient.

    `variants`: those of a pack. A variant whose loss or gradient is not finite has diverged: from that step on its
    weights are frozen; the others continue. `metrics` contains the results of the last evaluation, [V] each. Every
    parameter has a leading variant axis, and so has every buffer except those named in `shared`. `reads` names the
    hyperparameters that the module reads: others are refused before anything is trained.
    """

    alive: Tensor
    gradient_clip: Tensor
    shared: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[tuple[str, ...]] = ()

    def __init__(self, variants: Sequence[Variant]):
        super().__init__()
        self.variants = list(variants)
        self.metrics: dict[str, Tensor] = {}
        self.register_buffer("alive", torch.ones(len(variants), dtype=torch.bool))
        clip = torch.tensor(values_of(variants, "gradient_clip"), dtype=torch.float32)
        self.register_buffer("gradient_clip", clip, persistent=False)
        self.clips = bool(clip.isfinite().any())
        self.learning: Bool[Tensor, "V"] | None = None
        self.captured = CapturedStep()

    def captured_loss(self, loss: Loss, batch: Int[Tensor, "V B"]) -> Float[Tensor, ""]:
        """`loss(batch)`; on a GPU by a CUDA graph (see `CapturedStep`), unless anything speaks against it."""
        if not recordable(self, batch):
            return loss(batch)
        buffers = dict(self.named_buffers())
        constant = [buffers.pop(name) for name in self.shared if name in buffers]
        return self.captured(loss, batch, list(self.parameters()), list(buffers.values()), constant)

    def summed(self, losses: Float[Tensor, "V"]) -> Float[Tensor, ""]:
        """The loss to differentiate: the sum of the variants' `losses`, without those of diverged ones."""
        self.alive &= losses.detach().isfinite()
        return torch.where(self.alive, losses, 0).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Each variant's optimizer and schedule, by its hyperparameters."""
        return optimizer_of(self.variants, self.parameters(), self.training_steps())

    def training_steps(self) -> list[float]:
        """How many steps each variant takes in all; inf for a training without an end."""
        steps = float("inf") if self._trainer is None else float(self.trainer.estimated_stepping_batches)
        return [steps] * len(self.variants)

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None) -> None:
        """Clip each variant's gradient by its own norm (or value), and zero that of diverged variants."""
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        finite = torch.stack([g.reshape(len(g), -1).isfinite().all(1) for g in gradients]).all(0)
        self.alive &= finite
        by_value = gradient_clip_val if gradient_clip_algorithm == "value" else None
        by_norm = None if by_value else gradient_clip_val
        scale = self.alive.to(gradients[0].dtype)
        if self.clips or by_norm:
            most = self.gradient_clip.clamp(max=by_norm) if by_norm else self.gradient_clip
            norm = torch.stack([g.reshape(len(g), -1).square().sum(1) for g in gradients]).sum(0).sqrt()
            scale = scale * torch.where(norm > most, most / norm, 1)
        for g in gradients:
            rows = (slice(None),) + (None,) * (g.ndim - 1)
            if by_value:
                g.clamp_(-by_value, by_value)
            g.copy_(torch.where(self.alive[rows], g * scale[rows], 0))
        if isinstance(optimizer, PopulationOptimizer):
            optimizer.alive, optimizer.learning = self.alive, self.learning

    def on_train_epoch_end(self) -> None:
        """Of an optimizer of PyTorch's, reset the momentum of diverged variants, which freezes their weights."""
        foreign = [one for one in self.trainer.optimizers if not isinstance(one, PopulationOptimizer)]
        diverged = ~self.alive
        if foreign and diverged.any():
            for optimizer in foreign:
                for state in optimizer.state.values():
                    state["exp_avg"][diverged] = 0

    @torch.no_grad()
    def take(self, rows: Sequence[int], optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Continue with these variants only, given as rows of the variant axis: each keeps its weights, its state in
        the `optimizers` and everything else."""
        rows = list(rows)
        for optimizer in optimizers:
            if isinstance(optimizer, PopulationOptimizer):
                optimizer.take(rows)
                continue
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

    @property
    def sequences_per_step(self) -> int:
        """How many sequences a variant has at most in a training step; 0 if nothing is kept for a backward pass."""
        return 0

    def trial_loss(self, sequences: int) -> Float[Tensor, ""]:
        """The loss of a step with so many `sequences`, by which a pack's memory is estimated
        (`aelle.training.footprint`)."""
        raise NotImplementedError

    @abstractmethod
    def example_outputs(self) -> dict[str, Tensor | list]:
        """Each variant's outputs after training, for figures: columns of V rows, as tensors [V, …] or lists of V."""

    def diverged(self) -> Bool[Tensor, "V"]:
        """Which variants have had a loss or gradient that is not finite."""
        return ~self.alive


class ShuffledBatches:
    """Index batches [V, B] of up to `batch_size`: in epoch e, variant v visits its samples in an order determined by
    `seeds[v]` and e.

    Its samples are all, or a share `keep` of them, chosen by its seed; every variant may have its own share. The
    indices of those that have no samples left are −1. `used` [V]: how many samples each has.
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        seeds: Sequence[int],
        epoch: Callable[[], int],
        keep: int | float | Sequence[int | float] = 1.0,
    ):
        self.batch_size, self.epoch = batch_size, epoch
        self.seeds: list[int] = list(seeds)
        shares = list(keep) if isinstance(keep, Sequence) else [keep] * len(seeds)
        self.used: list[int] = [max(1, round(share * samples)) for share in shares]
        self.samples: list[Tensor] = [
            _permutation(samples, seed, "keep")[:used] if share < 1 else torch.arange(samples)
            for seed, used, share in zip(seeds, self.used, shares, strict=True)
        ]
        self.batches = -(-max(self.used) // batch_size)

    def take(self, rows: Sequence[int]) -> None:
        """Continue with the variants of these `rows` only. Epochs keep their number of batches, so that Lightning finds
        their end."""
        self.seeds = [self.seeds[row] for row in rows]
        self.samples = [self.samples[row] for row in rows]
        self.used = [self.used[row] for row in rows]

    def __len__(self) -> int:
        return self.batches

    @property
    def steps(self) -> list[int]:
        """In how many of an epoch's batches each variant has samples."""
        return [-(-used // self.batch_size) for used in self.used]

    def sizes(self, number: int) -> list[int]:
        """How many samples each variant has in the epoch's batch of that number; they are its first ones."""
        return [min(max(used - number * self.batch_size, 0), self.batch_size) for used in self.used]

    def incomplete(self, number: int) -> bool:
        """Whether there are variants without samples for parts of the epoch's batch of that number."""
        return min(self.used) < max(self.used) or number >= max(self.steps)

    def __iter__(self) -> Iterator[Int[Tensor, "V _"]]:
        epoch = self.epoch()
        orders = torch.full((len(self.seeds), max(self.used)), -1)
        for order, seed, samples in zip(orders, self.seeds, self.samples, strict=True):
            order[: len(samples)] = samples[_permutation(len(samples), seed, epoch)]
        yield from orders.split(self.batch_size, dim=1)
        # Left of variants that had more samples and were taken out.
        yield from (orders.new_full((len(orders), 1), -1) for _ in range(max(self.steps), len(self)))


def _permutation(n: int, *key: int | str) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed_for(*key)))
