"""Commands to paste: what a shell and Hydra make of them is what was meant."""

import random
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from aelle.terminal import command, option, pasted

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
