"""What looks wrong in a sweep is named, with the variants concerned; what does not is not."""

import numpy as np
import pandas as pd
import pytest

from aelle.report.tables import problems_table
from aelle.runs.reader import read_run
from aelle.runs.writer import RunFolder
from aelle.sweep.anomalies import Anomaly, in_hyperparameters
from aelle.sweep.arrays import TEST_SPECTRA, load_arrays
from aelle.sweep.table import load_sweep
from sweeps import QUICK, report_of, results_of, synthetic, write_arrays

V, E, M = 60, 4, 8
SORTED = -np.sort(-synthetic().spectra)


def anomalies(tmp_path, **changes) -> list[Anomaly]:
    """Of an array file with these changes, without those of an unchanged one."""
    p = np.random.default_rng(1).uniform(0, 1, V)
    write_arrays(tmp_path / "mine.npz", **{"note": None, "spectrum": SORTED, "p": p, **changes})
    return list(load_arrays(tmp_path / "mine.npz").anomalies)


def changed(array: np.ndarray, *places: tuple) -> np.ndarray:
    array = array.astype(float)
    for *place, value in places:
        array[tuple(place)] = value
    return array


LOSSES = synthetic().losses


def test_in_good_arrays_nothing_looks_wrong(tmp_path):
    assert anomalies(tmp_path) == []
    small = changed(SORTED, (slice(0, 30), slice(None), slice(5, None), np.nan))
    assert anomalies(tmp_path, spectrum=small) == []


@pytest.mark.parametrize(
    ("places", "why", "variants"),
    [
        ([(4, 2, 3, np.nan)], "variant 4 after epoch 2: exponent 3 (from 0) is nan; give finite ones", (4,)),
        ([(4, 2, 7, -np.inf)], "variant 4 after epoch 2: exponent 7 (from 0) is -inf; give finite ones", (4,)),
        ([(6, slice(None), 7, -np.inf)], "variant 6 after epoch 0: exponent 7 (from 0) is -inf", (6,)),
        ([(6, 1, 7, np.nan)], "variant 6 after epoch 1: it has 7 exponents and more at another epoch", (6,)),
        ([(6, 1, 0, np.inf), (9, 3, 2, np.nan)], "variant 6 after epoch 1: exponent 0 (from 0) is inf", (6, 9)),
    ],
)
@pytest.mark.parametrize("name", ["spectrum", TEST_SPECTRA])
def test_an_incomplete_spectrum_is_named(tmp_path, name, places, why, variants):
    (one,) = anomalies(tmp_path, **{name: changed(SORTED, *places)})
    assert one.what.startswith(f"{name} is incomplete at some epochs and not used there, e.g. of {why}")
    assert one.variants == variants and np.isfinite(load_arrays(tmp_path / "mine.npz").spectra[3]).all()


def test_each_variant_has_its_own_reason(tmp_path):
    places = [(4, 2, 3, np.nan), (5, slice(None), 7, -np.inf), (6, 1, 7, np.nan)]
    (one,) = anomalies(tmp_path, spectrum=changed(SORTED, *places))
    assert [number for number, _ in one.rows] == [4, 5, 6]
    assert [what.removeprefix("spectrum is incomplete after ") for _, what in one.rows] == [
        "epoch 2 and not used there: exponent 3 (from 0) is nan; give finite ones",
        "epochs 0, 1, 2, 3 and not used there: after epoch 0, exponent 7 (from 0) is -inf; give finite ones",
        "epoch 1 and not used there: it has 7 exponents and more at another epoch; give all of them",
    ]
    table = problems_table(load_arrays(tmp_path / "mine.npz"))
    odd = table[table["state"] == "anomaly"].set_index("variant")["error"]
    assert odd.loc[[4, 5, 6]].tolist() == [what for _, what in one.rows]
    (one,) = anomalies(tmp_path, val_loss=changed(LOSSES, (4, 2, np.nan), (7, slice(0, 2), np.nan)))
    rest = "where a later one is finite: not known there"
    assert one.each == tuple(f"no finite val_loss after {epochs}, {rest}" for epochs in ("epoch 2", "epochs 0, 1"))
    losses, spectra = LOSSES.copy(), SORTED.copy()
    losses[[4, 9, 21]], spectra[[4, 9, 21]] = losses[4], spectra[4]
    (one,) = anomalies(tmp_path, val_loss=losses, spectrum=spectra)
    assert [what.partition(":")[0] for _, what in one.rows] == [
        f"the same losses and spectra as {others}" for others in ("9, 21", "4, 21", "4, 9")
    ]
    assert Anomaly("odd").rows == [(None, "odd")] and Anomaly("odd", (3, 4)).rows == [(3, "odd"), (4, "odd")]


def test_spectra_that_others_have_at_an_epoch_are_missed(tmp_path):
    without = changed(SORTED, (4, 2, np.nan), (7, slice(1, 3), np.nan), (9, 0, np.nan), (9, 1, 2, np.nan))
    found = {one.what: one.variants for one in anomalies(tmp_path, spectrum=without)}
    missing = "no spectrum at some epochs where others have one, e.g. of variant 4 after epoch 2: not known there"
    assert found.pop(missing) == (4, 7, 9)
    ((what, variants),) = found.items()
    assert what.startswith("spectrum is incomplete at some epochs") and variants == (9,)


