"""Adam, AdamW, SGD and RMSprop for a population: every option has the variant axis.

They act element by element, so each variant gets the weights that `torch.optim` would give it alone.

Axes: V variant; ... the other axes of a parameter.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from aelle.tasks.schedules import Schedule
from aelle.variants import Variant, shared_value, values_of

EPSILON, ALPHA = 1e-8, 0.99
"""PyTorch's defaults: what is added to a denominator, and the decay of RMSprop's mean square."""

Coefficients = Mapping[str, Float[Tensor, "V ..."]]


class PopulationOptimizer(torch.optim.Optimizer):
    """One parameter group, whose options are tensors [V]; `steps` [V] counts each variant's steps.

    Before a step, `learning` [V] (on the CPU) may say which variants take part in it: the others keep weights, state
    and count. `alive` [V] says which have not diverged: the others keep their weights.
    """

    options: ClassVar[tuple[str, ...]] = ()
    moments: ClassVar[tuple[str, ...]]
    decoupled: ClassVar[bool] = False

    def __init__(self, parameters: Iterable[nn.Parameter], schedule: Schedule, **options: Sequence[int | float]):
        wanted = ("learning_rate", "weight_decay", *self.options)
        # On the CPU, in double precision: a handful of numbers, which not every device can compute with.
        group = {name: torch.tensor([float(x) for x in options[name]], dtype=torch.float64) for name in wanted}
        self.schedule = schedule
        self.learning: Bool[Tensor, "V"] | None = None
        self.alive: Bool[Tensor, "V"] | None = None
        steps = torch.zeros_like(group["learning_rate"])
        super().__init__([{"params": list(parameters), **group, "steps": steps}], {})
        self.decays = bool(group["weight_decay"].any())

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.param_groups = [{name: _on_cpu(value) for name, value in group.items()} for group in self.param_groups]

    def take(self, rows: Sequence[int]) -> None:
        """Continue with these variants only."""
        (group,) = self.param_groups
        for name, value in group.items():
            if isinstance(value, Tensor):
                group[name] = value[list(rows)]
        for state in self.state.values():
            for name in self.moments:
                state[name] = state[name][list(rows)]
        self.schedule, self.learning, self.alive = self.schedule.take(rows), None, None

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        (group,) = self.param_groups
        learning = torch.ones_like(group["steps"], dtype=torch.bool) if self.learning is None else self.learning
        rate = group["learning_rate"] * self.schedule.factor(group["steps"])
        group["steps"] += learning
        decay = group["weight_decay"]
        shrinkage = (1 - rate * decay) if self.decoupled else decay
        neutral = 1.0 if self.decoupled else 0.0
        coefficients = self.coefficients(rate, learning, group)
        coefficients["rate"] = torch.where(learning, coefficients["rate"], 0)
        coefficients["shrinkage"] = torch.where(learning, shrinkage, neutral)
        self._update(group, list(coefficients), torch.stack(list(coefficients.values())))
        return loss

    def _update(self, group: dict[str, Any], names: list[str], stacked: Float[Tensor, "n V"]) -> None:
        parameters = [p for p in group["params"] if p.grad is not None]
        for dtype, device in {(p.dtype, p.device) for p in parameters}:
            of_each = stacked.to(device, dtype)
            if self.alive is not None:
                of_each[names.index("rate")] *= self.alive.to(device)
                if self.decays and self.decoupled:
                    of_each[names.index("shrinkage")].masked_fill_(~self.alive.to(device), 1)
            for p in parameters:
                if (p.dtype, p.device) != (dtype, device):
                    continue
                state, gradient = self.state[p], p.grad
                if not state:
                    state.update({name: torch.zeros_like(p) for name in self.moments})
                with_axes = dict(zip(names, of_each.view(len(names), -1, *[1] * (p.ndim - 1)), strict=True))
                shrinkage = with_axes.pop("shrinkage")
                if self.decays and self.decoupled:
                    p.mul_(shrinkage)
                elif self.decays:
                    gradient = torch.addcmul(gradient, p, shrinkage)
                self.move(p, gradient, *(state[name] for name in self.moments), **with_axes)

    @abstractmethod
    def coefficients(
        self, rate: Float[Tensor, "V"], learning: Bool[Tensor, "V"], group: Mapping[str, Any]
    ) -> dict[str, Float[Tensor, "V"]]:
        """The numbers of the next step, among them its `rate`; they leave the moments of those as they are that do not
        learn."""

    @abstractmethod
    def move(self, p: Tensor, gradient: Tensor, *moments: Tensor, **coefficients: Tensor) -> None:
        """Change a parameter and its moments, [V, ...] each, in place; coefficients broadcast."""


class Adam(PopulationOptimizer):
    """Kingma & Ba 2015, with its bias correction."""

    options = ("beta1", "beta2")
    moments = ("exp_avg", "exp_avg_sq")

    def coefficients(
        self, rate: Float[Tensor, "V"], learning: Bool[Tensor, "V"], group: Mapping[str, Any]
    ) -> dict[str, Float[Tensor, "V"]]:
        # A variant that has not begun yet would divide by zero.
        steps = group["steps"].clamp(min=1)
        return {
            "rate": rate / (1 - group["beta1"] ** steps),
            "to_first": torch.where(learning, 1 - group["beta1"], 0),
            "of_second": torch.where(learning, group["beta2"], 1),
            "to_second": torch.where(learning, 1 - group["beta2"], 0),
            "correction": (1 - group["beta2"] ** steps).rsqrt(),
        }

    def move(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        p: Tensor,
        gradient: Tensor,
        first: Tensor,
        second: Tensor,
        *,
        rate,
        to_first,
        of_second,
        to_second,
        correction,
    ) -> None:
        first.lerp_(gradient, to_first)
        # As PyTorch multiplies: the square alone may be infinite.
        work = gradient * to_second
        second.mul_(of_second).addcmul_(work, gradient)
        torch.sqrt(second, out=work).mul_(correction).add_(EPSILON)
        p.addcmul_(torch.div(first, work, out=work), rate, value=-1)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    decoupled = True


class SGD(PopulationOptimizer):
    """Stochastic gradient descent with momentum; its momentum buffer is the sum of past gradients."""

    options = ("momentum",)
    moments = ("momentum_buffer",)

    def coefficients(
        self, rate: Float[Tensor, "V"], learning: Bool[Tensor, "V"], group: Mapping[str, Any]
    ) -> dict[str, Float[Tensor, "V"]]:
        return {"rate": rate, "momentum": torch.where(learning, group["momentum"], 1)}

    def move(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, p: Tensor, gradient: Tensor, buffer: Tensor, *, rate, momentum
    ) -> None:
        buffer.mul_(momentum).add_(gradient)
        p.addcmul_(buffer, rate, value=-1)


class RMSprop(PopulationOptimizer):
    """Tieleman & Hinton 2012, with momentum."""

    options = ("momentum",)
    moments = ("square_avg", "momentum_buffer")

    def coefficients(
        self, rate: Float[Tensor, "V"], learning: Bool[Tensor, "V"], group: Mapping[str, Any]
    ) -> dict[str, Float[Tensor, "V"]]:
        return {
            "rate": rate,
            "momentum": torch.where(learning, group["momentum"], 1),
            "of_square": torch.where(learning, torch.full_like(rate, ALPHA), 1),
            "to_square": torch.where(learning, torch.full_like(rate, 1 - ALPHA), 0),
        }

    def move(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, p: Tensor, gradient: Tensor, square: Tensor, buffer: Tensor, *, rate, momentum, of_square, to_square
    ) -> None:
        work = gradient * to_square
        square.mul_(of_square).addcmul_(work, gradient)
        torch.sqrt(square, out=work).add_(EPSILON)
        buffer.mul_(momentum).add_(torch.div(gradient, work, out=work))
        p.addcmul_(buffer, rate, value=-1)


OPTIMIZERS: Mapping[str, type[PopulationOptimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD, "rmsprop": RMSprop}


def optimizer_of(
    variants: Sequence[Variant], parameters: Iterable[nn.Parameter], steps: Sequence[int | float]
) -> PopulationOptimizer:
    """The optimizer of a pack, with each variant's options; `steps`: how many each variant takes in all."""
    kind = OPTIMIZERS[shared_value(variants, "optimizer")]
    names = ("learning_rate", "weight_decay", *kind.options)
    return kind(parameters, Schedule.of(variants, steps), **{name: values_of(variants, name) for name in names})


def _on_cpu(value: Any) -> Any:
    return value.cpu() if isinstance(value, Tensor) else value
