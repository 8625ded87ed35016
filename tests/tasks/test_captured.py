"""A training step as a CUDA graph: the same numbers, bit for bit, as without one."""

import copy
from itertools import product
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from aelle.data.images import digits
from aelle.tasks import SequenceClassification
from aelle.tasks.captured import CapturedStep, Recording, plain
from aelle.trainer import lean_trainer
from devices import NEEDS_GPU
from trainings import small_data, variant


def module_of(
    cell: str = "lstm", V: int = 4, device: str = "cpu", kind=SequenceClassification, **changes
) -> SequenceClassification:
    variants = [variant(n, cell=cell, batch_size=50, **changes) for n in range(V)]
    return kind(digits(), variants).to(device)


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
    assert one.captured.recording is not None and other.captured.recording is None
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
    recorded = [module.captured.recording is not None for module in modules]
    assert recorded == [precision.endswith("true"), False]
    for a, b in zip(state_of(modules[0]), state_of(modules[1]), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_on_a_cpu_nothing_is_captured():
    module = module_of()
    batch = torch.arange(200).view(4, 50)
    loss = module.training_step(batch, 0)
    assert module.captured.recording is None
    module.backward(loss)
    assert all(p.grad is not None for p in module.parameters())


class Played(CapturedStep):
    """A stand-in for the graph on a CPU: it writes to the same addresses whenever it is replayed."""

    recorded = 0

    def _record(self, loss, batch, parameters, changed):
        self.recorded += 1
        held, value = batch.clone(), torch.empty((), dtype=parameters[0].dtype)
        gradients = tuple(torch.empty_like(p) for p in parameters)

        def replay():
            found = loss(held)
            for g, new in zip(gradients, torch.autograd.grad(found, parameters), strict=True):
                g.copy_(new)
            value.copy_(found.detach())

        graph: Any = SimpleNamespace(replay=replay)
        return Recording(graph, held, value, gradients)


@pytest.fixture
def played(monkeypatch):
    """The conditions for a graph, where no GPU is asked for; the module with the stand-in, and an ordinary one."""
    monkeypatch.setattr("aelle.tasks.module.recordable", lambda module, batch: plain(module, batch.device))

    def pair(kind=SequenceClassification, **changes):
        modules = [module_of(kind=kind, **changes) for _ in range(2)]
        modules[0].captured = Played()
        modules[1].captured_loss = lambda loss, batch: loss(batch)
        return modules

    return pair


def batch_of(seed: int, V: int = 4) -> torch.Tensor:
    return torch.randint(1077, (V, 50), generator=torch.Generator().manual_seed(seed))


def assert_same_gradients(one, other):
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-7)  # A factor is multiplied in later.


def test_what_is_done_to_the_loss_of_a_captured_step_reaches_the_gradients(played):
    """A penalty, a factor, gradients that are added up or zeroed in place, two losses before their backward pass."""
    pair = played()
    for module in pair:
        module.training_step(batch_of(0), 0).backward()
        (3 * module.training_step(batch_of(1), 1)).backward()
        (module.training_step(batch_of(2), 2) + module.network.weight_hh_l0.square().sum()).backward()
    assert_same_gradients(*pair)
    one, other = pair
    for module in pair:
        module.zero_grad(set_to_none=False)
    first, second = one.training_step(batch_of(3), 3), one.training_step(batch_of(4), 4)
    second.backward()
    first.backward()
    other.training_step(batch_of(4), 4).backward()
    other.training_step(batch_of(3), 3).backward()
    assert_same_gradients(*pair)
    assert one.captured.recorded == 1
    torch.testing.assert_close(one.train_loss_sum, other.train_loss_sum)


def test_a_frozen_parameter_is_left_alone(played):
    pair = played()
    for frozen in (True, False):
        for module in pair:
            module.zero_grad()
            module.network.weight_ih_l0.requires_grad_(not frozen)
            module.training_step(batch_of(0), 0).backward()
            assert (module.network.weight_ih_l0.grad is None) == frozen
        assert_same_gradients(*pair)
    assert pair[0].captured.recorded == 2


@pytest.mark.parametrize("name", ["train_x", "alive"])
def test_a_tensor_that_has_moved_is_recorded_anew(played, name):
    module, _ = played()
    module.training_step(batch_of(0), 0)
    setattr(module, name, getattr(module, name).clone())
    module.training_step(batch_of(0), 0)
    assert module.captured.recorded == 2


