"""The commands that train variants of a sweep again, run."""

import os
import shlex
import shutil

import numpy as np
import pytest

from aelle.sweep.retraining import RECORD, retraining
from aelle.sweep.table import load_sweep


def started(main, command: str | None) -> str:
    """Run a command as it stands in the report; what it printed."""
    assert command is not None
    python, script, *options = shlex.split(command)
    assert (python, script) == ("python", "train.py")
    code, out, err = main(script, *options)
    assert code == 0, err
    return out


def test_the_missing_ones_of_the_variants_are_trained_into_the_sweep(small_sweep, sweep, main):
    shutil.rmtree(sweep / "pack-0002")
    before = {path: path.read_bytes() for path in sweep.glob("pack-*/*")}
    found = retraining(sweep, load_sweep(sweep))
    assert found is not None
    command = found.to_the_end([10, 3])
    assert command is not None and command.endswith("'variants=[3,10]'") and "experiment=digits" in command
    started(main, command)
    now = load_sweep(sweep)
    assert list(now.variants["variant"]) == list(range(11)) and now.variants["complete"].all() and not now.problems
    assert {path: path.read_bytes() for path in before} == before
    np.testing.assert_allclose(now.losses[10], load_sweep(small_sweep).losses[10], rtol=1e-3)


@pytest.mark.parametrize("moved", [True, False])
def test_a_complete_variant_is_trained_again_in_a_sweep_of_its_own(small_sweep, sweep, main, moved):
    if not moved:
        os.chdir(small_sweep.parent.parent)
    folder = sweep if moved else small_sweep.relative_to(small_sweep.parent.parent)
    found = retraining(folder, load_sweep(folder))
    assert found is not None
    command = found.again([4], "variant-4")
    assert command is not None and ("outputs=" in command) == moved
    assert "1 of 12 variants complete" in started(main, command)
    again = load_sweep(folder.with_name("digits-variant-4"))
    assert list(again.variants["variant"]) == [4]
    np.testing.assert_allclose(again.losses[0], load_sweep(small_sweep).losses[4], rtol=1e-3)
    shutil.rmtree(folder.with_name("digits-variant-4"))


def test_a_run_of_single_values_is_trained_again_with_its_own(tmp_path, main):
    small = ("hidden_size=8", "epochs=1", "lyapunov.sequences=2", "pack_size=4")
    code, _, err = main("train.py", "-m", "task=digits", *small, "p=2.0,2.5", "seed=3,4", "cell=gru")
    assert code == 0, err
    folder = tmp_path / "outputs" / "digits-runs"
    sweep = load_sweep(folder)
    found = retraining(folder, sweep)
    assert found is not None and found.to_the_end([0]) is None and found.again([0, 1], "again") is None
    for variant in (1, 2):
        started(main, found.again([variant], f"variant-{variant}"))
        again = load_sweep(folder.with_name(f"digits-runs-variant-{variant}"))
        assert again.variants["p"].tolist() == [sweep.variants["p"][variant]]
        np.testing.assert_allclose(again.losses[0], sweep.losses[variant], rtol=1e-3)


@pytest.mark.parametrize(
    "text", [None, "{", "[" * 20_000, "hydra: {overrides: {task: [[1]]}}", "a: &a [1]\nhydra: {overrides: {task: *a}}"]
)
def test_without_a_record_of_the_start_there_is_no_command(sweep, text):
    (sweep / RECORD).unlink() if text is None else (sweep / RECORD).write_text(text)
    found = retraining(sweep, load_sweep(sweep))
    assert found is not None and found.to_the_end([1]) is None and found.again([1], "again") is None


def test_what_a_record_says_is_quoted_for_the_shell(sweep):
    (sweep / RECORD).write_text("hydra: {overrides: {task: ['p=1; rm x', 'hydra/launcher=joblib', 'variants=0-7']}}")
    found = retraining(sweep, load_sweep(sweep))
    assert found is not None
    command = found.again([1], "$(rm y)")
    assert command is not None and "'p=1; rm x'" in command and "launcher" not in command and "0-7" not in command
    assert shlex.split(command)[-1] == "variants=1" and "'sweep=\"digits-$(rm y)\"'" in command
