"""Lines, and one live line below them, as a terminal shows them. Commands to paste: what a shell and Hydra make of them
is what was meant."""

import os
import random
import shlex
import subprocess
import sys

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from aelle.terminal import command, option, pasted
from screens import Watched
from sweeps import ROOT

NASTY = [
    *("a b", "a,b", "it's", 'say "x"', 'it\'s, "x"', "a=b", "[x]", "{a: b}", "choice(a,b)", "glob(*)", " a ", ""),
    *(
        "a\\b",
        "a\\",
        'a\\"b',
        "\\",
        "${x}",
        "\\${x}",
        "\\\\${oc.env:HOME}",
        "$x",
        "$(rm y)",
        "a;b",
        "a|b",
        "a#b",
        "`x`",
    ),
    *("123", "1e5", ".5", "1_0", "null", "True", "NAN", "inf", "-inf", "-x", "~/x", "@x", "é/ü", "…", "a\tb", "a\nb"),
    *("\\\n", ".", "..", "...", "./a", "../a", "/tmp/a b/it's"),
]


def read_back(line: str) -> list:
    """The values of a pasted command's options."""
    words = shlex.split(line)
    parsed = OverridesParser.create().parse_overrides([word for word in words if "=" in word])
    return [OmegaConf.to_container(OmegaConf.create({"value": one.value()}), resolve=True)["value"] for one in parsed]


@pytest.mark.parametrize("text", NASTY)
def test_any_text_is_read_back(text):
    assert read_back(command("analyze", option("sweep", text))) == [text]
    assert read_back(command("train", option("sweep", text), option("cell", [text, "lstm"]))) == [
        text,
        [text, "lstm"],
    ]
    assert len(shlex.split(command("train", option("sweep", text)))) == 3


def test_random_text_is_read_back():
    rng = random.Random(0)
    for _ in range(2000):
        text = "".join(rng.choice("ab\\\"'${} ,=[]:.1-\n~é()#|") for _ in range(rng.randint(0, 9)))
        assert read_back(pasted(option("sweep", text))) == [text]


@pytest.mark.parametrize("value", [None, True, False, 3, -1, 0.1, 1e-05, float("inf"), [1, 2], [None, "null"], []])
def test_other_values_are_read_back(value):
    (found,) = read_back(command("train", option("p", value)))
    assert found == value and type(found) is type(value)


def test_plain_words_stay_plain():
    assert command("analyze", option("sweep", "outputs/digits-2")) == "python analyze.py sweep=outputs/digits-2"
    assert option("outputs", "/tmp/runs") == "outputs=/tmp/runs" and option("variants", [3, 5]) == "variants=[3,5]"


SHOWING = """
import multiprocessing, sys, time, warnings
from aelle.terminal import announced, complain, counted, live, say

def work(number):
    for step in range(20):
        say(f"worker {number}, line {step}, " + 100 * str(number))
        time.sleep(0.02)

if __name__ == "__main__":
    for item in counted(range(3), "reading"):
        time.sleep(0.4)
    with announced("thinking"):
        time.sleep(0.4)
    steps = [0]
    with live(lambda: f"live {steps[0]} \\x1b[2J 中文 " + 300 * "x"):
        workers = [multiprocessing.get_context("spawn").Process(target=work, args=(n,)) for n in range(2)]
        for worker in workers:
            worker.start()
        for steps[0] in range(40):
            say(f"line {steps[0]}", "\\x1b[2J " + 90 * "y")
            time.sleep(0.05)
        warnings.warn("somebody else's")
        complain("careful")
        for worker in workers:
            worker.join()
    if sys.argv[1:]:
        with live(lambda: "live until the end"):
            time.sleep(0.5)
            raise RuntimeError("no luck")
"""


@pytest.fixture
def showing(tmp_path, monkeypatch):
    """A script with live lines, of its own and over the lines of workers, which are printed whatever happens."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "showing.py").write_text(SHOWING.replace("\\\\", "\\"))
    return str(tmp_path / "showing.py")


@pytest.mark.parametrize(("columns", "words"), [(80, []), (20, ["fail"])])
def test_a_live_line_stays_below_what_is_printed_and_leaves_nothing(tmp_path, showing, columns, words):
    watched = Watched(showing, *words, cwd=tmp_path, columns=columns, NO_COLOR="1")
    assert watched.to_the_end(60) == len(words)
    starts = ("live ", "reading: ", "thinking …")
    shown = watched.ungarbled(lambda line: line.startswith(starts))
    for start in (*starts, *(["live until"] if words else [])):
        assert any(line.startswith(start) for line in shown), shown
    # It is cut, not wrapped, and what it is made of controls nothing.
    assert any(line.endswith("…") and "\\x1b" in line for line in shown) and max(map(len, shown)) <= columns
    text = "".join(watched.lines)
    assert all(text.count(f"worker {n}, line {step}, {100 * str(n)}") == 1 for n in range(2) for step in range(20))
    assert text.count(90 * "y") == 40 and "careful" in text and ("no luck" in text) == bool(words)
    assert "somebodyelse's" in text.replace(" ", "")


@pytest.mark.parametrize("where", ["dumb terminal", "pipe"])
def test_elsewhere_lines_are_plain(tmp_path, showing, where):
    colourful = {"FORCE_COLOR": "1", "CI": "true"}
    if where == "pipe":
        words = [sys.executable, showing]
        environment = {**os.environ, "TERM": "xterm", **colourful}
        done = subprocess.run(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        written = done.stdout
    else:
        watched = Watched(showing, cwd=tmp_path, TERM="dumb", **colourful)
        assert watched.to_the_end(60) == 0
        written = watched.written.replace(b"\r\n", b"\n")
    assert b"\x1b" not in written and b"\r" not in written and b"live" not in written and b"thinking" not in written
    assert written.count(b"line 39\n\\x1b[2J yyy") == 1 and written.count(b"worker 1") == 20