def test_spectra_of_test_inputs_are_missed_too(tmp_path):
    (one,) = anomalies(tmp_path, **{TEST_SPECTRA: changed(SORTED, (4, 2, np.nan))})
    assert one.what.startswith(f"no {TEST_SPECTRA} at some epochs where others have one") and one.variants == (4,)


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ((slice(None), [0, 2], np.nan), "spectrum is not usable for any variant after epochs 0, 2: not known there"),
        ((slice(None), 1, 7, np.inf), "spectrum is not usable for any variant after epochs 1: not known there"),
    ],
)
def test_epochs_without_any_spectrum_are_named(tmp_path, place, says):
    assert says in [one.what for one in anomalies(tmp_path, spectrum=changed(SORTED, place))]


def test_no_spectra_at_all_are_the_reports_own_matter(tmp_path):
    assert anomalies(tmp_path, spectrum=np.full_like(SORTED, np.nan)) == []


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_losses_that_are_not_finite_before_finite_ones_are_named(tmp_path, wrong):
    (one,) = anomalies(tmp_path, val_loss=changed(LOSSES, (4, 2, wrong), (7, 0, wrong)))
    assert one.what.startswith("no finite val_loss at some epochs where a later one is finite, e.g. of variant 4 after")
    assert one.variants == (4, 7)


def test_epochs_without_any_loss_are_named(tmp_path):
    (one,) = anomalies(tmp_path, val_loss=changed(LOSSES, (slice(None), 1, np.nan)))
    assert one == Anomaly("val_loss is not finite for any variant after epochs 1: not known there")
    (one,) = anomalies(tmp_path, val_loss=changed(LOSSES, (slice(None), slice(2, None), np.nan)))
    assert one.what == (
        "val_loss is not finite for any variant after the last epoch, 3, so that all count as diverged: leave out "
        "epochs that were not trained; the last with one is 1"
    )
    (one,) = anomalies(tmp_path, val_loss=np.full((V, E), np.nan))
    assert one.what.endswith("leave out epochs that were not trained")


def test_copies_of_variants_are_named(tmp_path):
    copies = np.array([4, 9, 21])
    losses, spectra = LOSSES.copy(), SORTED.copy()
    losses[copies], spectra[copies] = losses[4], spectra[4]
    losses[30] = losses[31]  # the same losses alone may be a coincidence
    (one,) = anomalies(tmp_path, val_loss=losses, spectrum=spectra)
    assert one.what.startswith("the same losses and spectra as another variant, e.g. 4, 9, 21: keep one of them")
    assert one.variants == (4, 9, 21)
    numbered = anomalies(tmp_path, val_loss=losses, spectrum=spectra, variant=np.arange(100, 160))
    assert numbered[0].variants == (104, 109, 121)


def test_variants_that_never_had_a_loss_are_no_copies(tmp_path):
    assert anomalies(tmp_path, val_loss=changed(LOSSES, ([3, 5], np.nan)), spectrum=SORTED) == []


def test_spectra_out_of_order_are_named(tmp_path):
    (one,) = anomalies(tmp_path, spectrum=np.sort(SORTED))
    assert one.what.startswith("spectrum is not in descending order") and len(one.variants) == V
    rounding = SORTED + 1e-9 * np.random.default_rng(0).normal(size=SORTED.shape)
    assert anomalies(tmp_path, spectrum=rounding) == []


FINAL = np.nan_to_num(LOSSES[:, -1], nan=np.inf)
FALLING = -np.argsort(np.argsort(LOSSES[:, -1]))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.exp(np.nan_to_num(LOSSES[:, -1])), "its rank correlation with the final loss is 1.000"),
        (FALLING, "its rank correlation with the final loss is -1.000"),
        (FALLING.astype(np.int16), "its rank correlation with the final loss is -1.000"),
        (FALLING + 15 * (np.arange(V) == 7), "its rank correlation with the final loss is -0.99"),
        (FINAL < 0.5, "its values have final losses that do not overlap"),
        (np.isinf(FINAL), "its values have final losses that do not overlap"),
        (np.where(FINAL < 0.5, "solved", "failed"), "its values have final losses that do not overlap"),
        (np.digitize(FINAL, [0.4, 0.8]), "its values have final losses that do not overlap"),
        (np.round(1 / (1 + FINAL), 1), "its values have final losses that do not overlap"),
    ],
)
def test_an_outcome_is_not_taken_for_a_hyperparameter_without_a_word(tmp_path, values, why):
    (one,) = anomalies(tmp_path, score=values)
    assert one.what.startswith(f"score may be an outcome, not a hyperparameter: {why}")
    assert one.what.endswith("; leave it out if it is known only after training, as a test loss is")
    assert "score" in load_arrays(tmp_path / "mine.npz").hyperparameters


