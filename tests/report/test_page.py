"""What the page says first: the verdict, the variants to keep, the best ones."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from aelle.analysis.findings import Findings
from aelle.analysis.predictors import RECOMMENDED
from aelle.report.page import MAX_ROWS, SHOWN_ROWS, best, chosen_predictors, keep
from aelle.report.printed import print_findings
from aelle.report.write import write_report
from findings import found_of, retraining_of, with_chances
from sweeps import synthetic


@pytest.fixture(scope="module")
def found() -> Findings:
    return found_of(synthetic())


def test_the_verdict_is_the_first_line_of_the_page_and_of_the_terminal(found, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("aelle.report.write.write_stills", lambda *_: None)
    found = replace(found, verdict="Spectra help: <stop> early.")
    print_findings(found, details=False)
    assert capsys.readouterr().out.startswith("Spectra help: <stop> early.\ns: 60 variants")
    html = write_report(tmp_path, found).read_text().split("<body>")[1]
    assert html.lstrip().startswith("<h1>Spectra help: &lt;stop&gt; early.</h1>")


def test_five_predictors_are_chosen_by_their_mean_before_the_last_epoch(found):
    early = found.early
    assert early is not None
    ours, without, other, baseline, alone = chosen_predictors(early)
    before = early.scores[early.scores["epoch"] < early.end].groupby("predictor")["auc"].mean()
    spectra = before.drop([*early.without_spectra, ours])
    assert ours == RECOMMENDED == early.scores["predictor"].iloc[0]
    assert without == before[early.without_spectra].idxmax() and spectra[other] == spectra.max()
    assert baseline == "loss < final threshold" and alone in ("hyperparameters only", "loss, threshold tuned per epoch")
    assert "hyperparameters only" in (without, alone)


def test_the_variants_to_keep_are_those_above_one_half_best_first(found):
    chances = np.linspace(0.2, 0.8, 60)
    kept = keep(with_chances(replace(found), chances))
    assert [row.number for row in kept.rows] == list(range(59, 29, -1)) and kept.recommended == 30
    first = kept.rows[1]
    assert first.number == 58 and first.chance == chances[58] and first.final_loss == found.sweep.final_loss[58]
    assert first.values == [f"{found.sweep.variants['p'][58]:.4g}"]
    assert kept.rows[0].diverged and np.isnan(kept.rows[0].final_loss) and kept.complete == 30 and kept.command is None
    unlike = keep(with_chances(replace(found), chances, outside=(58, 59)))
    assert unlike.recommended == kept.recommended - 2 and unlike.rows[0].number == 57
    assert keep(with_chances(replace(found), np.full(60, np.nan))).rows == []


def test_variants_of_which_nothing_is_known_are_given_apart(capsys, tmp_path, monkeypatch):
    """Of those outside, 5 is complete."""
    monkeypatch.setattr("aelle.report.write.write_stills", lambda *_: None)
    sweep = synthetic()
    running = replace(sweep, variants=sweep.variants.assign(complete=~np.isin(np.arange(60), [3, 7])))
    found = found_of(running, retraining=retraining_of(sweep))
    chances = np.where(np.arange(60) == 50, 0.9, 0.1)
    print_findings(with_chances(found, chances, outside=(3, 5, 7)), details=False)
    command = "python train.py experiment=x 'variants=[3,7]'"
    said = "3 more are unlike all known ones: nothing is known of them; to train them too"
    assert f"\n{said}: {command}\n" in capsys.readouterr().out
    html = write_report(tmp_path, found).read_text().split("<h2>Keep</h2>")[1].split("</section>")[0]
    assert f"<p>{said}:</p>\n<pre><code>{command.replace(chr(39), '&#39;')}</code></pre>" in html
    table = pd.read_csv(tmp_path / "variants.csv")
    assert table["outside"].dtype == bool and table["variant"][table["outside"]].tolist() == [3, 5, 7]


@pytest.mark.parametrize(
    ("outside", "why"),
    [
        (range(60), "every variant with a chance is unlike all known ones"),
        (range(59), "no other chance is above 50 %"),
        ((), "no chance is above 50 %"),
    ],
)
def test_it_is_said_why_no_variant_is_left_to_keep(found, outside, why, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("aelle.report.write.write_stills", lambda *_: None)
    chances = np.where(np.isin(np.arange(60), list(outside)), 0.6, 0.4)
    found = with_chances(replace(found), chances, outside=tuple(outside))
    print_findings(found, details=False)
    out, html = capsys.readouterr().out, write_report(tmp_path, found).read_text()
    assert (
        f"keep after epoch 1 (chance of low error): none, {why}\n" in out
        and f"<p>None: after epoch 1, {why}.</p>" in html
    )
    unlike = f"{len(outside)} are unlike all known ones: nothing is known of them"
    assert (f"\n{unlike}\n" in out) == bool(outside) == (f"<p>{unlike}.</p>" in html)


def test_the_command_trains_what_is_left_or_all_of_them_again():
    sweep = synthetic()
    chances = np.where(np.isin(np.arange(60), [3, 7, 50]), 0.9, 0.1)
    found = with_chances(found_of(sweep, retraining=retraining_of(sweep)), chances)
    again = "python train.py experiment=x sweep=s-again 'variants=[3,7,50]'"
    assert keep(found).command == again
    running = replace(sweep, variants=sweep.variants.assign(complete=np.arange(60) != 7))
    found = with_chances(found_of(running, retraining=retraining_of(sweep)), chances)
    kept = keep(found)
    assert kept.command == "python train.py experiment=x 'variants=[3,7,50]'" and kept.complete == 2
    assert np.isnan(next(row for row in kept.rows if row.number == 7).final_loss)


def test_the_page_shows_ten_of_them_and_the_others_folded(tmp_path, monkeypatch):
    monkeypatch.setattr("aelle.report.write.write_stills", lambda *_: None)
    sweep = synthetic()
    found = with_chances(found_of(sweep, retraining=retraining_of(sweep)), np.linspace(0.2, 0.8, 60))
    html = write_report(tmp_path, found).read_text()
    section = html.split("<h2>Keep</h2>")[1].split("</section>")[0]
    shown, folded = section.split("<details>")
    assert shown.count("<tr><td>") == SHOWN_ROWS and folded.count("<tr><td>") == 20 and "20 more" in folded
    assert "<pre><code>python train.py experiment=x sweep=s-again &#39;variants=[30,31," in section
    section = html.split("<h2>Best variants</h2>")[1].split("</section>")[0]
    order = np.argsort(sweep.final_loss)[:SHOWN_ROWS]
    assert [row.number for row in best(found)] == list(order)
    for number in order:
        assert f"<code>python train.py experiment=x sweep=s-variant-{number} variants={number}</code>" in section


def test_no_table_of_variants_becomes_huge(found):
    sweep = synthetic(2000)
    many = with_chances(replace(found, sweep=sweep, complete=sweep), np.full(2000, 0.9))
    kept = keep(many)
    assert kept.recommended == 2000 and len(kept.rows) == MAX_ROWS


def test_the_terminal_names_ten_and_gives_the_command(capsys):
    sweep = synthetic()
    found = with_chances(found_of(sweep, retraining=retraining_of(sweep)), np.linspace(0.2, 0.8, 60))
    print_findings(found, details=False)
    out = capsys.readouterr().out
    assert "keep after epoch 1 (chance of low error): 59 (80 %), 58 (79 %)" in out and " and 20 more\n" in out
    assert "all are complete; to train them again: python train.py experiment=x sweep=s-again 'variants=[30," in out
    sweep = synthetic(300)
    found = with_chances(found_of(sweep, retraining=retraining_of(sweep)), np.full(300, 0.8))
    print_findings(found, details=False)
    assert "to train them again: the command is in the report\n" in capsys.readouterr().out
