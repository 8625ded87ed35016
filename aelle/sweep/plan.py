"""A sweep as its configuration plans it: variants, packs, folders, and what of them is complete."""

import json
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from aelle.errors import UnwritableError, UserError, reason
from aelle.files import replace_atomically
from aelle.runs.format import MOST_VARIANTS
from aelle.runs.reader import DamagedRunError, Run, read_run, run_folders
from aelle.runs.settings import fingerprint, settings
from aelle.sweep.completion import complete_numbers
from aelle.sweep.labels import numbers_label, overrides_label
from aelle.sweep.pruning_model import another_model, check_prediction, keep_model, with_digest
from aelle.variants import Variant, check_space, draw, packs, parse_numbers

FIXED = ("size", "pack_size", "seed", "epochs", "lyapunov", "prediction", "trainer", "task")
"""What sweep.json holds beside the search space."""


@dataclass(frozen=True)
class Plan:
    """All variants of a sweep in its folder. A sweep without a `size` is a set of runs put together by hand."""

    config: dict[str, Any]
    folder: Path

    @classmethod
    def of(cls, config: dict[str, Any]) -> "Plan":
        """Check the configuration and, where the sweep has been started, that it was with the same settings."""
        check(config)
        config = with_digest(config)
        plan = cls(config, Path(config["outputs"]) / config["sweep"])
        if plan.file.exists():
            there = plan._started()
            if hint := another_model(plan.folder, there, plan.config):
                raise UserError(hint)
            if difference := _difference(there, plan.identity):
                raise UserError(
                    f"{plan.folder} was started with other settings ({difference}): give this sweep "
                    "a folder of its own with sweep=NAME, or return to those settings"
                )
        return plan

    @classmethod
    def started(cls, folder: Path) -> "Plan | None":
        """As a sweep's folder has it; None without a sweep.json. Raises UserError where that is damaged."""
        plan = cls({}, folder)
        if not plan.file.exists():
            return None
        identity = plan._started()
        names = [name for name in identity if name not in FIXED]
        try:
            plan = cls({**identity, "hyperparameters": names}, folder)
            if not 1 <= identity["size"] <= MOST_VARIANTS:
                raise ValueError
            check_space({name: identity[name] for name in names})
            _check_whole("pack_size", identity["pack_size"], 1)
            _check_whole("epochs", identity["epochs"], 1)
            plan.packs()
            fingerprint(plan.config)
        except Exception:
            raise plan._damaged() from None
        return plan

    @property
    def file(self) -> Path:
        return self.folder / "sweep.json"

    @property
    def identity(self) -> dict[str, Any]:
        """What must not change once the sweep has started."""
        return {"size": self.config["size"], "pack_size": self.config["pack_size"], **settings(self.config)}

    def _started(self) -> dict[str, Any]:
        try:
            started = json.loads(self.file.read_text())
            if not isinstance(started, dict):
                raise ValueError
        except (OSError, ValueError, RecursionError):
            raise self._damaged() from None
        return started

    def _damaged(self) -> UserError:
        return UserError(f"{self.file} is damaged: delete it, and the sweep goes on with what is complete")

    def start(self) -> None:
        """Fix the sweep's settings in its folder."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self.config["size"] is not None and not self.file.exists():
                keep_model(self.folder, self.config)
                text = json.dumps(self.identity, indent=2)
                replace_atomically(self.file, lambda file: file.write_text(text))
        except OSError as error:
            raise UnwritableError(
                f"{self.folder} cannot be written ({reason(error)}): name another place with outputs=…"
            ) from error

    def variant(self, number: int) -> Variant:
        return draw({name: self.config[name] for name in self.config["hyperparameters"]}, self.config["seed"], number)

    def packs(self) -> list[list[Variant]]:
        return self._packs

    @cached_property
    def _packs(self) -> list[list[Variant]]:
        size = self.config["size"]
        if size is None:
            raise UserError("a pack is part of a sweep, and this one has no size: choose an experiment, or set size=…")
        return packs([self.variant(n) for n in range(size)], self.config["pack_size"])

    def pack_folder(self, pack: int) -> Path:
        return self.folder / f"pack-{pack:04d}"

    def wanted(self) -> set[int]:
        """The variants asked for by number; without a word all, or variant 0 where the sweep has no size."""
        if self.config["variants"] is not None:
            return set(parse_numbers(self.config["variants"], self.config["size"]))
        return {0} if self.config["size"] is None else set(range(self.config["size"]))

    def jobs(self, overrides: list[str]) -> list[tuple[Path, list[Variant]]]:
        """The run folders of this job and the variants of each: its pack, or the variants asked for, cut into packs."""
        if self.config["pack"] is not None:
            cut, pack = self.packs(), self.config["pack"]
            if not isinstance(pack, int) or not 0 <= pack < len(cut):
                raise UserError(f"pack={pack}: this sweep has packs 0 to {len(cut) - 1}")
            wanted = self.wanted()
            return [(self.pack_folder(pack), [v for v in cut[pack] if v.number in wanted])]
        numbers = {0} if self.config["variants"] is None else self.wanted()
        cut = packs([self.variant(n) for n in sorted(numbers)], self.config["pack_size"])
        if self.config["size"] is not None:
            return [(self.folder / numbers_label(variants), variants) for variants in cut]
        label = overrides_label(overrides)
        return [(self.folder / (label if len(cut) == 1 else f"{label}.{i}"), part) for i, part in enumerate(cut)]

    def runs(self) -> list[Run]:
        """Every run of this sweep, of whatever settings, that can be read."""
        found = []
        for folder in run_folders(self.folder):
            with suppress(DamagedRunError):
                found.append(read_run(folder))
        return found

    def complete(self) -> set[int]:
        """Numbers of the variants that are complete anywhere in the sweep's folder, under these very settings."""
        return complete_numbers(self.folder, fingerprint(self.config))

    def pruned(self) -> set[int]:
        """Those of the complete ones that were stopped early; none unless this sweep is pruned."""
        if (self.config.get("prediction") or {}).get("prune") is None:
            return set()
        mine = fingerprint(self.config)
        runs = [r for r in self.runs() if r.status["state"] == "complete" and r.status["fingerprint"] == mine]
        return set[int]().union(*(run.pruned for run in runs))

    def unfinished_packs(self) -> list[int]:
        """The packs that hold a wanted variant which is not complete."""
        left = self.wanted() - self.complete()
        return [n for n, pack in enumerate(self.packs()) if not left.isdisjoint(v.number for v in pack)]

    def incomplete(self, variants: list[Variant]) -> list[Variant]:
        done = self.complete()
        return [v for v in variants if v.number not in done]


