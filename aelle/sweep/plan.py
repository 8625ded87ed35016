"""The plan of a sweep, from its configuration: variants, packs, folders, and which of them are complete."""

import hashlib
import json
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from aelle.errors import UnwritableError, UserError, reason
from aelle.files import checksum, read_regular, refuse_unless, replace_atomically
from aelle.runs.format import MAX_STATUS, MAX_VARIANTS
from aelle.runs.reader import DamagedRunError, Run, read_run, run_folders
from aelle.runs.settings import SEARCH_SETTINGS, fingerprint, settings
from aelle.sweep.completion import complete_numbers
from aelle.sweep.options import (
    check_options,
    check_reference,
    check_whole,
    reference_size,
    reference_space,
    with_names,
)
from aelle.sweep.pruning_model import another_model, keep_model, with_digest
from aelle.variants import Variant, check_space, cost, draw

WRITTEN_BY_OTHERS = ("multirun.yaml", ".submitit", "wandb", "tensorboard", "study.db", "study.id")
"""What Hydra, launchers, dashboards and Optuna write into a sweep's folder, also through a link."""

SETTINGS_OF_A_SWEEP = (
    "size",
    "pack_size",
    "reference",
    "seed",
    "repeats",
    "epochs",
    "lyapunov",
    "prediction",
    "trainer",
    "task",
    "search",
)
"""What sweep.json contains besides the search space."""


class Remaining(NamedTuple):
    """How many variants a sweep wants, how many of them are complete, and what the others cost (`variants.cost`)."""

    wanted: int
    complete: int
    cost: float