@pytest.mark.parametrize(
    "values",
    [
        np.nan_to_num(LOSSES[:, -1]) + np.random.default_rng(0).normal(0, 0.15, V),
        np.arange(V),
        np.where(np.arange(V) == FINAL.argmin(), 1, 0),
        (FINAL < 0.5) | (np.arange(V) == np.nanargmax(LOSSES[:, -1])),
        np.array(["lstm", "gru"] * 30),
    ],
)
def test_a_hyperparameter_that_only_helps_is_none(tmp_path, values):
    assert anomalies(tmp_path, score=values) == []


@pytest.mark.parametrize("n", [0, 1, 3])
def test_of_few_variants_nothing_is_said_of_outcomes(n):
    losses = np.arange(1.0, n + 1)
    assert in_hyperparameters(np.arange(n), losses, {"p": losses, "q": losses > 1.5}) == []
    assert in_hyperparameters(np.arange(12), np.full(12, np.nan), {"p": np.arange(12)}) == []
    assert in_hyperparameters(np.arange(12), np.ones(12), {"p": np.arange(12)}) == []


def test_columns_of_one_value_are_named_in_one_line(tmp_path):
    (one,) = anomalies(tmp_path, a=np.ones(V), b=np.array(["adam"] * V), c=np.zeros(V, bool))
    assert one == Anomaly("the same value for all variants, and thus not used: a, b, c")


def test_blanks_around_words_are_left_out_and_named(tmp_path):
    words = np.array(["lstm", "gru"] * 30, dtype="U8")
    words[[2, 4]], words[5] = " lstm", " "
    found = {one.what: one.variants for one in anomalies(tmp_path, cell=words)}
    assert found == {
        "cell has blanks around words, which are left out": (2, 4, 5),
        "cell is an empty word, which counts as a value": (5,),
    }
    assert set(load_arrays(tmp_path / "mine.npz").variants["cell"]) == {"lstm", "gru", ""}


def test_an_anomaly_is_one_line_however_many_variants_it_has():
    assert str(Anomaly("odd")) == "odd" and str(Anomaly("odd", (3,))) == "odd (variant 3)"
    assert str(Anomaly("odd", tuple(range(30)))) == "odd (variants 0, 1, 2, 3, 4, 5, 6, 7 and 22 more)"


def test_all_of_it_is_in_problems_csv_the_terminal_and_the_report(tmp_path, main):
    spectra = changed(SORTED, (4, 2, 3, np.nan), (5, slice(None), 7, -np.inf))
    write_arrays(tmp_path / "mine.npz", spectrum=spectra, final_loss=np.arange(V))
    write_arrays(tmp_path / "other.npz", spectrum=SORTED, note=None, low_error=np.arange(V), p=np.arange(V) % 7)
    line = ("analyze.py", "sweep=mine.npz", "threshold=0.5", "elsewhere=[other.npz]", "pictures=[]", *QUICK)
    code, out, err = main(*line)
    assert code == 0, err
    table = pd.read_csv(results_of(out) / "problems.csv")
    assert table["state"].value_counts().to_dict() == {"diverged": 3, "damaged": 3, "anomaly": 3}
    odd = table[table["state"] == "anomaly"]
    assert odd["variant"].iloc[:2].tolist() == [4, 5] and odd["variant"].isna().tolist() == [False, False, True]
    assert "elsewhere: other: other.npz: low_error is left out" in table["error"].str.cat()
    page = report_of(out).read_text().split("</script>", 1)[1]
    for what in ("spectrum is incomplete", "p may be an outcome", "note is left out", "final_loss is left out"):
        assert sum(what in said for said in out.splitlines()) == 1, what
        assert page.count(what) == 1 and table["error"].str.contains(what).any()
    assert "3 parts of the sweep could not be used; 2 things look wrong: see the end" in page
    variants = pd.read_csv(results_of(out) / "variants.csv")
    np.testing.assert_allclose(variants["final_loss"], LOSSES[:, -1], rtol=1e-5)
    assert variants.set_index("variant").loc[[4, 5]].filter(like="chance").notna().all(axis=None)

    code, out, err = main("analyze.py", "sweep=mine.npz", f"model={results_of(out) / 'model'}")
    assert code == 0 and "warning: spectrum is incomplete" in out and "warning: mine.npz: note is left out" in out, err


def test_of_a_trained_sweep_too(sweep):
    assert load_sweep(sweep).warnings == []
    run = read_run(sweep / "pack-0000")
    rows = run.epochs.to_pandas()
    at = (rows["variant"] == run.numbers[0]) & (rows["epoch"] == 1)
    rows.loc[at, "val_loss"] = np.nan
    at = (rows["variant"] == run.numbers[1]) & (rows["epoch"] == 2)
    rows.loc[at, "spectrum"] = rows.loc[at, "spectrum"].map(lambda one: one * np.nan)
    folder = RunFolder(run.path, run.config)
    folder.write_epochs(run.epochs.from_pandas(rows, schema=run.epochs.schema.remove_metadata()))
    folder.write_status(run.status["state"], epoch=run.status["epoch"])
    found = load_sweep(sweep).anomalies
    assert [one.variants for one in found] == [(run.numbers[0],), (run.numbers[1],)]
    assert "no finite val_loss" in found[0].what and "no spectrum" in found[1].what
