"""Predictors on values of a hyperparameter that they have not seen, and spectra that tell architectures."""

import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from aelle.analysis.architectures import architectures_told
from aelle.analysis.embeddings import compare
from aelle.analysis.left_out import check_generalise, left_out
from aelle.analysis.plane import trained_plane
from aelle.analysis.predictors import RECOMMENDED, WITHOUT_SPECTRA
from aelle.errors import TooFewError, UserError
from aelle.model.estimator import AeLLE
from aelle.report.write import write_report
from aelle.sweep.table import SweepTable
from findings import found_of
from sweeps import QUICK, synthetic, write_arrays

MODEL = AeLLE(0.5, epochs=20)


def with_column(sweep: SweepTable, **columns) -> SweepTable:
    return replace(sweep, hyperparameters=[*sweep.hyperparameters, *columns], variants=sweep.variants.assign(**columns))


def three_sizes(V: int = 90) -> SweepTable:
    return with_column(synthetic(V), size=np.arange(V) % 3 * 16 + 16)


def test_each_of_few_values_is_left_out_in_turn_and_the_hyperparameter_is_hidden():
    sweep = three_sizes()
    found = left_out(sweep, MODEL, "size", splits=7)
    assert (found.name, found.values, found.known, found.study.splits) == ("size", 3, 2, 3)
    sizes = sweep.variants["size"].to_numpy()
    for known, tested, value in zip(found.study.known, found.study.tests, (16, 32, 48), strict=True):
        assert set(sizes[tested]) == {value} and value not in sizes[known]
        assert len(known) + len(tested) == len(sizes)
    assert all(predictor.encoding_.varied == ["p"] for predictor in found.study.recommended)
    at = found.table.set_index(["predictor", "epoch"])["auc"]
    assert at[RECOMMENDED, 0] > 0.9 and at[WITHOUT_SPECTRA, 0] > 0.9


def test_of_many_words_some_are_learned_from_and_the_others_tested():
    sweep = with_column(synthetic(120), cell=[f"cell{i % 12}" for i in range(120)])
    found = left_out(sweep, MODEL, "cell", splits=3)
    assert (found.values, found.known, found.study.splits) == (12, 5, 3)
    cells = sweep.variants["cell"].to_numpy()
    chosen = [frozenset(cells[known]) for known in found.study.known]
    assert all(len(one) == 5 for one in chosen) and len(set(chosen)) > 1
    assert all(one.isdisjoint(cells[tested]) for one, tested in zip(chosen, found.study.tests, strict=True))


def test_a_hyperparameter_from_a_distribution_has_intervals():
    width = np.random.default_rng(5).uniform(1, 2, 90)
    found = left_out(with_column(synthetic(90), width=width), MODEL, "width", splits=2)
    assert 3 <= found.values <= 5 and found.study.splits == found.values
    for known, tested in zip(found.study.known, found.study.tests, strict=True):
        inside = (width[known] >= width[tested].min()) & (width[known] <= width[tested].max())
        assert not inside.any()


def test_what_only_some_values_read_is_hidden_too():
    sweep = with_column(three_sizes(), forget=np.where(np.arange(90) % 3 == 0, np.nan, 1.0 + np.arange(90) % 2))
    found = left_out(sweep, MODEL, "size", splits=2)
    assert all(predictor.encoding_.varied == ["p"] for predictor in found.study.recommended)
    assert found.study.share_outside < 0.2


def test_values_of_one_class_are_not_tested_alone_and_without_any_other_there_is_a_reason():
    sweep = three_sizes()
    sizes, losses = sweep.variants["size"].to_numpy(), sweep.losses.copy()
    losses[sizes == 16] = 0.1
    found = left_out(replace(sweep, losses=losses), MODEL, "size", 2)
    assert found.study.splits == 2 and all(16 not in sizes[tested] for tested in found.study.tests)
    losses[sizes == 32] = 0.1
    with pytest.raises(TooFewError, match="generalise=size: no split of its 3 values"):
        left_out(replace(sweep, losses=losses), MODEL, "size", 2)


