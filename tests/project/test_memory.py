"""A pack that does not fit into memory is trained in halves, and nothing is lost."""

import numpy as np
import pytest
import torch

from aelle.sweep.table import load_sweep
from aelle.tasks import SequenceClassification
from sweeps import SMALL


def fits(monkeypatch, at_once: int, from_epoch: int = 0) -> None:
    """As if there were memory for so many variants."""
    step = SequenceClassification.training_step

    def limited(self, batch, number):
        if len(self.variants) > at_once and self.current_epoch >= from_epoch:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
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
    assert "failed with OutOfMemoryError" in out and "not complete" in err


@pytest.mark.parametrize("later", [1, 2])
def test_memory_that_runs_out_after_the_first_epoch_is_a_failure_that_can_be_gone_on_with(
    monkeypatch, tmp_path, main, later
):
    with monkeypatch.context() as patch:
        fits(patch, 2, from_epoch=later)
        code, out, _ = main("train.py", "-m", "experiment=digits", *SMALL, "pack=0")
        assert code == 1 and "failed with OutOfMemoryError" in out and "do not fit into memory" not in out
    code, _, err = main("train.py", "-m", "experiment=digits", *SMALL, "pack=0")
    assert np.isfinite(load_sweep(tmp_path / "outputs" / "digits").losses).all(), err
