"""What `python -m aelle status` prints of a sweep."""

import shutil

import pandas as pd
import pytest

from aelle.commands.status_text import status_lines
from aelle.sweep.status import sweep_status
from sweeps import unfinish


def test_a_damaged_run_and_a_damaged_plan_are_named(sweep, aelle):
    (sweep / "pack-0001" / "epochs.parquet").write_bytes(b"")
    code, out, err = aelle("status", sweep)
    assert code == 0 and "1 missing" in out and "damaged   pack-0001 is left out: epochs.parquet" in out
    (sweep / "sweep.json").write_text("{}")
    code, out, err = aelle("status", sweep)
    assert code == 0 and "sweep.json is damaged" in " ".join(out.split()) and err == ""
    (sweep / "sweep.json").unlink()
    assert "12 variants in 2 packs" in aelle("status", sweep)[1]


def test_a_sweep_that_has_just_begun_is_all_missing(sweep, tmp_path, aelle):
    begun = tmp_path / "begun"
    begun.mkdir()
    shutil.copy(sweep / "sweep.json", begun)
    code, out, _ = aelle("status", begun)
    assert code == 0 and "0 failed, 3 missing" in out and "12 not started" in out
    assert "known after the first epoch" in out


@pytest.mark.parametrize("word", ["status", "collect"])
def test_a_folder_without_a_sweep_is_one_line(word, aelle, tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        code, out, err = aelle(word, folder)
        assert code == 2 and out == "" and err.startswith("error: ") and err.count("\n") == 1


def test_what_is_printed_fits_80_columns_and_cannot_steer_the_terminal(sweep, aelle):
    name = "pack-0002"
    unfinish(sweep, name, "failed", 1, "Error: \x1b[2J\x1b]0;title\x07 " + "long " * 40)
    _, out, _ = aelle("status", sweep)
    assert "\x1b" not in out and "\x07" not in out and "\\x1b[2J" in out
    error = out.index("first error")
    assert max(map(len, out[:error].replace(str(sweep), "outputs/digits").splitlines())) <= 80


def test_runs_put_together_by_hand_are_packs_of_their_own(tmp_path, aelle, main):
    line = ["-m", "task=digits", "hidden_size=4,6", "epochs=1", "lyapunov.sequences=2"]
    assert main("train.py", *line)[0] == 0
    sweep = tmp_path / "outputs" / "digits-runs"
    text = "\n".join(status_lines(sweep_status(sweep)))
    assert "2 variants in 2 packs" in text and "2 complete" in text and "hidden_size=4" in text
    assert aelle("collect", sweep)[0] == 0
    rows = pd.read_parquet(sweep / "collected.parquet")
    assert sorted(rows["hidden_size"]) == [4, 4, 6, 6] and sorted(map(len, rows["spectrum"])) == [4, 4, 6, 6]
