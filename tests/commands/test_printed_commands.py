"""Commands that are printed, and those of a report, in a folder whose name needs every kind of quotes."""

import re
import shlex
import shutil
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from aelle.files import PREDICTOR_FILES
from aelle.sweep.pruning_model import MODEL_COPY, another_model, with_digest
from aelle.sweep.table import load_sweep
from sweeps import QUICK, ROOT, SMALL, report_of, results_of

NAME = 'it\'s, "mine" ${x}'


def options_of(text: str) -> list[dict[str, object]]:
    """The options of every command in a text, as Hydra reads them."""
    lines = re.findall(r"python (?:train|analyze)\.py .*", text.replace("…", "SWEEP"))
    read = [OverridesParser.create().parse_overrides(shlex.split(line)[2:]) for line in lines]
    return [{one.get_key_element(): one.value() for one in options} for options in read]


@pytest.fixture
def nasty(small_sweep, tmp_path) -> Path:
    folder = Path("runs") / NAME / "digits"
    shutil.copytree(small_sweep, tmp_path / folder, ignore=shutil.ignore_patterns("analysis*", "report*"))
    return folder


def plain(value: object) -> str:
    return str(value).replace("\\${", "${")


def test_the_status_and_the_analysis(nasty, main, aelle):
    _, out, _ = aelle("status", nasty)
    assert [plain(one["sweep"]) for one in options_of(out)] == [str(nasty)]
    threshold = float(np.median(load_sweep(nasty).final_loss))
    given = shlex.split(next(line for line in out.splitlines() if "analyze.py" in line))[-1]
    code, out, err = main("analyze.py", given, f"threshold={threshold}", "pictures=[]", *QUICK)
    assert code == 0, err
    *again, model = options_of(out)
    assert plain(model["model"]) == str(results_of(out) / "model") and model["sweep"] == "SWEEP"
    page = unescape("\n".join(re.findall(r"<code>(python.*?)</code>", report_of(out).read_text())))
    found = [*again, *options_of(page)]
    assert len(found) > 5 and all(plain(one["outputs"]) == str(nasty.parent) for one in found)
    assert all(str(one["sweep"]).startswith("digits-") or "sweep" not in one for one in found)


def test_the_end_of_a_training(main):
    small = [one for one in SMALL if not one.startswith(("size", "epochs"))]
    code, out, err = main("train.py", "experiment=digits", *small, "size=2", "epochs=1", 'outputs="my, runs"')
    assert code == 0, err
    (found,) = options_of(out)
    assert found == {"sweep": "my, runs/digits"} and Path("my, runs/digits").is_dir()


def test_the_copy_of_a_model_to_resume_with(tmp_path):
    folder = tmp_path / NAME
    (folder / MODEL_COPY).mkdir(parents=True)
    for name in PREDICTOR_FILES:
        (folder / MODEL_COPY / name).write_text(name)
    there = with_digest({"prediction": {"prune": 0.1, "model": str(folder / MODEL_COPY)}})
    said = another_model(folder, there, {"prediction": {"digest": "other", "model": "m"}})
    words = said.partition("resume with ")[2].rpartition(", or start")[0]
    (read,) = OverridesParser.create().parse_overrides(shlex.split(words))
    assert plain(read.value()) == str(folder / MODEL_COPY)


def test_no_command_is_put_together_by_hand():
    """How a program is started depends on how aelle is installed (`aelle.terminal.command`)."""
    by_hand = re.compile(r"python (train|analyze)\.py|python -m aelle")
    assert by_hand.search('f"next: python analyze.py sweep={folder}"')
    files = [*(ROOT / "aelle").rglob("*.py"), *(ROOT / "aelle").rglob("*.j2"), *(ROOT / "conf").rglob("*.yaml")]
    found = [path.name for path in files for line in path.read_text().splitlines() if by_hand.search(line)]
    assert sorted(found) == ["__main__.py", "__main__.py"]
