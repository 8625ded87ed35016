"""The networks of a pack, by its hyperparameters: of a built-in cell, or of a class."""

from collections.abc import Sequence
from typing import Any

from aelle.cells import CELLS
from aelle.cells.library import cell_class, cell_options
from aelle.errors import UserError
from aelle.hyperparameters import HYPERPARAMETERS, not_read
from aelle.tasks.cell_population import CellPopulation
from aelle.tasks.initialization import Initialization
from aelle.tasks.population import Population
from aelle.variants import Variant, shared_value


def networks_of(
    variants: Sequence[Variant], inputs: int, outputs: int, *, recurrent_bias: bool = True
) -> Population | CellPopulation:
    """The networks of a pack's `variants`, with so many `inputs` and `outputs`: those that `cell`, `hidden_size`,
    `layers`, `init` and what belongs to it ask for; see `Population`.

    Options of a cell's constructor are hyperparameters as well. Without `recurrent_bias` built-in cells have none.
    Raises ValueError for a cell or an option that does not exist.
    """
    name, hidden_size = shared_value(variants, "cell"), int(shared_value(variants, "hidden_size"))
    initializations, seeds = [Initialization.of(variant) for variant in variants], [v.seeds["init"] for v in variants]
    layers = int(shared_value(variants, "layers"))
    if name in CELLS:
        return Population(
            *(name, inputs, hidden_size, outputs, initializations, seeds),
            layers=layers,
            recurrent_bias=recurrent_bias,
        )
    cell = cell_class(name)
    shared, own = cell_arguments(variants)
    return CellPopulation(
        *(cell, inputs, hidden_size, outputs, initializations, seeds),
        layers=layers,
        options=shared,
        member_options=own,
    )


def options_of(cell: str) -> dict[str, Any]:
    """The hyperparameters that the constructor of a cell of that name takes, and their defaults.

    Raises UserError for a cell that does not exist, or has an option of the name of a task's hyperparameter.
    """
    if cell in CELLS:
        return {}
    options = cell_options(cell_class(cell))
    if taken := [name for name in options if name in HYPERPARAMETERS]:
        raise UserError(f"cell={cell}: its option {taken[0]} has the name of another hyperparameter; call it otherwise")
    return options


def cell_arguments(variants: Sequence[Variant]) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """The arguments of a pack's cell: what all members share, and what each has of its own, the numbers whose default
    is a float."""
    defaults = options_of(shared_value(variants, "cell"))
    given = [
        {name: value for name, value in variant.hyperparameters.items() if name in defaults and not not_read(value)}
        for variant in variants
    ]
    shared = {name: value for name, value in given[0].items() if not isinstance(defaults[name], float)}
    for name, value in shared.items():
        if any(one[name] != value for one in given):
            raise UserError(
                f"{name}: only options whose default in the class is a float can differ within a pack; write a default "
                "such as 1.0, or train with pack_size=1"
            )
    own = [{name: _number(name, value) for name, value in one.items() if name not in shared} for one in given]
    return shared, own if any(own) else []


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{name}={value}: its default in the class is a float; give a number")
    return float(value)
