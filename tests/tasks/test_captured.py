"""A training step as a CUDA graph: the same numbers, bit for bit, as without one."""

from itertools import product

import pytest
import torch

from aelle.data.images import digits
from aelle.tasks import SequenceClassification
from aelle.tasks.captured import CapturedStep, Recording
from aelle.trainer import lean_trainer
from devices import NEEDS_GPU
from trainings import small_data, variant


def module_of(cell: str = "lstm", V: int = 4, device: str = "cpu", **changes) -> SequenceClassification:
    variants = [variant(n, cell=cell, batch_size=50, **changes) for n in range(V)]
    return SequenceClassification(digits(), variants).to(device)


def steps(module, optimizer, batches, captured: bool) -> None:
    for batch in batches:
        batch = batch.to(module.device)
        loss = module.training_step(batch, 0) if captured else module.training_loss(batch, 0)
        optimizer.zero_grad()
        module.backward(loss)
        module.configure_gradient_clipping(optimizer, 0.5)
        optimizer.step()


def state_of(module) -> list[torch.Tensor]:
    return [*module.parameters(), module.alive, module.train_loss_sum]


@NEEDS_GPU
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_captured_step_is_the_step(cell):
    """Also after a short batch, after some variants were taken, and after one has diverged."""
    pairs = [(module_of(cell, device="cuda"), captured) for captured in (True, False)]
    for module, captured in pairs:
        optimizer, generator = module.configure_optimizers(), torch.Generator().manual_seed(0)
        for V, sizes in ((4, (50, 50, 27, 50)), (3, (50, 50)), (3, (50, 50))):
            if len(module.variants) > V:
                module.take([0, 2, 3], [optimizer])
            batches = [torch.randint(1077, (V, size), generator=generator) for size in sizes]
            steps(module, optimizer, batches, captured)
        with torch.no_grad():
            module.network.weight_hh_l0[1] = torch.nan
        steps(module, optimizer, batches, captured)
        assert module.alive.tolist() == [True, False, True]
    (one, _), (other, _) = pairs
    assert one.captured is not None and other.captured is None
    for a, b in zip(state_of(one), state_of(other), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@NEEDS_GPU
@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed"])
def test_lightning_trains_with_captured_steps_in_full_precision(precision):
    modules = [module_of(), module_of()]
    modules[1].captured_loss = lambda loss, batch: loss(batch)
    for module in modules:
        lean_trainer(max_epochs=2, accelerator="gpu", devices=1, precision=precision, enable_checkpointing=False).fit(
            module
        )
    assert (modules[0].captured is not None) == precision.endswith("true") and modules[1].captured is None
    for a, b in zip(state_of(modules[0]), state_of(modules[1]), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_on_a_cpu_nothing_is_captured():
    module = module_of()
    batch = torch.arange(200).view(4, 50)
    loss = module.training_step(batch, 0)
    assert module.captured is None and loss.requires_grad
    module.backward(loss)
    assert all(p.grad is not None for p in module.parameters())


def test_the_gradients_of_a_captured_step_become_those_of_the_parameters():
    module = module_of()
    module.captured = CapturedStep(lambda batch: torch.zeros(()))
    gradients = tuple(torch.full_like(p, 2) for p in module.parameters())
    module.captured.recording = Recording(None, torch.zeros(4, 50, dtype=torch.long), torch.zeros(()), gradients)
    module.backward(torch.zeros(()))
    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
        assert parameter.grad is gradient


@pytest.mark.parametrize("own, size", product([False, True], [50, 49]))
def test_only_whole_batches_are_captured_and_no_logits_that_may_depend_on_more(own, size):
    class Own(SequenceClassification):
        def training_logits(self, x, batch):
            return self(x) * (1 + batch)

    kind = Own if own else SequenceClassification
    module, asked = kind(small_data(torch.float32), [variant(0, batch_size=50)]), []
    module.captured_loss = lambda loss, batch: asked.append(batch.shape) or loss(batch)
    module.training_step(torch.zeros(1, size, dtype=torch.long), 3)
    assert asked == ([] if own or size < 50 else [(1, 50)])
