"""A pack that does not fit into memory is trained some variants at a time, and nothing is lost."""

import json

import numpy as np
import pytest
import torch

from aelle.lyapunov import chunks, ensemble
from aelle.sweep.table import load_sweep
from aelle.tasks import SequenceClassification
from sweeps import SMALL, rows, runs, weights


def fits(monkeypatch, at_once: int, from_epoch: int = 0, error: Exception | None = None) -> None:
    """As if there were memory for so many variants."""
    step = SequenceClassification.training_step

    def limited(self, batch, number):
        if len(self.variants) > at_once and self.current_epoch >= from_epoch:
            raise error or torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return step(self, batch, number)

    monkeypatch.setattr(SequenceClassification, "training_step", limited)


def test_halves_of_halves_give_what_the_whole_gives(small_sweep, monkeypatch, tmp_path, main):
    fits(monkeypatch, 2)
    code, out, err = main("train.py", "-m", "experiment=digits", *SMALL)
    assert code == 0, err
    assert "5 variants do not fit into memory together: training 2 at a time" in out
    assert "12 of 12 variants complete" in out
    halves, whole = load_sweep(tmp_path / "outputs" / "digits"), load_sweep(small_sweep)
    assert halves.problems == [] and halves.variants["variant"].tolist() == list(range(12))
    np.testing.assert_allclose(halves.losses, whole.losses, rtol=1e-4)


def test_one_variant_that_does_not_fit_has_failed(monkeypatch, tmp_path, main):
    fits(monkeypatch, 0)
    code, out, err = main("train.py", "-m", "experiment=digits", *SMALL, "pack=0")
    assert code == 1 and "training 2 at a time" in out and "training 1 at a time" in out
    assert "memory ran out (CUDA out of memory.): choose a smaller batch_size or hidden_size" in out
    assert "not complete" in err and "Traceback" not in (tmp_path / "outputs/digits/pack-0000/status.json").read_text()


@pytest.mark.parametrize("later", [1, 2])
def test_memory_that_runs_out_after_the_first_epoch_is_a_failure_that_can_be_gone_on_with(
    monkeypatch, tmp_path, main, later
):
    with monkeypatch.context() as patch:
        fits(patch, 2, from_epoch=later)
        code, out, _ = main("train.py", "-m", "experiment=digits", *SMALL, "pack=0")
        assert code == 1 and "run the same command again to resume" in out and "do not fit into memory" not in out
    code, _, err = main("train.py", "-m", "experiment=digits", *SMALL, "pack=0")
    assert np.isfinite(load_sweep(tmp_path / "outputs" / "digits").losses).all(), err


NO_MEMORY = "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to …"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError(NO_MEMORY)])
def test_memory_runs_out_on_a_cpu_as_well(monkeypatch, main, error):
    fits(monkeypatch, 2, error=error)
    code, out, err = main("train.py", "experiment=digits", *SMALL, "pack=0")
    assert code == 0 and "5 variants do not fit into memory together: training 2 at a time" in out, err


@pytest.fixture
def sizes(monkeypatch) -> list[int]:
    """Of the populations that are trained, after each epoch."""
    found, end = [], SequenceClassification.on_train_epoch_end

    def noted(self):
        found.append(len(self.variants))
        end(self)

    monkeypatch.setattr(SequenceClassification, "on_train_epoch_end", noted)
    return found


@pytest.fixture
def pieces(monkeypatch) -> list[int]:
    """Into how many each spectrum was cut."""
    counts = []

    def counted(*args, **options):
        found = chunks.chunks(*args, **options)
        counts.append(len(found.pieces))
        return found

    monkeypatch.setattr(ensemble, "chunks", counted)
    return counts


def test_a_cap_groups_variants_and_changes_nothing(small_sweep, tmp_path, main, sizes):
    code, out, err = main("train.py", "-m", "experiment=digits", *SMALL, "trainer.memory=1.2MB")
    assert code == 0, err
    assert "variants need about 2.5 MB of memory together, and 1.2 MB are available: training 2 at a time" in out
    assert set(sizes) == {2, 1} and "12 of 12 variants complete" in out
    sweep = tmp_path / "outputs" / "digits"
    capped, whole = load_sweep(sweep), load_sweep(small_sweep)
    assert capped.problems == [] and capped.variants["variant"].tolist() == list(range(12))
    np.testing.assert_allclose(capped.losses, whole.losses, rtol=1e-6)
    np.testing.assert_allclose(capped.spectra[:, 0], whole.spectra[:, 0], rtol=0, atol=2e-7)
    # A spectrum amplifies the last digits of weights in single precision.
    np.testing.assert_allclose(capped.spectra, whole.spectra, rtol=0, atol=1e-3)
    assert {run.status["fingerprint"] for run in runs(sweep)} == {runs(small_sweep)[0].status["fingerprint"]}


