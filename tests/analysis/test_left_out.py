"""Predictors on values of a hyperparameter that they have not seen, and architectures predicted from spectra."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from aelle.analysis import architectures
from aelle.analysis.architectures import architecture_accuracies
from aelle.analysis.embeddings import compare
from aelle.analysis.left_out import check_generalise, left_out
from aelle.analysis.plane import trained_plane
from aelle.analysis.predictors import RECOMMENDED, WITHOUT_SPECTRA
from aelle.analysis.verdict import MIN_SPLITS, Gain
from aelle.errors import TooFewError, UserError
from aelle.model.estimator import AeLLE
from aelle.report.figures import figures
from aelle.report.page import architecture_sentences, left_out_rows, left_out_sentence
from aelle.report.style import note
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


def test_of_few_values_the_range_is_from_the_smallest_to_the_largest():
    found = left_out(three_sizes(), MODEL, "size", splits=7)
    scores = found.study.scores
    for row in left_out_rows(found, 3):
        aucs = scores[(scores["predictor"] == row["name"]) & (scores["epoch"] == 1)]["auc"]
        cell = row["cells"][1]
        assert (cell["auc_low"], cell["auc_high"]) == (aucs.min(), aucs.max())
        assert cell["auc"] == pytest.approx(aucs.mean())


def test_spectra_of_the_last_epoch_alone_are_a_reason():
    sweep = three_sizes()
    sweep.spectra[:, :-1] = np.nan
    with pytest.raises(TooFewError, match="generalise=size: no spectrum was measured before the last epoch"):
        left_out(sweep, MODEL, "size", 2)


def test_a_value_without_spectra_is_neither_learned_from_alone_nor_tested():
    sweep = three_sizes()
    sweep.spectra[sweep.variants["size"] == 16] = np.nan
    found = left_out(sweep, MODEL, "size", 2)
    assert found.untested == ["16"] and found.study.splits == 2
    two = sweep.take(np.flatnonzero(sweep.variants["size"] < 48))
    with pytest.raises(TooFewError, match="no split of its 2 values"):
        left_out(two, MODEL, "size", 2)


def test_the_number_of_exponents_is_hidden_where_it_reveals_the_value():
    sweep = three_sizes()
    sizes = sweep.variants["size"].to_numpy()

    def seen(given: SweepTable, name: str) -> list[bool]:
        """Of each split, whether AeLLE is given the numbers: one that is constant is ignored."""
        return [bool(np.isfinite(model.scaling_.scale[-1])) for model in left_out(given, MODEL, name, 2).study.models]

    of_sizes = replace(sweep, exponents=sizes)
    assert not any(seen(of_sizes, "size"))
    assert all(seen(with_column(of_sizes, half=np.arange(90) // 45), "half"))
    unmeasured = replace(of_sizes, spectra=sweep.spectra.copy(), exponents=np.where(np.arange(90) < 3, 99, sizes))
    unmeasured.spectra[:3] = np.nan
    assert not any(seen(unmeasured, "size"))
    pairs = with_column(sweep, cell=np.array(["lstm", "gru", "rnn"])[np.arange(90) % 3])
    assert not any(seen(replace(pairs, exponents=np.where(np.arange(90) % 3 == 0, 64, 32)), "cell"))
    units = 8 + np.random.default_rng(5).integers(24, size=90)
    assert not any(seen(replace(with_column(synthetic(90), units=units), exponents=units), "units"))


def test_of_many_words_some_are_learned_from_and_the_others_tested():
    sweep = with_column(synthetic(120), cell=[f"cell{i % 12}" for i in range(120)])
    found = left_out(sweep, MODEL, "cell", splits=3)
    assert (found.values, found.known, found.study.splits) == (12, 5, 3)
    cells = sweep.variants["cell"].to_numpy()
    chosen = [frozenset(cells[known]) for known in found.study.known]
    assert all(len(one) == 5 for one in chosen) and len(set(chosen)) > 1
    assert all(one.isdisjoint(cells[tested]) for one, tested in zip(chosen, found.study.tests, strict=True))


def two_good_cells() -> SweepTable:
    """Of twelve: a split is possible if one of them is learned from and the other is not."""
    cell = np.arange(120) % 12
    losses = np.tile(np.where(cell < 2, 0.1, 0.9)[:, None], (1, 4))
    return replace(with_column(synthetic(120), cell=[f"cell{i}" for i in cell]), losses=losses)


def test_random_choices_are_repeated_until_there_are_enough_splits():
    sweep = two_good_cells()
    found, cells = left_out(sweep, MODEL, "cell", splits=6), sweep.variants["cell"].to_numpy()
    assert found.study.splits == 6 and found.missing == 0 and "not possible" not in left_out_sentence(found)
    assert all(len({"cell0", "cell1"} & set(cells[known])) == 1 for known in found.study.known)


def test_splits_that_are_not_found_are_counted(monkeypatch):
    monkeypatch.setattr("aelle.analysis.left_out.MAX_TRIES", 1)
    found = left_out(two_good_cells(), MODEL, "cell", splits=6)
    assert 0 < found.missing == 6 - found.study.splits
    assert f"; {found.missing} splits of 6 not possible (low-error and" in left_out_sentence(found)


def test_what_spectra_add_is_said_by_the_rules_of_the_verdict():
    """Also of few splits, whose interval may be infinite."""
    found = left_out(three_sizes(), MODEL, "size", 2)
    said = left_out_sentence(found)
    assert said.startswith(
        "learned from 2 of 3 values of size, tested on the others: 3 splits are too few to say whether"
    )
    assert said.endswith("% of the tested variants were unlike all known ones")
    assert Gain(0.0, -np.inf, np.inf, 1).in_words("losses") == "1 split is too few to say whether spectra help here"
    adds = Gain(0.05, 0.01, 0.09, MIN_SPLITS).in_words("losses and the other hyperparameters")
    assert adds == "spectra add 0.050 (0.010 to 0.090) to the ROC AUC of losses and the other hyperparameters"
    nothing = Gain(0.0, -0.01, 0.01, MIN_SPLITS).in_words("losses")
    assert nothing == "spectra add nothing beyond noise (0.000 in ROC AUC, -0.010 to 0.010)"
    unclear = Gain(-0.024, -0.102, 0.055, MIN_SPLITS).in_words("losses")
    assert unclear == "whether spectra add anything here cannot be told (-0.024 in ROC AUC, -0.102 to 0.055)"


def test_a_hyperparameter_from_a_distribution_has_intervals():
    width = np.random.default_rng(5).uniform(1, 2, 90)
    found = left_out(with_column(synthetic(90), width=width), MODEL, "width", splits=2)
    assert 3 <= found.values <= 5 and found.study.splits == found.values
    assert left_out_sentence(found).startswith(f"learned from {found.known} of {found.values} intervals of width,")
    for known, tested in zip(found.study.known, found.study.tests, strict=True):
        inside = (width[known] >= width[tested].min()) & (width[known] <= width[tested].max())
        assert not inside.any()


def test_what_only_some_values_read_is_hidden_too():
    sweep = with_column(three_sizes(), forget=np.where(np.arange(90) % 3 == 0, np.nan, 1.0 + np.arange(90) % 2))
    found = left_out(sweep, MODEL, "size", splits=2)
    assert all(predictor.encoding_.varied == ["p"] for predictor in found.study.recommended)
    assert found.study.share_outside < 0.2


@pytest.mark.parametrize("strange", ["losses", "spectra"])
def test_variants_outside_are_counted_and_still_ranked_by_what_their_spectra_say(strange):
    """All of size 48 are: by their learning curves, or by their least exponent."""
    sweep = three_sizes(120)
    far, losses, spectra = sweep.variants["size"].to_numpy() == 48, sweep.losses.copy(), sweep.spectra.copy()
    if strange == "losses":
        losses[far, :3] *= 6
    else:
        spectra[far, :, -1] -= 6
    found = left_out(replace(sweep, hyperparameters=["size"], losses=losses, spectra=spectra), MODEL, "size", splits=2)
    assert found.study.outside[2][:3].all()
    last = found.study.scores[found.study.scores["split"] == 2].set_index(["predictor", "epoch"])["auc"]
    assert last[RECOMMENDED, 0] > 0.65 and last[WITHOUT_SPECTRA, 0] < 0.55 and last[RECOMMENDED, 2] > 0.9
    assert found.study.share_outside > 0.3


def test_values_of_one_class_are_not_tested_alone_and_without_any_other_there_is_a_reason():
    sweep = three_sizes()
    sizes, losses = sweep.variants["size"].to_numpy(), sweep.losses.copy()
    losses[sizes == 16] = 0.1
    found = left_out(replace(sweep, losses=losses), MODEL, "size", 2)
    assert found.study.splits == 2 and all(16 not in sizes[tested] for tested in found.study.tests)
    assert found.untested == ["16"] and "; not tested: 16 (low-error and high-error" in left_out_sentence(found)
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


def of_architectures(distance: float, architectures: int = 4, V: int = 120) -> SweepTable:
    """Spectra of an architecture are `distance` apart from those of the next, with noise of 0.1."""
    which = np.arange(V) % architectures
    rng = np.random.default_rng(0)
    spectra = -distance * which[:, None, None] * np.linspace(0, 1, 8) + 0.1 * rng.standard_normal((V, 4, 8))
    return replace(with_column(synthetic(V), cell=np.array(list("abcdefgh"))[which]), spectra=spectra)


def test_architectures_are_predicted_from_spectra_that_differ_and_from_no_others():
    for found in architecture_accuracies(of_architectures(3.0), seed=0):
        assert found.accuracy > 0.97 and found.low < found.accuracy <= found.high
        assert found.chance_level == 0.25 and found.names == list("abcd") and found.n == found.measured == 120
        assert (found.confusion.sum(1) == 30).all() and np.diag(found.confusion).sum() == round(found.accuracy * 120)
    first, last = architecture_accuracies(of_architectures(0.0), seed=0)
    assert (first.epoch, last.epoch) == (0, 3)
    assert first.low < 0.25 < first.high


def test_two_architectures_and_those_of_few_networks_are_not_asked_for(monkeypatch):
    """Few networks of one architecture take nothing from what is learned about the others: always five folds."""
    assert architecture_accuracies(of_architectures(3.0, architectures=2), 0) == []
    assert architecture_accuracies(synthetic(), 0) == []
    used = []
    folds = architectures.StratifiedKFold
    monkeypatch.setattr(architectures, "StratifiedKFold", lambda n, **more: used.append(n) or folds(n, **more))
    sweep = of_architectures(3.0)
    cells = sweep.variants["cell"].to_numpy(str).astype(object)
    cells[:4], cells[4:9] = "four", "five"
    spectra = sweep.spectra.copy()
    spectra[11, 0, 2] = np.nan
    found = architecture_accuracies(replace(sweep, variants=sweep.variants.assign(cell=cells), spectra=spectra), 0)
    assert found[0].names == [*"abcd", "five"] and found[0].too_few == ["four"] and found[0].n == 115
    assert used == [5, 5]
    said = architecture_sentences(found, 3)
    assert said[0].startswith("before training, the architecture (one of 5) is predicted correctly from spectra for ")
    assert " % of 115 networks (" in said[0] and said[0].endswith(" %); chance level 24 %")
    assert said[2:] == ["architectures with fewer than 5 networks with spectra are left out: four"]


def test_of_very_many_networks_a_stratified_sample_is_used(monkeypatch):
    monkeypatch.setattr(architectures, "MAX_NETWORKS", 60)
    found = architecture_accuracies(of_architectures(3.0), seed=0)
    assert all((one.n, one.measured) == (60, 120) and (one.confusion.sum(1) == 15).all() for one in found)
    assert " % of a sample of 60 of 120 networks (" in architecture_sentences(found, 3)[0]


def test_the_report_has_both_sections_with_names_that_are_no_markup(tmp_path):
    sweep = of_architectures(3.0)
    cells = sweep.variants["cell"].replace("a", "<b>a</b>")
    sweep = replace(sweep, variants=sweep.variants.assign(cell=cells))
    accuracies, unseen = architecture_accuracies(sweep, 0), left_out(sweep, MODEL, "cell", 2)
    plane = trained_plane(sweep, MODEL)
    pictured = found_of(sweep, plane=plane, comparison=compare(plane, None, "none", [], 0))
    found = replace(pictured, architectures=accuracies, left_out=unseen)
    page = write_report(tmp_path, found).read_text()
    assert "<h2>Architectures</h2>" in page and "<h2>Unseen values of a hyperparameter</h2>" in page
    assert "<b>a</b>" not in page and "the smallest and the largest" in page
    table = pd.read_csv(tmp_path / "left_out.csv")
    assert set(table["left_out"]) == {"cell"} and RECOMMENDED in set(table["predictor"])
    assert {path.stem for path in (tmp_path / "figures").glob("*.svg")} >= {"architectures", "confusion"}
    assert all(imread(tmp_path / "figures" / f"{name}.png").std() > 0.02 for name in ("architectures", "confusion"))
    write_report(tmp_path, replace(found, architectures=(), left_out=None))
    assert not (tmp_path / "left_out.csv").exists() and not (tmp_path / "figures" / "confusion.svg").exists()


def test_the_plane_of_architectures_says_that_it_shows_a_sample(monkeypatch):
    monkeypatch.setattr("aelle.report.figures.MAX_POINTS", 50)
    sweep = of_architectures(3.0)
    found = found_of(sweep, plane=trained_plane(sweep, MODEL), architectures=architecture_accuracies(sweep, 0))
    drawn = figures(found)
    assert note(drawn["plane"]) == note(drawn["architectures"]) == "A sample of 50 of 120 variants."


def test_on_the_command_line(tmp_path, main):
    os.chdir(tmp_path)
    write_arrays(tmp_path / "mine.npz", depth=np.arange(60) % 3)
    code, _, err = main("analyze.py", "sweep=mine.npz", "threshold=0.5", "generalise=width", *QUICK)
    assert code == 2 and err.count("\n") == 1 and "generalise=width: the variants do not differ in it" in err
    assert not Path("outputs").exists()
    code, out, err = main("analyze.py", "sweep=mine.npz", "threshold=0.5", "generalise=depth", *QUICK)
    assert code == 0 and "learned from 2 of 3 values of depth, tested on the others: 3 splits are too few" in out, err
    assert "ROC AUC × 100 (mean over 3 splits)" in out
    code, _, err = main("analyze.py", "sweep=mine.npz", "model=outputs/mine/model", "generalise=depth", *QUICK)
    assert code == 2 and "a saved model is not fitted again; leave generalise out" in err


def test_spectra_of_the_last_epoch_or_of_one_value_alone_are_a_line_in_the_report(tmp_path, main):
    os.chdir(tmp_path)
    spectra = synthetic().spectra
    last = np.where(np.arange(4)[:, None] < 3, np.nan, spectra)
    write_arrays(tmp_path / "last.npz", depth=np.arange(60) % 3, spectrum=last)
    code, out, err = main("analyze.py", "sweep=last.npz", "threshold=0.5", "generalise=depth", *QUICK)
    assert code == 0 and "warning: generalise=depth: no spectrum was measured before the last epoch" in out, err
    one = np.where(np.arange(60)[:, None, None] % 2 == 0, np.nan, spectra)
    write_arrays(tmp_path / "one.npz", depth=np.arange(60) % 2, spectrum=one)
    code, out, err = main("analyze.py", "sweep=one.npz", "threshold=0.5", "generalise=depth", *QUICK)
    assert code == 0 and "warning: generalise=depth: no split of its 2 values" in out, err