def check(config: dict[str, Any]) -> None:
    """Refuse values that no run could use, before anything is trained."""
    names = config["hyperparameters"]
    if not isinstance(names, list):
        raise UserError(f"hyperparameters={names}: give the list of their names, e.g. [hidden_size,p]")
    check_space({name: config.get(name) for name in names})
    for name, least in (("epochs", 1), ("pack_size", 1), ("size", 1), ("seed", 0)):
        if not (name == "size" and config[name] is None):
            _check_whole(name, config[name], least)
    lyapunov, trainer, threshold = config["lyapunov"], config["trainer"], config["task"]["threshold"]
    for name in ("sequences", "steps", "k"):
        if not (name != "sequences" and lyapunov[name] is None):
            _check_whole(f"lyapunov.{name}", lyapunov[name], 1)
    epochs = lyapunov["every_n_epochs"]
    if not isinstance(epochs, list):
        _check_whole("lyapunov.every_n_epochs", epochs, 1)
    elif not all(type(epoch) is int and epoch >= 0 for epoch in epochs):
        raise UserError(f"lyapunov.every_n_epochs={epochs}: give a whole number, or a list of epochs from 0 on")
    for name, value, allowed in (
        ("lyapunov.over", lyapunov["over"], ("hidden", "full")),
        ("lyapunov.precision", lyapunov["precision"], ("float64", "float32")),
        # A population is one model on one device; 16-mixed scales all losses by one factor, infinity included.
        ("trainer.devices", trainer["devices"], (1,)),
        ("trainer.precision", trainer["precision"], ("32-true", "64-true", "bf16-mixed")),
        ("trainer.gradient_clip_algorithm", trainer["gradient_clip_algorithm"], ("norm", "value")),
    ):
        if value not in allowed:
            raise UserError(f"{name}={value}: choose {' or '.join(map(str, allowed))}")
    for name, value in (("task.threshold", threshold), ("trainer.gradient_clip_val", trainer["gradient_clip_val"])):
        optional = name == "trainer.gradient_clip_val" and value is None
        if not optional and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0):
            raise UserError(f"{name}={value}: give a number above 0")
    check_prediction(config)
    sweep = config["sweep"]
    parts = Path(sweep).parts if isinstance(sweep, str) else ()
    if not parts or Path(sweep).is_absolute() or ".." in parts or "\0" in sweep:
        raise UserError(f"sweep={sweep}: give the name of a folder below {config['outputs']}")


def _check_whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"{name}={value}: give a whole number of at least {least}")


def _difference(there: dict[str, Any], now: dict[str, Any], prefix: str = "") -> str:
    parts = []
    for name in dict.fromkeys([*there, *now]):
        old, new = there.get(name), now.get(name)
        inner = [{} if value is None else value for value in (old, new)]
        if all(isinstance(value, dict) for value in inner):
            parts.append(_difference(inner[0], inner[1], f"{prefix}{name}."))
        elif old != new:
            shown = ["null" if value is None else value for value in (old, new)]
            parts.append(f"{prefix}{name}: {shown[0]} there, {shown[1]} now")
    # No option, but what follows from one.
    telling = [part for part in parts if part and not part.startswith("prediction.digest")]
    return "; ".join(telling or [part for part in parts if part])