def test_a_smaller_cap_cuts_spectra_and_evaluations_too(tmp_path, main, monkeypatch, sizes, pieces):
    torch.set_num_threads(1)
    evaluated, own = [], SequenceClassification.rows.fget
    rows_noted = property(lambda self: evaluated.append(own(self)) or evaluated[-1])
    monkeypatch.setattr(SequenceClassification, "rows", rows_noted)
    options = ["experiment=digits", *SMALL, "pack=2", "lyapunov.sequences=100"]
    assert main("train.py", *options, "sweep=whole")[0] == 0
    assert set(sizes) == {2} and set(pieces) == {1}
    most = max(evaluated)
    for found in (sizes, pieces, evaluated):
        found.clear()
    code, out, err = main("train.py", *options, "sweep=capped", "trainer.memory=600KB")
    assert code == 0 and "training 1 at a time" in out, err
    assert set(sizes) == {1} and min(pieces) > 1 and max(evaluated) < most
    whole, capped = rows(tmp_path / "outputs" / "whole"), rows(tmp_path / "outputs" / "capped")
    assert whole.keys() == capped.keys()
    for at, row in capped.items():
        assert row["val_loss"] == pytest.approx(whole[at]["val_loss"], rel=1e-6)
        np.testing.assert_allclose(row["spectrum"], whole[at]["spectrum"], rtol=0, atol=1e-3 if at[1] else 2e-7)


def test_weights_of_groups_are_those_of_the_whole(small_sweep, tmp_path, main):
    assert main("train.py", "experiment=digits", *SMALL, "pack=2", "trainer.memory=0.6MB")[0] == 0
    groups, (whole,) = weights(tmp_path / "outputs" / "digits"), weights(small_sweep, "pack-0002")
    assert len(groups) == 2
    for name, tensor in whole.items():
        if tensor.ndim > 1:
            torch.testing.assert_close(torch.cat([one[name] for one in groups]), tensor, rtol=1e-6, atol=1e-7)


def test_what_does_not_fit_at_all_fails_in_one_line_and_the_others_go_on(tmp_path, main):
    options = [*SMALL, "hidden_size=[8,64]", "size=4", "trainer.memory=2MB"]
    code, out, err = main("train.py", "-m", "experiment=digits", *options)
    assert code == 1 and "one network needs about" in out and "2.0 MB are available on cpu" in out, out
    assert "2 of 4 variants complete" in out and "2 variants not complete" in err
    failed = next(run for run in runs(tmp_path / "outputs" / "digits") if run.status["state"] == "failed")
    assert "\n" not in failed.status["error"] and "trainer.memory=" in failed.status["error"]
    code, out, err = main("train.py", "-m", "experiment=digits", *options[:-1])
    assert code == 0 and "4 of 4 variants complete" in out, err


def test_a_run_that_was_stopped_with_more_variants_than_fit_is_resumed_where_they_do(monkeypatch, tmp_path, main):
    with monkeypatch.context() as patch:
        fits(patch, 2, from_epoch=1)
        assert main("train.py", "experiment=digits", *SMALL, "pack=0")[0] == 1
    code, out, _ = main("train.py", "experiment=digits", *SMALL, "pack=0", "trainer.memory=1MB")
    assert code == 1 and "was stopped with 5 variants together, which need about 2.5 MB" in out
    status = json.loads((tmp_path / "outputs/digits/pack-0000/status.json").read_text())
    assert status["state"] == "failed" and status["epoch"] == 1
    code, out, err = main("train.py", "experiment=digits", *SMALL, "pack=0", "trainer.memory=1GB")
    assert code == 0 and np.isfinite(load_sweep(tmp_path / "outputs" / "digits").losses[:5]).all(), err


@pytest.mark.parametrize("size", ["4", "0GB", "-1GB", "lots", "[1GB]", "true", "4 gb"])
def test_a_cap_of_another_form_is_refused_in_one_line(main, size):
    code, _, err = main("train.py", "-m", "experiment=digits", *SMALL, f"trainer.memory={size}")
    assert code == 2 and "give a size above 0 with its unit, e.g. 4GB or 512MiB, or null for what is free" in err
    assert err.strip().count("\n") == 0
