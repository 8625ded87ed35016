"""Is a module a recurrent cell that can be trained as a population? Found out by a few steps, once, before training.

Axes: V member, B sequence, I input, H hidden unit.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from aelle.cells.module_cell import Form, ModuleCell, doubled, tensors_of
from aelle.errors import UserError, in_one_line

B, STEPS = 3, 2
"""Of the sequences that it is tried on."""

TOLERANCE = 1e-6
"""Of results in double precision that should be the same, relative to 1 and to their size."""


def checked_cell(members: Sequence[nn.Module], input_size: int, hidden_size: int) -> ModuleCell:
    """The members' common cell, found to run under vmap and to give each member's own results.

    Raises UserError, naming the class and the remedy, for a module that takes or returns something else than a
    cell's, has tensors outside of its parameters and buffers or changes them, keeps anything between calls, mixes
    sequences, draws random numbers, or is not finite for zeros.
    """
    module = members[0]
    name = type(module).__name__
    if not tensors_of(module):
        raise UserError(f"{name} has no parameters and no buffers, so its members cannot differ: give it some")
    for part in module.modules():
        for attribute, value in vars(part).items():
            if isinstance(value, Tensor):
                raise UserError(
                    f"{name}.{attribute} is a tensor that is neither parameter nor buffer, so that members would share "
                    f"it: self.register_buffer({attribute!r}, …)"
                )
    x = torch.linspace(-1, 1, B * STEPS * input_size).reshape(B, STEPS, input_size)
    with _no_random_numbers(name), torch.no_grad():
        cell = ModuleCell(module, _form(module, x[:, 0], hidden_size), input_size, hidden_size)
        _check_calls(cell, x)
    _check_under_vmap([ModuleCell(m, cell.form, input_size, hidden_size) for m in members], x)
    return cell


def _form(module: nn.Module, x: Tensor, hidden_size: int) -> Form:
    """From what the module returns for the state None, or else for zeros [B, H]."""
    name = type(module).__name__
    try:
        parameters = inspect.signature(module.forward).parameters
    except (TypeError, ValueError):
        parameters = {}
    noise = {"noise": x.new_zeros(B, hidden_size)} if "noise" in parameters else {}
    try:
        result = module(x, None, **noise)
    except Exception as for_none:
        try:
            result = module(x, x.new_zeros(B, hidden_size), **noise)
        except Exception as error:
            raise UserError(
                f"{name}.forward(x, state) fails for x [B, {x.shape[1]}] and state [B, {hidden_size}] with "
                f"{type(error).__name__} ({in_one_line(error)}); a cell whose state is a tuple is called with None "
                f"instead, and fails with {type(for_none).__name__} ({in_one_line(for_none)})"
            ) from error
    single = getattr(module, "uses_double_state", None)  # torchrecurrent's word for the number of parts.
    separate = isinstance(result, tuple) and len(result) == 2 and (isinstance(result[1], tuple) or _says_no(single))
    state = result[1] if separate else result
    bare = isinstance(state, Tensor)
    parts = (state,) if bare else state
    output = result[0] if separate else parts[0] if isinstance(parts, tuple) and parts else None
    floats = isinstance(parts, tuple) and all(isinstance(p, Tensor) and p.is_floating_point() for p in parts)
    if not floats or any(p.ndim < 2 or len(p) != B for p in parts):
        _refuse_form(name, f"the state {_shapes(state)}", hidden_size)
    if not isinstance(output, Tensor) or output.shape != (B, hidden_size):
        _refuse_form(name, f"the output {_shapes(output)}", hidden_size)
    return Form(tuple(p.shape[1:] for p in parts), bare, separate, "noise" in parameters)


def _says_no(method: Any) -> bool:
    return callable(method) and method() is False


def _refuse_form(name: str, what: str, hidden_size: int) -> NoReturn:
    raise UserError(
        f"{name} returns {what} for {B} sequences: return the next state, a tensor [B, {hidden_size}] or a tuple of "
        f"tensors [B, …] whose first is the output [B, {hidden_size}]"
    )


def _shapes(value: Any) -> str:
    if isinstance(value, Tensor):
        return str(list(value.shape))
    if isinstance(value, tuple):
        return f"({', '.join(map(_shapes, value))})"
    return f"of type {type(value).__name__}"


def _check_calls(cell: ModuleCell, x: Tensor) -> None:
    """Of the module by itself: the same call gives the same, in the same form, sequence by sequence."""
    module, form = cell.module, cell.form
    name = type(module).__name__
    before = {key: tensor.clone() for key, tensor in tensors_of(module).items()}

    def steps(x: Tensor) -> list[Tensor]:
        state, found = cell.zeros(x, len(x)), []
        for x_t in x.unbind(1):
            output, state = cell.step(x_t, state, None)
            if tuple(part.shape for part in state) != tuple((len(x), *shape) for shape in form.shapes):
                raise UserError(
                    f"{name} returns a state of shapes {[list(p.shape) for p in state]} for one of "
                    f"{[[len(x), *shape] for shape in form.shapes]}: the state must keep its shape"
                )
            found += [output, *state]
        return found

    try:
        first, again, at_zero = steps(x), steps(x), steps(torch.zeros_like(x))
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{name}.forward fails on the state that it has returned, or on zeros of its shape: {in_one_line(error)}"
        ) from error
    after = tensors_of(module)
    changed = [key for key, tensor in before.items() if key not in after or not _same(tensor, after[key])]
    if changed:
        raise UserError(
            f"{name} changes its own {', '.join(changed)} in a step, as batch normalisation does: what a network "
            "carries from step to step must be in its state"
        )
    if not all(map(_same, first, again)):
        raise UserError(
            f"{name} gives two results for the same input and state: it must be a function of both, with its noise as "
            "an argument `noise` and all that it carries in its state"
        )
    if not all(tensor.isfinite().all() for tensor in at_zero):
        raise UserError(f"{name} returns NaN or infinite numbers for zeros: check its formula and initial weights")
    try:
        alone = [torch.cat(tensors) for tensors in zip(*(steps(one) for one in x.split(1)), strict=True)]
        apart = not all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(first, alone, strict=True))
    except Exception:
        apart = True
    if apart:
        raise UserError(
            f"{name} gives a sequence another result beside others, or none alone, as batch normalisation does, and a "
            "branch on values: a "
            "sequence must not depend on the rest of its batch"
        )


def _check_under_vmap(cells: Sequence[ModuleCell], x: Tensor) -> None:
    """That members under vmap give what each gives by itself, in double precision as spectra need it, and gradients."""
    cell, name = cells[0], type(cells[0].module).__name__
    own, x = [doubled(tensors_of(one.module)) for one in cells], x.double()
    try:
        stacked = {key: torch.stack([tensors[key] for tensors in own]) for key in own[0]}
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{name}: members have tensors of other names or shapes: {in_one_line(error)}") from error
    learned = [stacked[key].requires_grad_() for key, p in cell.module.named_parameters() if p.requires_grad]
    try:
        with torch.no_grad():
            alone = [one.applied(tensors, x, one.zeros(x, B))[0] for one, tensors in zip(cells, own, strict=True)]
        with torch.enable_grad():
            outputs = cell.outputs(stacked, x.expand(len(cells), -1, -1, -1))
            if outputs.requires_grad:
                torch.autograd.grad(outputs.sum(), learned, allow_unused=True)
    except Exception as error:
        raise UserError(
            f"{name} does not run for many members at once, in double precision: {in_one_line(error)} (torch.func.vmap "
            "allows no branch on the values of tensors, no .item(), no random numbers; make tensors in x's dtype)"
        ) from error
    if outputs.dtype != x.dtype:
        raise UserError(f"{name} returns {outputs.dtype} for inputs in {x.dtype}: keep to the dtype of x")
    expected = torch.stack(alone, 1)
    if not torch.allclose(outputs.detach(), expected, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
        raise UserError(
            f"{name}: members differ in something else than parameters and buffers: register what is drawn or computed "
            "in its constructor by self.register_buffer"
        )


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)


@contextmanager
def _no_random_numbers(name: str) -> Iterator[None]:
    """Refuse a module that takes numbers from PyTorch's global generator, and leave that as it was."""
    before = torch.get_rng_state()
    try:
        yield
    finally:
        drawn = not torch.equal(before, torch.get_rng_state())
        torch.set_rng_state(before)
        if drawn:
            raise UserError(
                f"{name} draws random numbers in a step: a variant's must come from its own seeds; take them as an "
                "argument `noise` of forward (docs/own-cell.md), and use the task's dropout between layers"
            )
