"""A sweep as its configuration plans it: variants, packs, folders, and what of them is complete."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aelle.errors import UserError
from aelle.runs import DamagedRunError, fingerprint, read_config, read_status, read_table, replace_atomically, settings
from aelle.variants import Variant, check_space, draw, packs, parse_numbers

NOT_IN_A_LABEL = ("task", "experiment", "sweep", "outputs", "trainer.accelerator", "trainer.devices", "task.data.root")


@dataclass(frozen=True)
class Plan:
    """All variants of a sweep in its folder. A sweep without a `size` is a set of runs put together by hand."""

    config: dict[str, Any]
    folder: Path

    @classmethod
    def of(cls, config: dict[str, Any]) -> "Plan":
        """Check the configuration and, where the sweep has been started, that it was with the same settings."""
        check(config)
        plan = cls(config, Path(config["outputs"]) / config["sweep"])
        if plan.file.exists():
            difference = _difference(plan._started(), plan.identity)
            if difference:
                raise UserError(
                    f"{plan.folder} was started with other settings ({difference}): give this sweep "
                    "a folder of its own with sweep=NAME, or return to those settings"
                )
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
        except ValueError:
            raise UserError(f"{self.file} is damaged: delete it, and the sweep goes on with what is complete") from None
        return started

    def start(self) -> None:
        """Fix the sweep's settings in its folder."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self.config["size"] is not None and not self.file.exists():
                text = json.dumps(self.identity, indent=2)
                replace_atomically(self.file, lambda file: file.write_text(text))
        except OSError as error:
            raise UserError(
                f"{self.folder} cannot be written ({error.strerror}): name another place with outputs=…"
            ) from error

    def variant(self, number: int) -> Variant:
        return draw({name: self.config[name] for name in self.config["hyperparameters"]}, self.config["seed"], number)

    def packs(self) -> list[list[Variant]]:
        size = self.config["size"]
        if size is None:
            raise UserError("a pack is part of a sweep, and this one has no size: choose an experiment, or set size=…")
        return packs([self.variant(n) for n in range(size)], self.config["pack_size"])

    def requested(self) -> set[int] | None:
        """The variants asked for by number, None for all."""
        if self.config["variants"] is None:
            return None
        return set(parse_numbers(self.config["variants"], self.config["size"]))

    def job(self, overrides: list[str]) -> tuple[Path, list[Variant]]:
        """The run folder and the variants of this job: a pack, or the variants asked for."""
        requested = self.requested()
        if self.config["pack"] is not None:
            cut, pack = self.packs(), self.config["pack"]
            if not isinstance(pack, int) or not 0 <= pack < len(cut):
                raise UserError(f"pack={pack}: this sweep has packs 0 to {len(cut) - 1}")
            variants = [v for v in cut[pack] if requested is None or v.number in requested]
            return self.folder / f"pack-{pack:04d}", variants
        variants = [self.variant(n) for n in sorted(requested or {0})]
        if len({v.shape for v in variants}) > 1:
            raise UserError(
                f"variants={self.config['variants']} differ in shape and cannot be trained as one population: "
                "name variants of one shape, or let -m deal them out in packs"
            )
        return self.folder / (numbers_label(variants) if self.config["size"] else _overrides_label(overrides)), variants

    def complete(self) -> set[int]:
        """Numbers of the variants that are complete anywhere in the sweep's folder, under these very settings."""
        done: set[int] = set()
        wanted = fingerprint(self.config)
        for folder in run_folders(self.folder):
            try:
                status = read_status(folder)
                if status["state"] == "complete" and status["fingerprint"] == wanted:
                    read_config(folder, status)
                    read_table(folder / "epochs.parquet")
                    done.update(read_table(folder / "variants.parquet")["variant"].to_pylist())
            except (DamagedRunError, KeyError):
                continue
        return done


def run_folders(sweep: Path) -> list[Path]:
    """Every folder of a sweep that a run has written to; those set aside as damaged are left out."""
    return sorted(p.parent for p in sweep.glob("*/status.json") if ".damaged-" not in p.parent.name)


def check(config: dict[str, Any]) -> None:
    """Refuse values that no run could use, before anything is trained."""
    check_space({name: config.get(name) for name in config["hyperparameters"]})
    for name, least in (("epochs", 1), ("pack_size", 1), ("size", 1), ("seed", 0)):
        if not (name == "size" and config[name] is None):
            _check_whole(name, config[name], least)
    for name in ("sequences", "every_n_epochs"):
        _check_whole(f"lyapunov.{name}", config["lyapunov"][name], 1)
    for name, allowed in (("over", ("hidden", "full")), ("precision", ("float64", "float32"))):
        if config["lyapunov"][name] not in allowed:
            raise UserError(f"lyapunov.{name}={config['lyapunov'][name]}: choose {' or '.join(allowed)}")
    sweep = config["sweep"]
    if not isinstance(sweep, str) or not sweep or Path(sweep).is_absolute() or ".." in Path(sweep).parts:
        raise UserError(f"sweep={sweep}: give the name of a folder below {config['outputs']}")


def _check_whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"{name}={value}: give a whole number of at least {least}")


def numbers_label(variants: list[Variant]) -> str:
    numbers = [v.number for v in variants]
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"variants-{numbers[0]}-{numbers[-1]}"
    return "variants-" + ",".join(map(str, numbers))[:100]


def _overrides_label(overrides: list[str]) -> str:
    """A folder's name for a run that its overrides tell apart."""
    telling = [o.lstrip("+~") for o in overrides if o.lstrip("+~").split("=")[0] not in NOT_IN_A_LABEL]
    return re.sub(r"[^\w.,=+-]", "_", ",".join(sorted(telling)))[:200].lstrip(".") or "defaults"


def _difference(there: dict[str, Any], now: dict[str, Any], prefix: str = "") -> str:
    parts = []
    for name in dict.fromkeys([*there, *now]):
        old, new = there.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            parts.append(_difference(old, new, f"{prefix}{name}."))
        elif old != new:
            parts.append(f"{prefix}{name}: {old} there, {new} now")
    return "; ".join(part for part in parts if part)