def test_another_loss_is_recorded_anew(played):
    module, _ = played()
    one, other = lambda batch: module.training_loss(batch, 0), lambda batch: 2 * module.training_loss(batch, 0)
    found = [module.captured_loss(loss, batch_of(0)) for loss in (one, other, one)]
    torch.testing.assert_close(found[1], 2 * found[0])
    assert found[2] == found[0] and module.captured.recorded == 3


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_has_recorded_nothing(copied):
    step, graph = CapturedStep(), cast(Any, None)
    step.recording, step.key = Recording(graph, torch.zeros(1), torch.zeros(()), ()), ()
    assert copied(step).recording is None


def test_a_copied_module_trains_itself(played):
    module, _ = played()
    module.training_step(batch_of(0), 0)
    twin = copy.deepcopy(module)
    twin.training_step(batch_of(0), 0).backward()
    assert twin.captured is not module.captured and all(p.grad is not None for p in twin.parameters())
    assert all(p.grad is None for p in module.parameters())


class Doubled(SequenceClassification):
    def training_loss(self, batch, number):
        return 2 * super().training_loss(batch, number)


class Counted(SequenceClassification):
    def forward(self, x):
        return super().forward(x)


@pytest.mark.parametrize("kind", [Doubled, Counted])
def test_a_subclass_is_not_captured_unless_it_says_so(played, kind):
    one, other = played(kind)
    for module in (one, other):
        module.training_step(batch_of(0), 0).backward()
    assert_same_gradients(one, other)
    assert one.captured.recorded == 0

    class Sure(kind):
        @property
        def capturable(self):
            return True

    one, other = played(Sure)
    for module in (one, other):
        module.training_step(batch_of(0), 0).backward()
    assert_same_gradients(one, other)
    assert one.captured.recorded == 1


def test_the_number_of_a_batch_is_its_own():
    module, numbers = module_of(), []
    ordinary = module.training_loss
    module.training_loss = lambda batch, number: numbers.append(number) or ordinary(batch, number)
    for number in (0, 3):
        module.training_step(batch_of(0), number)
    assert numbers == [0, 3]


def trainer_with(**changes) -> Any:
    trainer = lean_trainer(max_epochs=1, accelerator="cpu", devices=1, enable_checkpointing=False)
    shown = {
        name: getattr(trainer, name) for name in ("world_size", "strategy", "accumulate_grad_batches", "precision")
    }
    return SimpleNamespace(**{**shown, **changes})


@pytest.mark.parametrize(
    "changes, is_plain",
    [
        ({}, True),
        ({"precision": "64-true"}, True),
        ({"precision": "bf16-mixed"}, False),
        ({"precision": "bf16-true"}, False),
        ({"world_size": 2}, False),
        ({"accumulate_grad_batches": 2}, False),
        ({"strategy": object()}, False),
    ],
)
def test_a_trainer_is_plain_or_nothing_is_captured(changes, is_plain):
    module = module_of()
    module._trainer = trainer_with(**changes)
    assert plain(module, torch.device("cpu")) == is_plain


def test_nothing_is_captured_while_anything_looks_on():
    module, cpu = module_of(), torch.device("cpu")
    assert plain(module, cpu)
    for context in (torch.no_grad(), torch.autograd.set_detect_anomaly(True), torch.autocast("cpu", torch.bfloat16)):
        with context:
            assert not plain(module, cpu)
    assert not plain(module, torch.device("cuda", 0))
    parameter, network = module.network.weight_hh_l0, module.network
    for add in (
        lambda: parameter.register_hook(lambda g: 2 * g),
        lambda: parameter.register_post_accumulate_grad_hook(lambda p: None),
        lambda: network.register_forward_hook(lambda *_: None),
        lambda: network.register_forward_pre_hook(lambda *_: None),
        lambda: network.register_full_backward_hook(lambda *_: None),
        lambda: torch.nn.modules.module.register_module_forward_hook(lambda *_: None),
    ):
        handle = add()
        assert not plain(module, cpu)
        handle.remove()
        assert plain(module, cpu)
    module.requires_grad_(False)
    assert not plain(module, cpu)


@pytest.mark.parametrize("own, size", product([False, True], [50, 49]))
def test_only_whole_batches_are_captured_and_no_logits_that_may_depend_on_more(own, size):
    class Own(SequenceClassification):
        def training_outputs(self, x, batch):
            return self(x) * (1 + batch)

    kind = Own if own else SequenceClassification
    module, asked = kind(small_data(torch.float32), [variant(0, batch_size=50)]), []
    module.captured_loss = lambda loss, batch: asked.append(batch.shape) or loss(batch)
    module.training_step(torch.zeros(1, size, dtype=torch.long), 0)
    assert asked == ([] if own or size < 50 else [(1, 50)])