@dataclass(frozen=True)
class Plan:
    """All variants of a sweep in its folder. A sweep without a `size` is a set of runs started one by one."""

    config: dict[str, Any]
    folder: Path

    @classmethod
    def of(cls, config: dict[str, Any]) -> "Plan":
        """Check the configuration and, if the sweep has been started, that its settings are the same."""
        config = with_names(config)
        check_options(config)
        config = with_digest(config)
        if config.get("search") is not None:
            # Without the storage, whose URL may have a password: the configuration is written to every run's folder.
            config = {**config, "search": {name: config["search"][name] for name in SEARCH_SETTINGS}}
        plan = cls(config, Path(config["outputs"]) / config["sweep"])
        if plan.file.exists():
            there = plan._started()
            if plan.searched and there["size"] < config["size"]:
                # A study can be continued with more trials.
                there["size"] = config["size"]
            if hint := another_model(plan.folder, there, plan.config):
                raise UserError(hint)
            if difference := _difference(there, plan.identity):
                raise UserError(
                    f"{plan.folder} was started with other settings ({difference}): start another "
                    "sweep with sweep=NAME, or use the same settings"
                )
        return plan

    @classmethod
    def started(cls, folder: Path) -> "Plan | None":
        """The plan of a started sweep, from its sweep.json; None without one. Raises UserError if it is damaged."""
        plan = cls({}, folder)
        if not plan.file.exists():
            return None
        identity = plan._started()
        names = [name for name in identity if name not in SETTINGS_OF_A_SWEEP]
        try:
            plan = cls({**identity, "hyperparameters": names}, folder)
            if not 1 <= identity["size"] <= MAX_VARIANTS:
                raise ValueError
            check_space({name: identity[name] for name in names})
            check_whole("pack_size", identity["pack_size"], 1)
            check_whole("epochs", identity["epochs"], 1)
            check_whole("repeats", identity["repeats"], 1)
            check_reference(plan.config)
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
        fixed = {name: self.config[name] for name in ("size", "pack_size", "reference")}
        return {**settings(self.config), **fixed}

    @property
    def searched(self) -> bool:
        """Whether a study proposes the variants (`aelle.search`), instead of draws from the search space."""
        return self.config.get("search") is not None

    def _grown(self) -> bool:
        return self.searched and self._started()["size"] < self.config["size"]

    def _started(self) -> dict[str, Any]:
        try:
            started = json.loads(read_regular(self.file, MAX_STATUS))
            if "checksum" not in started and {"size", "task", "trainer"} <= {*started}:
                raise UserError(
                    f"{self.file} was written by an earlier version: go on with that one, or start another sweep with "
                    "sweep=NAME"
                )
            if started.pop("checksum") != checksum(started):
                raise ValueError
        except UserError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise self._damaged() from None
        return started

    def _damaged(self) -> UserError:
        return UserError(f"{self.file} is damaged: delete it and run the sweep again, which keeps what is complete")

    def start(self) -> None:
        """Write the sweep's settings, which must not change from now on, to its folder."""
        for name in WRITTEN_BY_OTHERS:
            refuse_unless(self.folder / name, "file", "folder")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self.config["size"] is not None and (not self.file.exists() or self._grown()):
                keep_model(self.folder, self.config)
                identity = json.loads(json.dumps(self.identity))
                text = json.dumps({**identity, "checksum": checksum(identity)}, indent=2)
                replace_atomically(self.file, lambda file: file.write_text(text))
        except OSError as error:
            raise UnwritableError(
                f"{self.folder} cannot be written ({reason(error)}): choose another folder with outputs=…"
            ) from error

    def variant(self, number: int) -> Variant:
        size = self.config["size"]
        space = self.space if size is None or number < size else reference_space(self.config)
        return draw(space, self.config["seed"], number, self.config["repeats"])

    @cached_property
    def space(self) -> dict[str, Any]:
        """What the variants' hyperparameters are drawn from."""
        return {name: self.config.get(name) for name in self.config["hyperparameters"]}

    @property
    def total(self) -> int | None:
        """How many networks the sweep trains: its variants, and after them those for reference."""
        size = self.config["size"]
        return None if size is None else size + reference_size(self.config)

    def packs(self) -> list[list[Variant]]:
        return self._packs

    @cached_property
    def _packs(self) -> list[list[Variant]]:
        if self.total is None:
            raise UserError("this sweep has no size, and thus no packs: choose experiment=…, or set size=…")
        return cut_into_packs([self.variant(n) for n in range(self.total)], self.config["pack_size"])

    def pack_folder(self, pack: int) -> Path:
        return self.folder / f"pack-{pack:04d}"

    def wanted(self) -> set[int]:
        """The variants chosen by `variants`; by default all, or variant 0 if the sweep has no size."""
        if self.config["variants"] is not None:
            return set(parse_numbers(self.config["variants"], self.total))
        return {0} if self.total is None else set(range(self.total))

    def jobs(self, overrides: list[str]) -> list[tuple[Path, list[Variant]]]:
        """The run folders of this job and the variants of each: its pack, or the chosen variants, cut into packs."""
        if self.config["pack"] is not None:
            cut, pack = self.packs(), self.config["pack"]
            if not isinstance(pack, int) or not 0 <= pack < len(cut):
                raise UserError(f"pack={pack}: give a pack of this sweep, from 0 to {len(cut) - 1}")
            wanted = self.wanted()
            return [(self.pack_folder(pack), [v for v in cut[pack] if v.number in wanted])]
        numbers = {0} if self.config["variants"] is None else self.wanted()
        cut = cut_into_packs([self.variant(n) for n in sorted(numbers)], self.config["pack_size"])
        if self.config["size"] is not None:
            return [(self.folder / numbers_label(variants), variants) for variants in cut]
        label = overrides_label(overrides)
        return [(self.folder / (label if len(cut) == 1 else f"{label}.{i}"), part) for i, part in enumerate(cut)]

    def runs(self) -> list[Run]:
        """Every readable run of this sweep, whatever its settings."""
        found = []
        for folder in run_folders(self.folder):
            with suppress(DamagedRunError):
                found.append(read_run(folder))
        return found

    def complete(self) -> set[int]:
        """Numbers of the variants that are complete anywhere in the sweep's folder, with exactly these settings."""
        return complete_numbers(self.folder, fingerprint(self.config))

    def pruned(self) -> set[int]:
        """Numbers of the complete variants that were stopped early; none unless this sweep is pruned."""
        if not self.searched and (self.config.get("prediction") or {}).get("prune") is None:
            return set()
        mine = fingerprint(self.config)
        runs = [r for r in self.runs() if r.status["state"] == "complete" and r.status["fingerprint"] == mine]
        return set[int]().union(*(run.pruned for run in runs))

    def unfinished_packs(self) -> list[int]:
        """The packs with a wanted variant that is not complete."""
        left = self.wanted() - self.complete()
        return [n for n, pack in enumerate(self.packs()) if not left.isdisjoint(v.number for v in pack)]

    @property
    def title(self) -> str:
        """What this job trains."""
        pack = self.config["pack"]
        return self.config["sweep"] if pack is None else f"pack {pack + 1} of {len(self.packs())}"

    def remaining(self, besides: Collection[Variant] = ()) -> Remaining | None:
        """What of the sweep is left, and what it costs besides these variants; None if this job is not a pack of it."""
        if self.config["pack"] is None:
            return None
        wanted, but = self.wanted(), {variant.number for variant in besides}
        left = wanted - self.complete()
        costs = sum(cost(v) for pack in self.packs() for v in pack if v.number in left - but)
        return Remaining(len(wanted), len(wanted - left), costs)

    def pace(self, cost: float, seconds: float, over: bool = False) -> float:
        """Seconds that variants of cost 1 take, as a pack of this cost takes these seconds. `over`: it has ended."""
        return seconds / cost

    def incomplete(self, variants: list[Variant]) -> list[Variant]:
        complete = self.complete()
        return [v for v in variants if v.number not in complete]


