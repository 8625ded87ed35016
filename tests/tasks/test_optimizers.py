"""Population optimizers and schedules against those of PyTorch, member by member in float64."""

import copy
import math

import pytest
import torch
from torch import nn

from aelle.tasks.optimizers import OPTIMIZERS, optimizer_of
from aelle.tasks.schedules import Schedule
from aelle.variants import Variant

STEPS = 40
RATES, DECAYS = [0.1, 0.01, 0.003], [0.0, 0.3, 0.01]
OWN = {
    "adam": {"beta1": [0.9, 0.0, 0.5], "beta2": [0.999, 0.9, 0.0]},
    "adamw": {"beta1": [0.9, 0.0, 0.5], "beta2": [0.999, 0.9, 0.99]},
    "sgd": {"momentum": [0.0, 0.9, 0.5]},
    "rmsprop": {"momentum": [0.0, 0.9, 0.5]},
}


def variants(kind: str, **more: list) -> list[Variant]:
    columns = {"learning_rate": RATES, "weight_decay": DECAYS, **OWN[kind], **more}
    return [Variant(v, {"optimizer": kind, **{n: c[v] for n, c in columns.items()}}, {}) for v in range(3)]


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4, 2), (3, 4)]
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64)) for shape in shapes]


def set_gradients(some: list[nn.Parameter], step: int) -> None:
    """Those of a bowl with noise; one entry's gradient is always 0."""
    for i, p in enumerate(some):
        noise = torch.randn(p.shape, generator=torch.Generator().manual_seed(10 * step + i), dtype=p.dtype)
        p.grad = p.detach() * torch.arange(p[0].numel(), dtype=p.dtype).view(p.shape[1:]) + noise
        p.grad.flatten(1)[:, 0] = 0


def reference(kind: str, v: int, some: list[nn.Parameter]) -> torch.optim.Optimizer:
    own = {name: values[v] for name, values in OWN[kind].items()}
    if kind.startswith("adam"):
        own = {"betas": (own["beta1"], own["beta2"])}
    classes = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    return classes.get(kind, torch.optim.RMSprop)(some, lr=RATES[v], weight_decay=DECAYS[v], **own)


def member_of(some: list[nn.Parameter], v: int) -> list[nn.Parameter]:
    return [nn.Parameter(p.detach()[v].clone()) for p in some]


