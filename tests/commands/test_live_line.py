"""What a person sees of a sweep in a terminal: a line per pack, and below them, until the end, one live line."""

import math
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from aelle.predictor.early_predictor import EarlyPredictor
from aelle.sweep.live_status import LiveStatus
from aelle.sweep.plan import Plan
from aelle.sweep.table import load_sweep
from screens import Watched
from sweeps import ROOT, SMALL, rows, runs, unfinish

PARTS = (
    r"( · before training| · epoch \d of 3(, \d+ %)?| · epochs \d( and \d)? of 3)?( · (under )?\d.* left)?"
    r"( · \d+ of \d+ above 50 %, best \d+ %)?( · \d+ stopped)?( · \d+ of 12 variants)"
)


def is_live(line: str) -> bool:
    return " · " in line or line.startswith("reading ") or line.endswith(" …")


@pytest.fixture(scope="module")
def model(small_sweep, tmp_path_factory) -> Path:
    """A model of the small sweep's own variants."""
    table, folder = load_sweep(small_sweep), tmp_path_factory.mktemp("model")
    EarlyPredictor(float(np.median(table.final_loss)), aelle={"epochs": 40}).fit(table).save(folder)
    return folder


@pytest.mark.long
@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]])
def test_a_sweep_shows_one_live_line_and_leaves_none(tmp_path, small_sweep, model, launcher):
    line = [str(ROOT / "train.py"), "-m", "experiment=digits", *SMALL, f"prediction.model={model}", *launcher]
    watched = Watched(*line, cwd=tmp_path, columns=120)
    assert watched.to_the_end() == 0
    shown = watched.ungarbled(is_live)
    for seen in shown:
        assert re.fullmatch((r"\d of 3 packs" if launcher else r"pack \d of 3") + PARTS, seen), seen
    assert any("above 50 %, best" in seen for seen in shown) and any(" left" in seen for seen in shown), shown
    # The line is drawn again once a second: which pack was the first to be seen complete is not certain. Two workers
    # may end within that second; what the line then says is tested on folders, below.
    assert launcher or any(re.search(r"\b(2|5|7|10) of 12 variants", seen) for seen in shown), shown
    printed = "\n".join(watched.lines)
    for pack in (1, 2, 3):
        assert printed.count(f"pack {pack} of 3: {2 if pack == 3 else 5} variants in") == 1
        assert printed.count(f"pack {pack} of 3: after epoch 2 of 3\n") == 1
    assert printed.endswith("\nnext: python analyze.py sweep=outputs/digits")
    plain = rows(small_sweep)
    trained = {at: {name: row[name] for name in plain[at]} for at, row in rows(tmp_path / "outputs" / "digits").items()}
    assert trained == plain

    analysed = Watched(str(ROOT / "analyze.py"), "sweep=outputs/digits", "splits=2", "aelle.epochs=4", cwd=tmp_path)
    assert analysed.to_the_end() == 0
    assert analysed.ungarbled(is_live) != []
    assert any(line.startswith("report: ") for line in analysed.lines)


@pytest.mark.long
@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]])
def test_an_interrupted_sweep_leaves_a_clean_terminal(tmp_path, launcher):
    line = [str(ROOT / "train.py"), "-m", "experiment=digits", *SMALL, "epochs=300", *launcher]
    watched = Watched(*line, cwd=tmp_path, columns=40)
    watched.until(lambda now: re.search(r"epochs? [1-9]", " ".join(now.lines)) is not None)
    # Where it is as long as it gets, and ^C is echoed behind it.
    watched.until(lambda now: now.lines[-1].endswith("…"))
    watched.press(b"\x03")
    assert watched.to_the_end() == 128 + signal.SIGINT
    assert watched.lines[-1].strip() != "" and "interrupted: finished work is saved; run" in " ".join(watched.lines)
    assert not any(map(is_live, watched.lines)) and not watched.screen.cursor.hidden, watched.lines
    lines = [seen[-1].removesuffix("^C") for seen in watched.seen if seen]
    assert max(len(line) for line in lines if is_live(line)) == 40 - 3


def test_the_folder_says_how_far_the_workers_are(small_sweep, sweep):
    def reach(pack: str, epoch: int) -> None:
        shutil.copytree(small_sweep / pack, sweep / pack, dirs_exist_ok=True)
        unfinish(sweep, pack, "running", epoch)

    def line() -> str:
        status.looked = -math.inf
        return status.line()

    plan = Plan(runs(sweep)[0].config, sweep)
    assert LiveStatus(plan).line() == "3 of 3 packs · 12 of 12 variants"
    reach("pack-0000", 1)
    reach("pack-0001", 0)
    status = LiveStatus(plan)
    # What was killed before this sweep was started is not in training.
    assert line() == line() == "1 of 3 packs · 2 of 12 variants"
    reach("pack-0001", 0)
    assert line() == "1 of 3 packs · epoch 0 of 3 · 2 of 12 variants"
    status.since -= 100
    reach("pack-0000", 2)
    reach("pack-0001", 1)
    # Ten variants have trained an epoch each; five need one more, and five need two.
    assert re.fullmatch(r"1 of 3 packs · epochs 1 and 2 of 3 · 2 min 3\d s left · 2 of 12 variants", line())
    (sweep / "pack-0000" / "status.json").write_text("not a status")
    (sweep / "pack-0001" / "epochs.parquet").unlink()
    os.utime(sweep / "pack-0001" / "status.json")
    assert line() == "1 of 3 packs · 2 of 12 variants"
    shutil.copytree(small_sweep / "pack-0000", sweep / "pack-0000", dirs_exist_ok=True)
    assert line().startswith("2 of 3 packs · ") and line().endswith(" · 7 of 12 variants")
