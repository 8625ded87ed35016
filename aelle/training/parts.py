"""The parts that a sweep's packs are trained with, built once from its configuration."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pytorch_lightning as pl
import torch
from torch import Tensor

from aelle.errors import UserError, in_one_line
from aelle.memory import parsed, share
from aelle.runs.settings import target
from aelle.sweep.options import OPTIONS
from aelle.sweep.pruning_model import AUTO, check_digest
from aelle.sweep.resuming import Place
from aelle.tasks.module import PopulationModule
from aelle.tasks.networks import cell_arguments, options_of
from aelle.tracking.tracker import tracker_of
from aelle.trainer import lean_trainer
from aelle.training.lyapunov_callback import LyapunovCallback
from aelle.variants import Variant, possible_values

if TYPE_CHECKING:
    from aelle.predictor.early_predictor import EarlyPredictor
    from aelle.training.prediction_callback import PredictionCallback
    from aelle.training.pruning_callback import PruningCallback


@runtime_checkable
class Data(Protocol):
    """What a task learns from. Its probe is None if the networks run freely, without input."""

    def probe(self, sequences: int, part: str = "val") -> Tensor | None: ...


class Parts:
    """`data`, the task's `module` class, the `model` that predicts and `cut`, the chance below which it prunes, which
    all packs share; each pack gets a callback and a trainer of its own. `memory`: bytes that a pack may take on the
    `device`, where that is limited; `jobs` train at the same time on this machine.

    `tells_chances`: whether the chances of each epoch are printed, where there are some.

    Raises UserError, before anything is written, if the configuration gives a part an option that it cannot use.
    """

    tells_chances = True

    def __init__(self, config: dict[str, Any], jobs: int = 1):
        self.config = config
        self.data = load_data(config)
        # One of each, whose options are so checked before anything is written; every pack gets its own.
        self.lyapunov()
        self.device: torch.device = self.trainer([]).strategy.root_device
        self.memory = min(parsed("trainer.memory", config["trainer"]["memory"]), share(self.device, jobs))
        self.model = _model(config["prediction"])
        self.cut = None if self.model is None else _cut(self.model, config)
        tracker_of(config["logger"])
        module = _module(config["task"]["module"])
        check_read(config, module)
        self.reads = module.reads
        self.module = partial(module, **_options(config["task"]["module"], module))

    def check(self, packs: Sequence[Sequence[Variant]]) -> list[str]:
        """Why the networks of some of these packs cannot be built, a line each, by a variant of each kind. Raises
        UserError if those of none can."""
        tried, refused = set(), {}
        for pack in packs:
            if "cell" in self.reads:
                cell_arguments(pack)
            kind = tuple(pack[0].value(name) for name in ("cell", "hidden_size", "layers"))
            if kind not in tried:
                try:
                    self.module(self.data, [pack[0]])
                except UserError as error:
                    refused[kind] = error
            tried.add(kind)
        if refused and len(refused) == len(tried):
            raise next(iter(refused.values()))
        return [f"{error}; its variants fail, and the others are trained" for error in refused.values()]

    @property
    def warnings(self) -> list[str]:
        """Why the model of `prediction` may not suit this sweep, a line each."""
        if self.model is None:
            return []
        from aelle.predictor.differences import differences

        said = differences(self.model, *_compared(self.config))
        return [f"prediction.model: {one}" for one in said]

    @property
    def pruning(self) -> str:
        """Which cut `prediction.prune=auto` has chosen, or ""."""
        options = self.config["prediction"]
        if options["prune"] != AUTO:
            return ""
        return (
            f"prediction.prune={AUTO}: variants are stopped below a chance of {_percent(self.cut)}, by which at most "
            f"{_percent(options['may_lose'])} of the low-error ones are lost on average"
        )

    def lyapunov(self) -> LyapunovCallback:
        options = self.config["lyapunov"]
        return LyapunovCallback(
            "network",
            self.data.probe(options["sequences"]),
            test_probe=self.data.probe(options["sequences"], "test") if options["test"] else None,
            every_n_epochs=options["every_n_epochs"],
            steps=options["steps"],
            k=options["k"],
            over=options["over"],
            dtype=getattr(torch, options["precision"]),
        )

    def stopping(self, prediction: "PredictionCallback", place: Place) -> "PruningCallback | None":
        """What stops poor variants of a pack, if the configuration asks for it."""
        from aelle.training.pruning_callback import PruningCallback

        if self.cut is None:
            return None
        options = self.config["prediction"]
        return PruningCallback(prediction, self.cut, options["after"], place.last, self.config["size"])

    def watching(self, place: Place, say: Callable[..., object]) -> list[pl.Callback]:
        """More callbacks for the training of a pack: none, but in a search."""
        return []

    def trainer(self, callbacks: list[pl.Callback], **options: Any) -> pl.Trainer:
        chosen = {name: value for name, value in self.config["trainer"].items() if name != "memory"}
        if chosen["gradient_clip_val"] is None:
            chosen = {name: value for name, value in chosen.items() if not name.startswith("gradient_clip")}
        return lean_trainer(max_epochs=self.config["epochs"], callbacks=callbacks, **chosen, **options)


def load_data(config: dict[str, Any]) -> Data:
    """The task's data, by the loader and with the options of `task.data`."""
    options = {name: value for name, value in config["task"]["data"].items() if name != "_target_"}
    try:
        loader = target(config["task"]["data"])
    except Exception as error:
        raise UserError(f"task.data: {in_one_line(error)}; give a loader as _target_, as aelle.data.digits") from error
    try:
        inspect.signature(loader).bind(**options)
    except (TypeError, ValueError) as error:
        raise UserError(f"task.data: {in_one_line(error)}; give the options that its loader takes") from error
    # A cache keyed by the options, as all loaders of aelle have, takes single values only.
    several = [name for name, value in options.items() if isinstance(value, (list, dict))]
    if several and hasattr(loader, "cache_info"):
        raise UserError(f"task.data.{several[0]}={options[several[0]]}: give a single value")
    data = loader(**options)
    if not isinstance(data, Data):
        raise UserError(f"task.data: {config['task']['data']['_target_']} must return data with a method probe")
    return data


