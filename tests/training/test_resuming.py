"""Every task's sweep, killed and resumed, ends in the same numbers bit for bit."""

import pytest
import torch

from aelle.runs.reader import read_run, read_status
from aelle.runs.writer import RunFolder
from run_files import on_replacing
from sweeps import KilledError, assert_equal, results

SWEEPS = {
    "charrnn_small": ["size=2", "hidden_size=4", "keep=0.05", "epochs=3", "lyapunov.sequences=2"],
    "target": ["size=2", "hidden_size=24", "epochs=3", "lyapunov.every_n_epochs=[0,1]", "lyapunov.k=4"],
}


@pytest.fixture(autouse=True)
def _one_thread():
    """Networks of four units only lose by a second one."""
    torch.set_num_threads(1)


@pytest.mark.parametrize("experiment", SWEEPS)
def test_a_resumed_run_equals_an_uninterrupted_one(main, tmp_path, monkeypatch, experiment):
    line = ["variants=0-1", f"experiment={experiment}", *SWEEPS[experiment]]
    assert main("train.py", *line, "outputs=whole")[0] == 0
    (whole,) = tmp_path.glob("whole/*/*/")

    def killed_after_the_second_checkpoint(path, times):
        if (path.name, times) == ("checkpoint.ckpt", 2):
            raise KilledError

    on_replacing(monkeypatch, after=killed_after_the_second_checkpoint)
    with pytest.raises(KilledError):
        main("train.py", *line, "outputs=resumed")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    (resumed,) = tmp_path.glob("resumed/*/*/")
    assert read_status(resumed)["state"] == "running" and not (resumed / "examples.parquet").exists()
    assert main("train.py", *line, "outputs=resumed")[0] == 0
    assert_equal(results(resumed), results(whole))

    # Killed between the last checkpoint and the end.
    expected = results(whole)
    (whole / "examples.parquet").unlink()
    RunFolder(whole, read_run(whole).config).write_status("running", epoch=3)
    assert main("train.py", *line, "outputs=whole")[0] == 0
    assert read_status(whole)["state"] == "complete"
    assert_equal(results(whole), expected)
