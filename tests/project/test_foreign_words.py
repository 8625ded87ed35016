"""Names, values and errors of a foreign sweep or array file cannot steer a terminal, forge a line of aelle's, or reach
a spreadsheet as a formula."""

import ast
import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml

from aelle.errors import printable
from aelle.runs.writer import RunFolder
from aelle.spreadsheets import write_csv
from aelle.terminal import complain, option, say
from aelle.variants import Variant
from run_files import CONFIG
from sweeps import ROOT, SMALL, command

FORGED = "$\\bad$ \x1b[2J\x1b]0;title\x07\x9b\rerror: nothing\nerror: nothing is wrong\u2028error: nothing\u202e\u200b"
NAME = f"=name{FORGED}"
WORDS = [f"{start}word {FORGED}" for start in ("=", "+", "-", "@", "\t", "\r")]
ERROR = f"Traceback\nerror: nothing is wrong\n{FORGED}"


def assert_plain(text: str) -> None:
    """Newlines are the only control characters, and no line was forged."""
    assert all(line.isprintable() for line in text.split("\n")), text
    assert not re.search(r"^error: nothing", text, re.MULTILINE), text


def assert_no_formulas(folder: Path) -> int:
    """In the CSV files of a folder, of which there are so many."""
    files = list(folder.rglob("*.csv"))
    for path in files:
        with path.open(newline="", encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        for cell in cells:
            assert not re.match(r"[=+@\t\r−]|-(?![\d.])", cell), (path, cell)
            assert all(line.isprintable() for line in cell.split("\n")), (path, cell)
    return len(files)


@pytest.fixture
def hostile(tmp_path) -> Path:
    """A sweep of 40 variants whose spectra tell their losses, and of runs that failed, or cannot be read."""
    rng, sweep = np.random.default_rng(0), tmp_path / f"s{FORGED.replace('/', '')}"
    config = {
        **{**CONFIG, "hyperparameters": ["p", NAME], NAME: "x", "size": 60, "epochs": 2, "outputs": "o", "sweep": "s"},
        "task": {**CONFIG["task"], "name": f"task{FORGED}"},
    }
    for at, name in enumerate([f"=run{FORGED}", f"-failed{FORGED}"]):
        numbers = range(40) if at == 0 else range(40, 44)
        variants = [Variant(n, {"p": rng.uniform(), NAME: WORDS[n % 6]}, {"init": n, "shuffle": n}) for n in numbers]
        run = RunFolder(sweep / name, config)
        sweep.mkdir(exist_ok=True)
        run.begin(variants)
        losses = [0.01 + v.hyperparameters["p"] for v in variants]
        rows = [(v.number, e, loss) for e in range(3) for v, loss in zip(variants, losses, strict=True)]
        columns = dict(zip(("variant", "epoch", "val_loss"), map(list, zip(*rows, strict=True)), strict=True))
        spectra = [[-loss, -2 * loss, -3 * loss - 0.1 * rng.uniform()] for loss in columns["val_loss"]]
        run.write_epochs(pa.table({**columns, "spectrum": spectra}))
        if at == 0:
            run.write_variants(variants, ["diverged" if v.number == 7 else "complete" for v in variants], ERROR)
            run.write_status("complete", epoch=2)
        else:
            run.write_status("running", epoch=2)
            run.write_failure(variants, ERROR)
    for name in (b"damaged\xff".decode(errors="surrogateescape"), f"damaged{FORGED}"):
        (sweep / name).mkdir()
        (sweep / name / "status.json").write_text("{}")
    (sweep / "sweep.json").write_text("{}")
    options = ["experiment=digits", f"sweep='{FORGED}'"]
    (sweep / "multirun.yaml").write_text(yaml.safe_dump({"hydra": {"overrides": {"task": options}}}))
    return sweep


def test_a_hostile_sweep(hostile, main, aelle, tmp_path):
    for words, expected in ((("status", hostile), 0), (("collect", hostile), 1)):
        code, out, err = aelle(*words)
        assert code == expected and "damaged\\udcff is left out" in out + err
        assert_plain(out + err)
    sweep = option("sweep", hostile)
    for last in (option("generalise", NAME), option("model", hostile / "model")):
        code, out, err = main("analyze.py", sweep, "splits=2", last)
        assert code == 0 and "chance" in out and err == "", err
        assert_plain(out)
    # With its figures, and the warnings of other libraries.
    done = command("analyze.py", sweep, "splits=2", "details=true", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert_plain(done.stdout)
    assert assert_no_formulas(hostile) >= 7


def test_a_hostile_array_file(tmp_path, main):
    rng = np.random.default_rng(0)
    losses = np.repeat(rng.uniform(0.1, 1, (40, 1)), 3, 1)
    arrays = {NAME: np.array([WORDS[v % 6] for v in range(40)]), f"{FORGED}2": np.zeros(3), "-p": losses[:, 0]}
    path = tmp_path / f"{FORGED}.npz"
    np.savez(path, val_loss=losses, spectrum=-losses[..., None] * np.arange(1, 4), **arrays)
    code, out, err = main("analyze.py", option("sweep", path), "threshold=0.5", "splits=2", "aelle.epochs=2")
    assert code == 0 and "warning: " in out, err
    assert_plain(out + err)
    assert assert_no_formulas(tmp_path) >= 5
    np.savez(path, val_loss=losses, **arrays)
    code, out, err = main("analyze.py", option("sweep", path), "threshold=0.5")
    assert code == 2 and err.count("\n") == 1
    assert_plain(out + err)


def test_a_training_beside_hostile_runs(hostile, main, tmp_path):
    target = tmp_path / "outputs" / "digits"
    hostile.rename(tmp_path / "hostile")
    target.mkdir(parents=True)
    for folder in (tmp_path / "hostile").iterdir():
        if folder.is_dir() and "damaged" not in folder.name:
            folder.rename(target / folder.name)
    line = ["-m", "experiment=digits", *SMALL, "size=1", "epochs=1", "logger=csv", "lyapunov.sequences=2"]
    code, out, err = main("train.py", *line)
    assert code == 1 and "-failed" in err and "1 of 1 variants complete" in out
    assert_plain(out + err)
    assert assert_no_formulas(target) == 1


def test_a_word_stays_in_its_line_and_what_people_write_stays_as_it_is(capsys):
    plain = "é → ü 漢字 🙂 −0.5 “quoted”"
    assert printable(plain) == plain and printable(printable(FORGED)) == printable(FORGED)
    say(f"name {FORGED}", plain)
    complain(FORGED)
    out, err = capsys.readouterr()
    assert out.count("\n") == 2 and err.count("\n") == 1 and out.endswith(f"{plain}\n")
    assert_plain(out + err)


def test_cells_that_would_be_formulas_are_text_and_numbers_are_not_touched(tmp_path):
    table = pd.DataFrame(
        {"=a": WORDS, "n": [-1.5, 2, 3, 4, 5, 6], "seed": ["-7"] * 6, "+": [None, "x", 3, " =1", "−", "é"]}
    )
    write_csv(tmp_path / "t.csv", table)
    with (tmp_path / "t.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["'=a", "n", "seed", "'+"]
    assert [row[1] for row in rows] == ["-1.5", "2.0", "3.0", "4.0", "5.0", "6.0"]
    assert {row[2] for row in rows} == {"-7"} and [row[3] for row in rows] == ["", "x", "3", "' =1", "'−", "é"]
    assert_no_formulas(tmp_path)


def test_every_print_and_every_csv_file_goes_the_same_way():
    """A word that is printed elsewhere would reach the terminal as it is."""
    found = []
    for path in (*sorted((ROOT / "aelle").rglob("*.py")), ROOT / "train.py", ROOT / "analyze.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if name in ("print", "print_exc", "to_csv"):
                    found.append((path.stem, name))
    assert set(found) == {("terminal", "print"), ("spreadsheets", "to_csv")}