def _module(options: dict[str, Any]) -> type[PopulationModule]:
    try:
        module = target(options)
    except Exception as error:
        raise UserError(f"task.module: {in_one_line(error)}; give a class of aelle.tasks as _target_") from error
    if not (isinstance(module, type) and issubclass(module, PopulationModule)):
        raise UserError(
            f"task.module: {options['_target_']} is not a PopulationModule; give a subclass of it as _target_"
        )
    return module


def _options(options: dict[str, Any], module: type[PopulationModule]) -> dict[str, Any]:
    """What the module takes besides the data and the variants."""
    chosen = {name: value for name, value in options.items() if name != "_target_"}
    try:
        inspect.signature(module).bind(None, [], **chosen)
    except TypeError as error:
        raise UserError(f"task.module: {in_one_line(error)}; give the options that {module.__name__} takes") from error
    return chosen


ALWAYS_READ = ("variant_seed",)


def check_read(config: dict[str, Any], module: type[PopulationModule]) -> None:
    """Raise UserError for a hyperparameter that nobody reads, and for a cell that does not exist."""
    space = {name: config[name] for name in config["hyperparameters"]}
    cells = sorted(possible_values(space, "cell") or ()) if "cell" in module.reads else []
    options = {cell: options_of(cell) for cell in cells}
    known = sorted({*module.reads, *ALWAYS_READ, *(name for of_cell in options.values() for name in of_cell)})
    for name, spec in space.items():
        if name not in known:
            near = get_close_matches(name, [*known, *OPTIONS], 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UserError(
                f"{name} is not read by {module.__name__}, nor is it an option: {hint}its hyperparameters are "
                f"{', '.join(known)}"
            )
        if name in module.reads or name in ALWAYS_READ or spec is None:
            continue
        conditional = isinstance(spec, Mapping) and "cell" in spec
        if deaf := [cell for cell in (spec["cell"] if conditional else cells) if name not in options[cell]]:
            reader = next(cell for cell in cells if name in options[cell])
            raise UserError(
                f"{name} is not an option of cell={deaf[0]}: give it where it is one, {name}: {{cell: {{{reader}: …}}}}"
            )


def _model(options: dict[str, Any]) -> "EarlyPredictor | None":
    if options["model"] is None:
        return None
    # Training without a model does not need scikit-learn, which takes long to import.
    from aelle.predictor.early_predictor import EarlyPredictor

    try:
        model = EarlyPredictor.load(options["model"])
    except UserError as error:
        raise UserError(f"prediction.model: {error}; give the folder of a model that an analysis saved") from error
    check_digest(options)
    return model


def _cut(model: "EarlyPredictor", config: dict[str, Any]) -> float | None:
    """The chance below which variants are stopped; None for no pruning. Raises UserError for a sweep unlike the known
    one, of which the model can promise nothing."""
    options = config["prediction"]
    if options["prune"] != AUTO:
        return options["prune"]
    from aelle.predictor.differences import unlike_known

    if said := unlike_known(model, *_compared(config)):
        raise UserError(
            f"prediction.prune={AUTO}: {said[0]}; what share of low-error variants is lost cannot be promised then: "
            "give a chance as a number, e.g. prediction.prune=0.1, or a model of a sweep like this one"
        )
    try:
        return model.cut(options["may_lose"], options["after"])
    except UserError as error:
        raise UserError(f"prediction.prune={AUTO}: {error}") from error


def _compared(config: dict[str, Any]) -> tuple[str, int, float, list[str]]:
    """What of a sweep is compared with that of the known one."""
    return config["task"]["name"], config["epochs"], config["task"]["threshold"], config["hyperparameters"]


def _percent(share: float | None) -> str:
    return f"{100 * (share or 0):.3g} %"
