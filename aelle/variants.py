"""A variant's hyperparameters and seeds, which the sweep's seed and the variant's number alone determine.

A hyperparameter is given in the configuration as
    0.01                        a value: the same for every variant
    [32, 64, 128, 256]          assigned in turn; several lists are assigned in all combinations
    uniform(2.0, 3.0)           drawn from a distribution (`aelle.distributions`)
    {optimizer: {sgd: …, adam: …}}
                                any of these, by the value of another hyperparameter
    null                        its default
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from aelle.distributions import ALLOWED, is_distribution, parse
from aelle.errors import UserError
from aelle.hyperparameters import HYPERPARAMETERS, NOT_READ, check_value, cuts_packs, default, not_read
from aelle.seeds import generator, seed_for

Space = Mapping[str, Any]


@dataclass(frozen=True)
class Variant:
    """One draw of the hyperparameters: its `number` in the sweep, its `hyperparameters` by name, and its `seeds` by
    purpose, "init" and "shuffle"."""

    number: int
    hyperparameters: dict[str, Any]
    seeds: dict[str, int]

    def value(self, name: str) -> Any:
        """The value of the hyperparameter of that `name`, or its default if the search space does not have it."""
        value = self.hyperparameters.get(name, NOT_READ)
        return default(name) if not_read(value) else value

    @cached_property
    def shape(self) -> tuple:
        """What the variants of one pack have in common."""
        return tuple(pair for pair in self.hyperparameters.items() if cuts_packs(*pair))


def values_of(variants: Sequence[Variant], name: str) -> list[Any]:
    """The value of each of the `variants` of the hyperparameter of that `name`."""
    return [variant.value(name) for variant in variants]


def shared_value(variants: Sequence[Variant], name: str) -> Any:
    """The value that all variants of a pack have."""
    return variants[0].value(name)


def draw(space: Space, seed: int, number: int, repeats: int = 1) -> Variant:
    """The variant with this number in the sweep with this seed; `repeats` in a row differ only in their seeds.

    `space`: a value, a list or a distribution for each hyperparameter's name, as in a file of `conf/experiment/`.
    Whatever else is drawn, and in whatever order, a variant is the same. Raises ValueError for a value that is not
    allowed.
    """
    row = number // repeats
    left = row

    def drawn(name: str, spec: Any, branch: str | None) -> Any:
        nonlocal left
        if not isinstance(spec, str):
            left, place = divmod(left, len(spec))
            return spec[place]
        value = parse(name, spec).draw(generator(seed, row, name))
        _check_draw(name, spec, value, number)
        return value

    return variant_of(space, seed, number, drawn)


def variant_of(space: Space, seed: int, number: int, choose: Callable[[str, Any, str | None], Any]) -> Variant:
    """The variant with this number, whose hyperparameters `choose(name, spec, branch)` takes from lists and
    distributions. `branch`: the value of the hyperparameter that this list or distribution depends on, if any."""
    values: dict[str, Any] = {}
    for name in _parents_first(space):
        spec, known, branch = space[name], HYPERPARAMETERS.get(name), None
        if isinstance(spec, Mapping):
            branch = str(values[next(iter(spec))])
            spec = _branch(spec, values)
        if known is not None and known.where is not None and not _is_read(known.where, values):
            values[name] = NOT_READ
            continue
        value = choose(name, spec, branch) if is_open(spec) else spec
        values[name] = default(name) if value is None else value
    hyperparameters, purposes = {name: values[name] for name in space}, ("init", "shuffle")
    if not_read(chosen := values.get("variant_seed", NOT_READ)):
        seeds = {purpose: seed_for(seed, number, f"{purpose} seed") for purpose in purposes}
    else:
        seeds = {purpose: seed_for("variant seed", int(chosen), f"{purpose} seed") for purpose in purposes}
    return Variant(number, hyperparameters, seeds)


def is_open(spec: Any) -> bool:
    """Whether it is a list or a distribution, and not a single value."""
    return _is_list(spec) or is_distribution(spec)


def is_varied(spec: Any) -> bool:
    """Whether variants can differ in it."""
    return isinstance(spec, Mapping) or is_distribution(spec) or (_is_list(spec) and len(spec) > 1)


def check_space(space: Space) -> None:
    """Raise UserError for a search space that cannot be drawn from, before anything is trained."""
    if not space:
        raise UserError("the search space is empty: give its names, e.g. hyperparameters=[hidden_size,p]")
    for name in _parents_first(space):
        spec = space[name]
        for branch in _checked_branches(name, spec, space):
            check_spec(name, branch)
        check_where(name, spec, space)


def check_where(name: str, spec: Any, space: Space) -> None:
    """Raise UserError for a hyperparameter that is given where no variant reads it."""
    known = HYPERPARAMETERS.get(name)
    if spec is None or known is None or known.where is None:
        return
    parent, readers = known.where
    possible = possible_values(space, parent)
    if isinstance(spec, Mapping) and parent in spec:
        possible = {value for value, branch in spec[parent].items() if branch is not None and value not in readers}
        wrong = bool(possible)
    else:
        wrong = possible is not None and not possible & set(readers)
    if wrong:
        raise UserError(
            f"{name}={spec}: {name} is read only where {parent} is {' or '.join(readers)}, and here it is "
            f"{', '.join(sorted(map(str, possible or ())))}; leave it out with {name}=null, or change {parent}"
        )


def check_spec(name: str, spec: Any) -> None:
    """Raise UserError for a value, list or distribution that the hyperparameter cannot have."""
    known = HYPERPARAMETERS.get(name)
    if spec is None:
        return
    if _is_list(spec):
        if not len(spec):
            raise UserError(f"{name}=[] is an empty list: give {ALLOWED}")
        for value in spec:
            if value is not None:
                check_value(name, value)
        if known is None:
            _check_alike(name, spec)
    elif is_distribution(spec):
        distribution = parse(name, spec)
        if known is None and distribution.values is not None:
            _check_alike(name, distribution.values)
        if known is not None and known.words is not None and distribution.values is None:
            raise UserError(f"{name}={spec}: give {known.allowed}, a list of them, or choice(a, b, …)")
        if known is not None and known.whole and not distribution.whole:
            raise UserError(
                f"{name}={spec}: {name} must be a whole number; give integers(a, b), a whole step=, a list or a value"
            )
        for value in (*distribution.bounds, *(distribution.values or ())):
            check_value(name, value)
    elif isinstance(spec, str) and known is not None and known.words is None:
        raise UserError(f"{name}={spec!r} is not a distribution: give {ALLOWED}")
    else:
        check_value(name, spec)


def _check_alike(name: str, values: Sequence[Any]) -> None:
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) > 1 and not kinds <= {int, float}:
        raise UserError(f"{name}={list(values)}: give numbers, words, or true and false, and not some of each")


def _check_draw(name: str, spec: str, value: Any, number: int) -> None:
    try:
        check_value(name, value)
    except UserError as error:
        raise UserError(f"{name}={spec} drew a value for variant {number} that is not allowed: {error}") from None


def _checked_branches(name: str, spec: Any, space: Space) -> Iterator[Any]:
    """The value, list or distribution of each branch, once the conditions are checked."""
    if not isinstance(spec, Mapping):
        yield spec
        return
    form = f"{name}: {{optimizer: {{sgd: …, adam: …}}}}"
    if len(spec) != 1 or not isinstance(branches := next(iter(spec.values())), Mapping) or not branches:
        raise UserError(f"{name}={dict(spec)}: give one hyperparameter and its values, as in {form}")
    parent = str(next(iter(spec)))
    if parent not in space:
        near = get_close_matches(parent, space, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(
            f"{name} depends on {parent}, which is not a hyperparameter: {hint}choose one of {', '.join(space)}"
        )
    possible = possible_values(space, parent)
    if possible is None:
        raise UserError(
            f"{name} depends on {parent}={space[parent]}: give {parent} as a value, a list or choice(a, b, …)"
        )
    allowed = {str(value) for value in possible}
    for value, branch in branches.items():
        if str(value) not in allowed:
            raise UserError(f"{name} depends on {parent}={value}, but {parent} is {' or '.join(sorted(allowed))}")
        if isinstance(branch, Mapping):
            raise UserError(f"{name}: one condition within another is not supported; write it as in {form}")
        yield branch


def _branch(spec: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """The value, list or distribution that these values of other hyperparameters choose; None: the default."""
    ((parent, branches),) = spec.items()
    return {str(value): branch for value, branch in branches.items()}.get(str(values[parent]))


def _is_read(where: tuple[str, tuple[str, ...]], values: Mapping[str, Any]) -> bool:
    parent, readers = where
    return values.get(parent, default(parent)) in readers


def possible_values(space: Space, name: str) -> set[Any] | None:
    """The values that a hyperparameter can have; None if there is no list of them."""
    found: set[Any] = set()
    spec = space.get(name)
    for branch in next(iter(spec.values())).values() if isinstance(spec, Mapping) else [spec]:
        if branch is None:
            found.add(default(name))
        elif _is_list(branch):
            found |= {default(name) if value is None else value for value in branch}
        elif is_distribution(branch):
            values = parse(name, branch).values
            if values is None:
                return None
            found |= set(values)
        else:
            found.add(branch)
    return found | ({default(name)} if isinstance(spec, Mapping) else set())


def _parents_first(space: Space) -> list[str]:
    """The names in their order, each after those that it depends on. Raises UserError if they depend on each other."""
    order: list[str] = []

    def place(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise UserError(f"{' and '.join(path)} depend on each other: let only one depend on the other")
        if name in order or name not in space:
            return
        spec, known = space[name], HYPERPARAMETERS.get(name)
        if isinstance(spec, Mapping) and len(spec) == 1:
            place(str(next(iter(spec))), (*path, name))
        if known is not None and known.where is not None:
            place(known.where[0], (*path, name))
        order.append(name)

    for name in space:
        place(name, ())
    return order


def _is_list(spec: Any) -> bool:
    return isinstance(spec, Sequence) and not isinstance(spec, str)


def cost(variant: Variant) -> float:
    """Relative training time, units^1.5: between that of small networks (∝ units) and of large ones (∝ units²)."""
    units = variant.hyperparameters.get("hidden_size", 1)
    return units**1.5 if isinstance(units, (int, float)) and units > 0 else 1.0
