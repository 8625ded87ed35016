"""What stands before the first command: `.venv`, and the Python that runs it."""

import ast
import importlib.util
import json
import shutil
import subprocess
import sys

import pytest

from sweeps import ROOT


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """tools/environment.py for a project of its own, which asks pip for nothing but records what it would."""
    spec = importlib.util.spec_from_file_location("environment", ROOT / "tools" / "environment.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.asked = []

    def move(folder):
        monkeypatch.setattr(module, "ROOT", folder)
        monkeypatch.setattr(module, "VENV", folder / ".venv")
        monkeypatch.setattr(module, "LOG", folder / ".venv" / "install.log")

    module.move = move
    monkeypatch.setattr(module, "install", module.asked.append)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 10**12))
    project = tmp_path / "here"
    project.mkdir()
    (project / "pyproject.toml").write_text("[project]\n")
    move(project)
    return module


def refusal(capsys, call, *arguments) -> str:
    with pytest.raises(SystemExit) as stopped:
        call(*arguments)
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
    return err


def test_an_environment_is_made_once_and_completed_when_more_is_asked_for(environment):
    environment.complete("", False)
    environment.complete("", False)
    assert environment.asked == ["."] and environment.made_by() == sys.version_info[:2]
    environment.complete("test", False)
    environment.complete("test", False)
    environment.complete("", False)
    assert environment.asked == [".", ".[test]"]
    (environment.ROOT / "pyproject.toml").write_text("[project]\ndependencies = []\n")
    environment.complete("", False)
    assert environment.asked == [".", ".[test]", "."]


def test_with_the_test_tools_nothing_else_is_to_be_installed(environment):
    environment.complete("test", False)
    environment.complete("", False)
    assert environment.asked == [".[test]"]


def test_old_pythons_can_parse_what_refuses_them():
    ast.parse((ROOT / "tools" / "environment.py").read_text(), feature_version=(3, 7))


@pytest.mark.long
@pytest.mark.parametrize("copied", [True, False], ids=["copied", "moved"])
def test_the_environment_of_another_folder_is_repaired_with_its_packages(environment, tmp_path, copied):
    environment.complete("", False)
    old, new = environment.ROOT, tmp_path / "there"
    script = old / ".venv" / "bin" / "tool"
    script.write_text(f"#!{old}/.venv/bin/python\nprint('at work')\n")
    script.chmod(0o755)
    (old / ".venv" / "package").write_text("some gigabytes")
    shutil.copytree(old, new, symlinks=True) if copied else old.rename(new)
    environment.move(new)
    environment.complete("", False)
    assert environment.asked == [".", "."] and (new / ".venv" / "package").exists()
    if copied:
        shutil.rmtree(old)
    for name in ("tool", "pip"):
        assert subprocess.run([new / ".venv" / "bin" / name, "--version"], capture_output=True).returncode == 0
    assert str(old / ".venv") not in (new / ".venv" / "bin" / "activate").read_text()


@pytest.mark.long
def test_an_environment_whose_python_is_gone_is_made_anew(environment):
    environment.complete("", False)
    for link in (environment.VENV / "bin").glob("python*"):
        link.unlink()
        link.symlink_to("/nowhere/python")
    environment.complete("", False)
    assert environment.made_by() == sys.version_info[:2] and environment.asked == [".", "."]


@pytest.mark.long
def test_a_python_that_was_asked_for_replaces_another_ones_environment(environment, monkeypatch):
    environment.complete("", False)
    monkeypatch.setattr(environment, "made_by", lambda: (3, 10))
    (environment.VENV / "of_python_3_10").touch()
    environment.complete("", False)
    assert environment.asked == ["."]
    environment.complete("", True)
    assert environment.asked == [".", "."] and not (environment.VENV / "of_python_3_10").exists()


def test_what_is_missing_is_one_line(environment, monkeypatch, capsys):
    free = shutil._ntuple_diskusage(0, 0, 3 * 10**9)
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda _: free)
    err = refusal(capsys, environment.complete, "", False)
    assert "needs 11 GB, and 3.0 are free" in err and not environment.VENV.exists()
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda _: free._replace(free=10**12))

    call = subprocess.call
    monkeypatch.setattr(
        environment.subprocess, "call", lambda line, **o: 1 if "venv, ens" in line[-1] else call(line, **o)
    )
    err = refusal(capsys, environment.complete, "", False)
    assert f"apt-get install python{sys.version_info[0]}.{sys.version_info[1]}-venv" in err

    monkeypatch.setattr(environment.sys, "version_info", (3, 9, 2))
    err = refusal(capsys, environment.complete, "", False)
    assert "is Python 3.9.2, and aelle needs 3.10 or newer" in err and "PYTHON=" in err
    assert environment.asked == []


@pytest.mark.parametrize("target", ["demo", "test"])
def test_a_python_that_does_not_exist_is_one_line(target):
    done = subprocess.run(["make", target, "PYTHON=python3.99"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: python3.99 is missing: install Python 3.10")


@pytest.mark.long
def test_pip_that_fails_is_one_line(environment, tmp_path, monkeypatch, capsys):
    environment.create(None)
    monkeypatch.undo()
    environment.move(tmp_path / "here")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    err = refusal(capsys, environment.install, ".")
    assert err.startswith("error: pip failed: No matching distribution found for setuptools")
    assert ".venv/install.log" in err and environment.LOG.read_text()


@pytest.mark.long
def test_all_extras_install_beside_each_other(tmp_path):
    """hydra-ray-launcher requires an older cloudpickle than the newest joblib does. What can be installed with all
    extras can be installed with each of them."""
    project = pytest.importorskip("tomllib").loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = sorted(project["optional-dependencies"])
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--dry-run", "--ignore-installed"]
    asked = [*pip, "-q", "--report", str(tmp_path / "report.json"), f"{ROOT}[{','.join(extras)}]"]
    done = subprocess.run(asked, capture_output=True, text=True)
    # Without an index, pip does not even find what builds aelle; what does not fit together is said in other words.
    if "No matching distribution found for setuptools" in done.stderr:
        pytest.skip("there is no package index to ask")
    assert done.returncode == 0, done.stderr
    found = [one["metadata"] for one in json.loads((tmp_path / "report.json").read_text())["install"]]
    versions = {one["name"].lower().replace("_", "-"): one["version"] for one in found}
    assert {"hydra-joblib-launcher", "hydra-submitit-launcher", "tensorboard", "umap-learn", "optuna"} <= {*versions}
    if "hydra-ray-launcher" in versions:
        assert versions["cloudpickle"].startswith("2.") and versions["joblib"].startswith("1.5.")