def test_auto_is_the_architecture_where_there_are_many():
    few = with_column(synthetic(), cell=["lstm", "gru"] * 30)
    many = with_column(synthetic(), cell=[f"c{i % 12}" for i in range(60)])
    assert (
        check_generalise("auto", synthetic()) is check_generalise("auto", few) is check_generalise(None, many) is None
    )
    assert check_generalise("auto", many) == "cell" and check_generalise("p", few) == "p"
    with pytest.raises(
        UserError, match="generalise=depth: the variants do not differ in it; choose one of p, cell, auto"
    ):
        check_generalise("depth", few)


def told_apart(distance: float, architectures: int = 4, V: int = 120) -> SweepTable:
    """Spectra of an architecture are `distance` apart from those of the next, with noise of 0.1."""
    which = np.arange(V) % architectures
    rng = np.random.default_rng(0)
    spectra = -distance * which[:, None, None] * np.linspace(0, 1, 8) + 0.1 * rng.standard_normal((V, 4, 8))
    return replace(with_column(synthetic(V), cell=np.array(list("abcdefgh"))[which]), spectra=spectra)


def test_architectures_are_told_by_spectra_that_differ_and_by_no_others():
    for told in architectures_told(told_apart(3.0), seed=0):
        assert told.accuracy > 0.97 and told.low < told.accuracy <= told.high
        assert told.guess == 0.25 and told.names == list("abcd") and told.n == 120
        assert (told.confusion.sum(1) == 30).all() and np.diag(told.confusion).sum() == round(told.accuracy * 120)
    first, last = architectures_told(told_apart(0.0), seed=0)
    assert (first.epoch, last.epoch) == (0, 3)
    assert first.low < 0.25 < first.high


def test_two_architectures_and_single_networks_are_not_asked_for():
    assert architectures_told(told_apart(3.0, architectures=2), 0) == []
    assert architectures_told(synthetic(), 0) == []
    sweep = told_apart(3.0)
    cells = sweep.variants["cell"].tolist()
    cells[0] = "alone"
    spectra = sweep.spectra.copy()
    spectra[1, 0, 2] = np.nan
    first = architectures_told(replace(sweep, variants=sweep.variants.assign(cell=cells), spectra=spectra), 0)[0]
    assert "alone" not in first.names and first.n == 118


def test_the_report_has_both_sections_with_names_that_are_no_markup(tmp_path):
    sweep = told_apart(3.0)
    cells = sweep.variants["cell"].replace("a", "<b>a</b>")
    sweep = replace(sweep, variants=sweep.variants.assign(cell=cells))
    told, unseen = architectures_told(sweep, 0), left_out(sweep, MODEL, "cell", 2)
    plane = trained_plane(sweep, MODEL)
    pictured = found_of(sweep, plane=plane, comparison=compare(plane, None, "none", [], 0))
    found = replace(pictured, architectures=told, left_out=unseen)
    page = write_report(tmp_path, found).read_text()
    assert "<h2>Architectures</h2>" in page and "<h2>Unseen values of a hyperparameter</h2>" in page
    assert "<b>a</b>" not in page
    table = pd.read_csv(tmp_path / "left_out.csv")
    assert set(table["left_out"]) == {"cell"} and RECOMMENDED in set(table["predictor"])
    assert {path.stem for path in (tmp_path / "figures").glob("*.svg")} >= {"architectures", "confusion"}
    assert all(imread(tmp_path / "figures" / f"{name}.png").std() > 0.02 for name in ("architectures", "confusion"))
    write_report(tmp_path, replace(found, architectures=(), left_out=None))
    assert not (tmp_path / "left_out.csv").exists() and not (tmp_path / "figures" / "confusion.svg").exists()


def test_on_the_command_line(tmp_path, main):
    os.chdir(tmp_path)
    write_arrays(tmp_path / "mine.npz", depth=np.arange(60) % 3)
    code, out, err = main("analyze.py", "sweep=mine.npz", "threshold=0.5", "generalise=depth", *QUICK)
    assert code == 0 and "learned from 2 of 3 values of depth, tested on the others, mean over 3 splits" in out, err
    code, _, err = main("analyze.py", "sweep=mine.npz", "threshold=0.5", "generalise=width", *QUICK)
    assert code == 2 and err.count("\n") == 1 and "generalise=width: the variants do not differ in it" in err
