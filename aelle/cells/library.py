"""Cells by name: those of the library `torchrecurrent`, and a user's own class as `my_module.MyCell`."""

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from aelle.cells import CELLS
from aelle.errors import UserError, in_one_line

NOT_SWEPT = re.compile(r"bias|device|dtype|.*_init")
"""Parameters of a cell's constructor that are no hyperparameters of its dynamics."""

BUILT_IN = {nn.LSTM: "lstm", nn.LSTMCell: "lstm", nn.GRU: "gru", nn.GRUCell: "gru", nn.RNN: "rnn", nn.RNNCell: "rnn"}
"""PyTorch's own, which `vmap` cannot run, or only slowly."""

WORD_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def cell_class(name: str) -> type[nn.Module]:
    """The class of that name: "lem", "co_rnn", "coRNNCell" of torchrecurrent, or "my_module.MyCell".

    Underscores and case do not matter in a name of torchrecurrent. Raises UserError, naming what comes nearest.
    """
    if "." in name:
        return _own_class(name)
    library = _library()
    by_key = {_key(cls.__name__): cls for cls in library.values()}
    if _key(name) in by_key:
        return by_key[_key(name)]
    raise UserError(
        f"cell={name!r}: no such cell{_nearest(name, [*CELLS, *library])}; choose one of {', '.join(CELLS)}, a cell "
        "of torchrecurrent (docs/own-cell.md lists them), or a class of your own as my_module.MyCell"
    )


def library_cells() -> tuple[str, ...]:
    """The names of torchrecurrent's cells, in alphabetical order."""
    return tuple(sorted(_library()))


def cell_name(cls: type[nn.Module]) -> str:
    """The class name without "Cell", in snake case: "lem", "co_rnn", "gated_antisymmetric_rnn"."""
    return WORD_BOUNDARY.sub("_", cls.__name__.removesuffix("Cell")).lower()


def cell_options(cls: type[nn.Module]) -> dict[str, Any]:
    """The constructor's parameters that can be swept, with their defaults (`inspect.Parameter.empty`: required).

    They are those after input and hidden size whose default, if any, is a number, a word or a truth value, without
    biases, initialisers, device and dtype. Those that `**kwargs` hands to a parent class are included.
    """
    options = {}
    for parent in cls.__mro__:
        if "__init__" not in vars(parent):
            continue
        _self, *parameters = inspect.signature(vars(parent)["__init__"]).parameters.values()
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        sizes = [p.name for p in named if p.kind is p.POSITIONAL_OR_KEYWORD][:2]
        for p in named:
            simple = p.default is p.empty or isinstance(p.default, (bool, int, float, str))
            if simple and p.name not in (*sizes, *options) and not NOT_SWEPT.fullmatch(p.name):
                options[p.name] = p.default
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return options


def check_option_names(cls: type[nn.Module], options: Mapping[str, Any]) -> None:
    """Raises UserError for an option that the constructor does not have, and for one that it requires."""
    known = cell_options(cls)
    for name in options:
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise UserError(f"{name}={options[name]!r}: {cls.__name__} has no such option; {has}")
    missing = [name for name, default in known.items() if default is inspect.Parameter.empty and name not in options]
    if missing:
        raise UserError(
            f"{cls.__name__} requires {', '.join(missing)}: give a value of each, or a default in the class"
        )


@cache
def _library() -> dict[str, type[nn.Module]]:
    """By name. torchrecurrent is imported late, for those who use none of its cells."""
    try:
        import torchrecurrent
    except ImportError as error:
        raise UserError(
            f"torchrecurrent cannot be imported ({in_one_line(error)}): pip install 'torchrecurrent>=0.2.5', or choose "
            f"one of {', '.join(CELLS)}"
        ) from error
    classes = [getattr(torchrecurrent, name) for name in torchrecurrent.__all__ if name.endswith("Cell")]
    delays = [_delayed(cls) if "delayed_state" in inspect.signature(cls.forward).parameters else cls for cls in classes]
    return {cell_name(cls): cls for cls in delays}


def _delayed(cls: type[nn.Module]) -> type[nn.Module]:
    """A cell that reads h of `delay` steps before: its state is h_t, h_{t-1}, …, h_{t-delay}, as in its layer."""

    class Delayed(cls):
        def __init__(self, input_size: int, hidden_size: int, *, delay: int = 1, **options: Any):
            if not isinstance(delay, int) or delay < 1:
                raise ValueError(f"delay={delay!r}: give a whole number of at least 1")
            super().__init__(input_size, hidden_size, **options)
            self.delay, self.units = delay, hidden_size

        def forward(self, inp: Tensor, state: tuple[Tensor, ...] | None = None) -> tuple[Tensor, ...]:
            if state is None:
                state = (inp.new_zeros(len(inp), self.units),) * (self.delay + 1)
            return super().forward(inp, state[0], state[-1]), *state[:-1]

        def uses_double_state(self) -> bool:
            return True

    Delayed.__name__ = Delayed.__qualname__ = cls.__name__
    return Delayed


def _own_class(path: str) -> type[nn.Module]:
    where, _, name = path.rpartition(".")
    try:
        module = import_module(where)
    except Exception as error:
        why = f"importing {where} fails with {type(error).__name__}: {in_one_line(error)}; mend it"
        if isinstance(error, ModuleNotFoundError) and f"{where}.".startswith(f"{error.name}."):
            file = f"{where.split('.')[0]}.py"
            why = f"no module {where}; put {file} into the working directory, or its folder on PYTHONPATH"
        raise UserError(f"cell={path!r}: {why}") from error
    found = getattr(module, name, None)
    if isinstance(found, type) and found in BUILT_IN:
        raise UserError(f"cell={path!r}: PyTorch's own is built in; use cell={BUILT_IN[found]}")
    if isinstance(found, type) and issubclass(found, nn.Module):
        return found
    if found is not None:
        what = f"the class {found.__name__}" if isinstance(found, type) else f"of type {type(found).__name__}"
        raise UserError(f"cell={path!r}: it is {what}; give a subclass of torch.nn.Module whose forward is one step")
    raise UserError(
        f"cell={path!r}: {where} has no {name}{_nearest(name, _classes(module))}; give the name of a class in it"
    )


def _classes(module: ModuleType) -> list[str]:
    return [name for name, value in vars(module).items() if isinstance(value, type) and issubclass(value, nn.Module)]


def _nearest(name: str, known: Iterable[str]) -> str:
    by_key = {_key(one): one for one in known}
    found = [by_key[key] for key in difflib.get_close_matches(_key(name), by_key, n=3)]
    return f" (nearest: {', '.join(found)})" if found else ""


def _key(name: str) -> str:
    return re.sub(r"[_\-\s]", "", name).lower().removesuffix("cell")
