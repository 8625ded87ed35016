"""Nothing that is read can run code, leave its folder, tell a secret, or come out as markup."""

import json
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from omegaconf import OmegaConf

from aelle import __main__
from aelle.runs.reader import DamagedRunError, read_run
from aelle.runs.writer import RunFolder
from aelle.sweep.plan import Plan
from aelle.sweep.table import load_sweep
from browsers import BROWSER, opened
from sweeps import QUICK, report_of, write_arrays

HOSTILE = "<script>document.title='taken'</script><b>bold</b><a href=\"javascript:alert(1)\">link</a>&lt;"


def restore(sweep, change) -> None:
    """Store every run anew, as another program could, under a configuration that has been changed."""
    for path in sorted(sweep.glob("pack-*")):
        run = read_run(path)
        config = json.loads(json.dumps(run.config))
        change(config)
        folder = RunFolder(path, config)
        folder.begin([Plan(run.config, sweep).variant(n) for n in run.numbers])
        folder.write_epochs(run.epochs)
        folder.write_variants(
            [Plan(run.config, sweep).variant(n) for n in run.numbers], ["complete"] * len(run.numbers)
        )
        folder.write_status("complete", epoch=3)
    (sweep / "sweep.json").unlink()


def test_a_stored_configuration_imports_nothing_and_tells_no_secret(sweep, tmp_path, main, monkeypatch, capsys):
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\nclass Trap: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SECRET", "swordfish")

    def change(config):
        for part in ("module", "data"):
            config["task"][part]["_target_"] = "trap.Trap"
        config["task"]["name"] = "${oc.env:SECRET}"
        config["logger"] = {"_target_": "trap.Trap"}

    restore(sweep, change)
    assert load_sweep(sweep).task == "${oc.env:SECRET}"
    code, out, err = main("analyze.py", f"sweep={sweep}", "threshold=2.0", *QUICK)
    assert code == 0, err
    for word, *options in (["status"], ["collect"], ["send", "logger=csv"]):
        monkeypatch.setattr(sys, "argv", ["__main__.py", word, str(sweep), *options])
        __main__.main()
    said = out + err + capsys.readouterr().out
    written = b"".join(file.read_bytes() for file in sweep.rglob("*") if file.is_file())
    assert "swordfish" not in said and b"swordfish" not in written
    assert "trap" not in sys.modules and not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.mkdir [sprung]",
        "a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]",
        "[" * 20_000,
        "task: ${oc.env:SECRET",
    ],
)
def test_yaml_that_does_more_than_hold_values_is_refused(sweep, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (sweep / "pack-0000" / "config.yaml").write_text(text)
    with pytest.raises(DamagedRunError, match=r"config\.yaml"):
        read_run(sweep / "pack-0000")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["../elsewhere", "a/../../elsewhere", "/tmp/elsewhere", "..", ".", "", "digits/.."])
@pytest.mark.parametrize("start", [["-m"], []], ids=["sweep", "single"])
def test_a_sweeps_name_cannot_leave_its_folder(tmp_path, main, monkeypatch, name, start):
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    code, _, err = main("train.py", *start, "experiment=digits", f"sweep='{name}'")
    assert code == 2 and err.count("\n") == 1 and "give the name of a folder below outputs" in err
    assert list(tmp_path.rglob("*")) == [below]


def test_overrides_cannot_name_a_folder_elsewhere(tmp_path, main):
    code, _, err = main(
        "train.py",
        "task=digits",
        "hidden_size=4",
        "epochs=1",
        "lyapunov.sequences=2",
        "sweep=digits-runs",
        "task.name=../../../elsewhere",
    )
    assert code == 0, err
    (run,) = (tmp_path / "outputs" / "digits-runs").glob("*/status.json")
    assert run.resolve().is_relative_to(tmp_path / "outputs" / "digits-runs")
    assert not list(tmp_path.parent.glob("elsewhere*"))


def test_run_names_come_from_folders_and_not_from_tables(sweep):
    def change(config):
        config["hyperparameters"] = ["run"]
        config["run"] = "../../elsewhere"

    restore(sweep, change)
    run = sweep / "pack-0000"
    config = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"))
    RunFolder(run, config).write_status("running", epoch=0)
    with pytest.raises(DamagedRunError, match="a hyperparameter is called run"):
        read_run(run)


class Page(HTMLParser):
    """The tags of a page, its text, and what its scripts hold."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        (self.scripts if self.tags[-1:] == ["script"] else self.words).append(data)


def strings(value) -> list[str]:
    if isinstance(value, dict):
        return [s for pair in value.items() for part in pair for s in strings(part)]
    if isinstance(value, list):
        return [s for part in value for s in strings(part)]
    return [value] if isinstance(value, str) else []


def drawn(script: str) -> list[str]:
    """Every string in the figures of a script: the data and the layout of each call of Plotly, and the texts that
    figures share."""
    decoder, found = json.JSONDecoder(), []
    for shared in script.split("TEXTS = ")[1:]:
        found += strings(decoder.raw_decode(shared)[0])
    for call in script.split("Plotly.newPlot(")[1:]:
        data = call.index("[{")
        values, end = decoder.raw_decode(call[data:])
        layout, _ = decoder.raw_decode(call[data + end :].lstrip(", \n"))
        found += strings(values) + strings(layout)
    return found


def test_markup_comes_out_of_the_report_as_it_stands(tmp_path, main):
    """Of an array file whose own name, hyperparameters and their values are markup."""
    name = "<img src=x onerror=alert(1)>"
    words = np.array([HOSTILE, "gru"] * 30)
    write_arrays(tmp_path / f"{name}.npz", **{HOSTILE: words, "q<i>": np.linspace(0, 1, 60)})
    code, out, err = main("analyze.py", f"sweep='{name}.npz'", "threshold=0.5", *QUICK)
    assert code == 0, err
    report = report_of(out).resolve()
    page = Page(report.read_text())
    # The one link is ours, to the end of the page.
    assert not {"img", "i"} & set(page.tags) and page.tags.count("a") == 1
    assert any(name in words for words in page.words) and any(HOSTILE in words for words in page.words)
    texts = [text for script in page.scripts for text in drawn(script)]
    hostile = [text for text in texts if "script" in text or "bold" in text or "q&lt;" in text or "q<" in text]
    assert len(hostile) > 100
    for text in hostile:
        assert "<" not in text.replace("<br>", "").replace("<extra></extra>", ""), text
    if BROWSER is not None:
        document, complaints = opened(report, 1200, tmp_path / "profile")
        assert complaints == [] and "<title>&lt;img" in document and "<img" not in document
        # Drawn, its own text is shown, and no link is made of it.
        assert "&gt;bold&lt;/b&gt;" in document and Page(document).tags.count("a") == 1
