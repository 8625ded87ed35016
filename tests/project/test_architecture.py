"""The packages of aelle stand on floors: each imports what is below it, and who asks for little loads little."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from aelle import AeLLE
from aelle.lyapunov.features import scalar_features
from sweeps import ROOT

PACKAGES, TESTS = ROOT / "aelle", ROOT / "tests"

LOOSE = (
    "distributions",
    "errors",
    "files",
    "hyperparameters",
    "installation",
    "memory",
    "npz",
    "seeds",
    "spreadsheets",
    "terminal",
    "trainer",
    "variants",
)
"""The vocabulary that everything shares: modules beside the packages, which import nothing but each other."""

FLOORS = (
    "cells",
    "lyapunov",
    "data",
    "tasks",
    "runs",
    "sweep",
    "model",
    "predictor",
    "tracking",
    "training",
    "search",
    "analysis",
    "report",
    "integrations",
    "commands",
)
"""The packages, lowest first. A new one is added here, above all that it imports and below all that import it."""

ENTRIES = ("__init__", "__main__")
"""On top: the public names, and above them the command `aelle`."""

MAX_LINES = 350


def modules() -> list[Path]:
    return sorted(PACKAGES.rglob("*.py"))


def room(path: Path) -> str:
    """The package that a module of aelle is in, or the name of a loose one."""
    first, *rest = path.relative_to(PACKAGES).parts
    return first if rest else path.stem


def floor(name: str) -> int:
    if name in ENTRIES:
        return len(FLOORS) + 1 + ENTRIES.index(name)
    if name in LOOSE:
        return 0
    assert name in FLOORS, f"add {name} to FLOORS in tests/project/test_architecture.py, above what it imports"
    return 1 + FLOORS.index(name)


def imported(source: str, package: str) -> Iterator[str]:
    """Every dotted name that a module of this package imports: at its top, in functions, for type checkers only.

    Of `from a import b`, whose b may be a module, it is "a.b".
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = [*above, *filter(None, [node.module])]
            yield from (".".join([*origin, alias.name]) for alias in node.names)


def imported_rooms(path: Path) -> set[str]:
    """Packages and loose modules of aelle; "__init__" where a public name is taken from aelle itself."""
    package = ".".join(path.relative_to(ROOT).parent.parts)
    names = [name.split(".") for name in imported(path.read_text(), package)]
    inside = [name[1] if len(name) > 1 else "__init__" for name in names if name[0] == "aelle"]
    return {name if name in (*LOOSE, *ENTRIES) or (PACKAGES / name).is_dir() else "__init__" for name in inside}


def test_imports_of_every_kind_are_found():
    source = """
import a, b.c as d
from e.f import g, h
from .i import j
from .. import k
if TYPE_CHECKING:
    from l import m
def function():
    import n.o
"""
    found = set(imported(source, "p.q"))
    assert found == {"a", "b.c", "e.f.g", "e.f.h", "p.q.i.j", "p.k", "l.m", "n.o"}


def test_every_package_has_its_floor_and_nothing_stands_loose():
    here = {path.name for path in PACKAGES.iterdir() if path.is_dir() and path.name != "__pycache__"}
    new, gone = here - set(FLOORS), set(FLOORS) - here
    assert not new, f"add {new} to FLOORS in tests/project/test_architecture.py, above what it imports"
    assert not gone, f"take {gone} out of FLOORS in tests/project/test_architecture.py"
    loose = {path.stem for path in PACKAGES.glob("*.py")}
    assert loose == {*LOOSE, *ENTRIES}, "a module stands in the package whose stage it is part of"


def test_imports_point_down():
    wrong = []
    for path in modules():
        own = room(path)
        for other in imported_rooms(path) - {own}:
            if floor(other) >= floor(own) and not (own in LOOSE and other in LOOSE):
                wrong.append(f"{path.relative_to(ROOT)} imports {other}, which does not stand below {own}")
    assert wrong == []


def test_only_the_commands_know_hydra():
    found = {room(path) for path in modules() for name in imported(path.read_text(), "") if name.startswith("hydra")}
    assert found == {"commands"}


def test_the_loose_modules_import_each_other_in_no_circle():
    arrows = {name: imported_rooms(PACKAGES / f"{name}.py") - {name} for name in LOOSE}
    assert any(arrows.values())
    TopologicalSorter(arrows).prepare()
    with pytest.raises(CycleError):
        TopologicalSorter({"errors": {"files"}, "files": {"errors"}}).prepare()


def test_every_package_says_what_it_is_for():
    assert [
        name for name in FLOORS if not ast.get_docstring(ast.parse((PACKAGES / name / "__init__.py").read_text()))
    ] == []


def test_modules_are_short():
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules()}
    assert {name: n for name, n in lines.items() if n > MAX_LINES} == {}


def test_no_test_file_imports_another():
    """What they share stands in plain modules beside them, and fixtures in conftest.py."""
    files = {path.stem for path in TESTS.rglob("test_*.py")} | {"conftest"}
    wrong = []
    for path in TESTS.rglob("*.py"):
        package = ".".join(path.relative_to(ROOT).parent.parts)
        names = imported(path.read_text(), package)
        wrong += [f"{path.relative_to(ROOT)} imports {name}" for name in names if files & set(name.split("."))]
    assert wrong == []


def loaded(code: str, names: tuple[str, ...]) -> set[str]:
    """Which of these a fresh process has imported after this code."""
    line = f"import sys\n{code}\nprint(*({set(names)} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_what_is_loaded_is_seen():
    assert loaded("import json", ("json", "wandb")) == {"json"}


def test_who_asks_for_help_does_not_wait_for_pytorch():
    heavy = ("torch", "pytorch_lightning", "sklearn", "pandas", "numba")
    assert loaded("import aelle.commands.launch, aelle.commands.command_line", heavy) == set()


def test_no_dashboard_is_imported_without_being_chosen():
    assert loaded("import aelle.commands.launch, aelle.commands.analyze", ("wandb", "tensorboard")) == set()


def test_a_spectrum_needs_pytorch_alone():
    others = ("pandas", "pyarrow", "sklearn", "hydra", "wandb", "pytorch_lightning")
    call = "import aelle, torch; aelle.lyapunov_spectrum(torch.nn.GRU(2, 4), torch.randn(2, 5, 2))"
    assert loaded(call, others) == set()


TRAINING = ("hydra", "hydra_plugins", "pytorch_lightning")
"""What trains, and what starts it."""


def test_reading_a_sweep_needs_nothing_that_trains(small_sweep):
    code = f"from pathlib import Path; from aelle.sweep.table import load_sweep; load_sweep(Path({str(small_sweep)!r}))"
    assert loaded(code, TRAINING) == set()


def test_reading_a_model_needs_nothing_that_trains(tmp_path):
    losses = np.linspace(0.1, 0.9, 40)
    AeLLE(0.5, epochs=1, latent_size=2).fit(np.outer(losses, [0.0, -1.0, -2.0]), losses).save(tmp_path)
    assert loaded(f"import aelle; aelle.AeLLE.load({str(tmp_path)!r})", TRAINING) == set()


def test_shapes_are_checked_in_tests():
    with pytest.raises(TypeCheckError, match="spectra"):
        scalar_features(np.zeros(3))