def assert_members(some: list[nn.Parameter], alone: list[nn.Parameter], v: int) -> None:
    for p, q in zip(some, alone, strict=True):
        torch.testing.assert_close(p.detach()[v], q.detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", sorted(OPTIMIZERS))
def test_each_member_moves_as_pytorchs_optimizer_moves_it(kind):
    together = parameters()
    members = [member_of(together, v) for v in range(3)]
    others = [reference(kind, v, members[v]) for v in range(3)]
    optimizer = optimizer_of(variants(kind), together, [STEPS] * 3)
    for step in range(STEPS):
        set_gradients(together, step)
        for v, alone in enumerate(members):
            for p, q in zip(together, alone, strict=True):
                q.grad = p.grad[v].clone()
            others[v].step()
        optimizer.step()
        for v, alone in enumerate(members):
            assert_members(together, alone, v)


@pytest.mark.parametrize("kind", sorted(OPTIMIZERS))
def test_a_resumed_training_moves_bit_for_bit_as_an_uninterrupted_one(kind):
    more = {"schedule": ["constant", "cosine", "step"], "warmup": [0.2, 0.0, 0.1]}
    whole, halved = parameters(), parameters()
    first = optimizer_of(variants(kind, **more), halved, [STEPS] * 3)
    uninterrupted = optimizer_of(variants(kind, **more), whole, [STEPS] * 3)
    for step in range(STEPS):
        if step == STEPS // 2:
            saved = copy.deepcopy(first.state_dict())
            first = optimizer_of(variants(kind, **more), halved, [STEPS] * 3)
            first.load_state_dict(saved)
        for some, optimizer in ((whole, uninterrupted), (halved, first)):
            set_gradients(some, step)
            optimizer.step()
    for p, q in zip(whole, halved, strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("kind", sorted(OPTIMIZERS))
def test_those_that_are_taken_move_on_as_before(kind):
    more = {"schedule": ["constant", "cosine", "step"], "warmup": [0.2, 0.0, 0.1]}
    whole, taken = parameters(), parameters()
    first, second = (optimizer_of(variants(kind, **more), some, [STEPS] * 3) for some in (whole, taken))
    for step in range(STEPS):
        if step == STEPS // 2:
            second.take([2, 0])
            for p in taken:
                p.data = p.data[[2, 0]]
        set_gradients(whole, step)
        for p, q in zip(whole, taken, strict=True):
            q.grad = p.grad if step < STEPS // 2 else p.grad[[2, 0]]
        first.step()
        second.step()
    for p, q in zip(whole, taken, strict=True):
        assert torch.equal(p[[2, 0]], q)


@pytest.mark.parametrize("kind", sorted(OPTIMIZERS))
def test_who_does_not_take_part_in_a_step_keeps_weights_state_and_count(kind):
    """Member 1 misses every third step, and then is where it would be without these steps."""
    together, alone = parameters(), parameters()
    first, second = (optimizer_of(variants(kind), some, [STEPS] * 3) for some in (together, alone))
    for step in range(STEPS):
        set_gradients(together, step)
        misses = step % 3 == 2
        first.learning = torch.tensor([True, not misses, True])
        for p, q in zip(together, alone, strict=True):
            q.grad = p.grad.clone()
            if misses:
                p.grad[1] = 0
        if not misses:
            second.step()
        first.step()
    for p, q in zip(together, alone, strict=True):
        assert torch.equal(p[1], q[1])
        assert not torch.equal(p[0], q[0])
    assert first.param_groups[0]["steps"].tolist() == [STEPS, second.param_groups[0]["steps"][1], STEPS]


@pytest.mark.parametrize("kind", sorted(OPTIMIZERS))
def test_a_diverged_variants_weights_do_not_move(kind):
    together = parameters()
    optimizer, alive = optimizer_of(variants(kind), together, [STEPS] * 3), torch.tensor([True, False, True])
    for step in range(3):
        set_gradients(together, step)
        optimizer.step()
    before = [p.detach().clone() for p in together]
    for step in range(3, 6):
        set_gradients(together, step)
        optimizer.alive = alive
        for p in together:
            p.grad[1] = 0
        optimizer.step()
    for p, q in zip(together, before, strict=True):
        assert torch.equal(p[1], q[1]) and not torch.equal(p[0], q[0])


def torch_factors(name: str, warmup: int, total: int) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    after = total - warmup
    main = {
        "constant": lambda: torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0),
        "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, after),
        "step": lambda: torch.optim.lr_scheduler.MultiStepLR(optimizer, [after // 2, 3 * after // 4], gamma=0.1),
    }[name]()
    schedulers, milestones = [main], []
    if warmup:
        rising = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / warmup, 1.0, warmup - 1) if warmup > 1 else None
        schedulers, milestones = ([rising, main], [warmup]) if rising else ([main], [])
    scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, schedulers, milestones)
    found = []
    for _ in range(total):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("warmup", [0, 20])
def test_schedules_are_pytorchs(warmup):
    names, total = ["constant", "cosine", "step"], 100
    some = [Variant(v, {"schedule": name, "warmup": warmup / total}, {}) for v, name in enumerate(names)]
    schedule = Schedule.of(some, [total] * 3)
    found = torch.stack([schedule.factor(torch.full((3,), float(step))) for step in range(total)], 1)
    for v, name in enumerate(names):
        torch.testing.assert_close(found[v], torch.tensor(torch_factors(name, warmup, total)).double())


def test_a_training_without_an_end_has_no_schedule_and_no_nan():
    names = ["constant", "cosine", "step"]
    some = [Variant(v, {"schedule": name, "warmup": 0.1}, {}) for v, name in enumerate(names)]
    factor = Schedule.of(some, [math.inf] * 3).factor(torch.tensor([0.0, 10.0, 1e6]))
    assert factor.tolist() == [1, 1, 1]


@pytest.mark.parametrize("kind", sorted(OPTIMIZERS))
def test_after_a_huge_gradient_a_variant_goes_on_as_pytorchs_optimizer_would(kind):
    """Its square is infinite in single precision."""
    together = [nn.Parameter(torch.ones(3, 2))]
    alone = member_of(together, 1)
    optimizer, other = optimizer_of(variants(kind), together, [5] * 3), reference(kind, 1, alone)
    for size in (3e19, 1.0, 1.0, 2.0):
        together[0].grad = torch.full((3, 2), size)
        alone[0].grad = torch.full((2,), size)
        optimizer.step()
        other.step()
        assert alone[0].isfinite().all()
        torch.testing.assert_close(together[0].detach()[1], alone[0].detach(), rtol=1e-5, atol=1e-30)


def test_a_parameter_of_one_number_per_variant_is_trained():
    together = [nn.Parameter(torch.ones(3, dtype=torch.float64))]
    alone = [nn.Parameter(torch.ones((), dtype=torch.float64))]
    optimizer, other = optimizer_of(variants("adamw"), together, [3] * 3), reference("adamw", 2, alone)
    for size in (1.0, -0.5, 2.0):
        together[0].grad, alone[0].grad = torch.full((3,), size).double(), torch.tensor(size).double()
        optimizer.step()
        other.step()
    torch.testing.assert_close(together[0].detach()[2], alone[0].detach())