def cut_into_packs(variants: Sequence[Variant], pack_size: int) -> list[list[Variant]]:
    """The variants sorted by (shape, number) and cut where the shape changes or `pack_size` is reached."""
    cut: list[list[Variant]] = []
    for variant in sorted(variants, key=lambda v: (v.shape, v.number)):
        if not cut or len(cut[-1]) == pack_size or cut[-1][0].shape != variant.shape:
            cut.append([])
        cut[-1].append(variant)
    return cut


def parse_numbers(text: Any, size: int | None) -> list[int]:
    """`17`, `[3, 5, 8]` or `0-63` as variant numbers."""
    numbers: list[int] = []
    if isinstance(text, int) and not isinstance(text, bool):
        numbers = [text]
    elif isinstance(text, str):
        match = re.fullmatch(r"(\d+)-(\d+)", text)
        if match and (size is None or int(match[2]) < size):
            numbers = list(range(int(match[1]), int(match[2]) + 1))
    elif isinstance(text, Sequence) and all(type(n) is int for n in text):
        numbers = sorted(set(text))
    if not numbers or numbers[0] < 0 or (size is not None and numbers[-1] >= size):
        known = "of at least 0" if size is None else f"from 0 to {size - 1}"
        raise UserError(f"variants={text}: give numbers {known}, e.g. 17, [3,5,8] or 0-63")
    return numbers


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
    # The digest is not an option, but follows from one.
    telling = [part for part in parts if part and not part.startswith("prediction.digest")]
    return "; ".join(telling or [part for part in parts if part])


NOT_IN_A_LABEL = (
    "task",
    "experiment",
    "sweep",
    "outputs",
    "pack",
    "logger",
    "prediction.model",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.memory",
    "task.data.root",
)


def numbers_label(variants: list[Variant]) -> str:
    numbers = [v.number for v in variants]
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"variants-{numbers[0]}-{numbers[-1]}"
    return shortened("variants-" + ",".join(map(str, numbers)))


def overrides_label(overrides: list[str]) -> str:
    """The name of a run's folder, made from its overrides."""
    telling = [
        o.lstrip("+~")
        for o in overrides
        if (name := o.lstrip("+~").split("=")[0]) not in NOT_IN_A_LABEL and not name.startswith("logger.")
    ]
    return shortened(re.sub(r"[^\w.,=+-]", "_", ",".join(sorted(telling))).lstrip(".")) or "defaults"


def shortened(name: str) -> str:
    """File systems allow 255 bytes; a hash keeps shortened names distinct."""
    return name if len(name) <= 120 else f"{name[:110]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
