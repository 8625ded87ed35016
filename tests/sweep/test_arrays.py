"""A sweep from arrays, in memory or in a file: what is read, and what is refused in one line."""

import re

import numpy as np
import pytest

from aelle import EarlyPredictor
from aelle.errors import UserError
from aelle.hyperparameters import RESERVED
from aelle.lyapunov.spectra_so_far import SpectraSoFar, usable
from aelle.sweep.arrays import load_arrays, table_of
from sweeps import synthetic, write_arrays

ARRAYS_OF_THEIR_OWN = ("variant", "val_loss", "spectrum")


@pytest.mark.parametrize("name", [*RESERVED, "chance_epoch_3"])
def test_a_hyperparameter_cannot_replace_a_column_of_the_tables(tmp_path, name):
    losses, column = synthetic().losses, np.arange(60)
    with pytest.raises(UserError, match=f"^hyperparameters contain {name}: .*; rename it, e.g. to {name}_$"):
        EarlyPredictor(0.5).fit(losses, None, {"p": column, name: column % 2})
    if name in ARRAYS_OF_THEIR_OWN:
        return
    write_arrays(tmp_path / "mine.npz", note=None, **{name: column})
    table = load_arrays(tmp_path / "mine.npz")
    assert table.hyperparameters == ["p"] and len(table.complete().losses) == 60
    why = f"the tables of results have a column of that name; rename it, e.g. to {name}_"
    assert table.problems == [f"mine.npz: {name} is left out: {why}"]
    assert table.final_loss[0] == losses[0, -1]


def test_names_like_reserved_ones_are_hyperparameters(tmp_path):
    names = ("ended", "chance_epoch_x", "final_loss_", "mean")
    write_arrays(tmp_path / "mine.npz", note=None, **{name: np.arange(60) % 7 for name in names})
    table = load_arrays(tmp_path / "mine.npz")
    assert table.hyperparameters == ["p", *names] and table.problems == []


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.zeros((60, 4)), r"a hyperparameter is an array \[60\] of numbers or words, and it is \[60, 4\], float64"),
        (np.array(0.5), r"a hyperparameter is an array \[60\] .*, and it is \[\], float64"),
        (np.zeros(59), r"it is \[59\], float64"),
        (np.array([]), r"it is \[0\], float64"),
        (np.ones(60, complex), r"it is \[60\], complex128"),
        (np.array([b"lstm"] * 60), r"it is \[60\], \|S4"),
        (np.zeros(60, "datetime64[s]"), r"it is \[60\], datetime64"),
        (np.where(np.arange(60) == 3, np.nan, 1.0), r"NaN or infinity, and .* finite values \(variant 3\)"),
        (np.where(np.arange(60) > 49, np.inf, 1.0), r"\(variants 50, 51, 52, 53, 54, 55, 56, 57 and 2 more\)"),
        (np.array([f"run {i}" for i in range(60)]), "its words are all different, as names of runs are"),
    ],
)
def test_an_array_that_is_no_hyperparameter_is_left_out_and_named(tmp_path, array, why):
    write_arrays(tmp_path / "mine.npz", note=None, rate=array)
    table = load_arrays(tmp_path / "mine.npz")
    assert table.hyperparameters == ["p"] and len(table.problems) == 1
    assert re.match(f"mine.npz: rate is left out: .*{why}", table.problems[0]), table.problems


@pytest.mark.parametrize(
    "array", [np.arange(60), np.arange(60, dtype=np.uint8), np.arange(60) % 2 == 0, np.array(["a", "b"] * 30)]
)
def test_whole_numbers_truth_values_and_words_are_hyperparameters(tmp_path, array):
    write_arrays(tmp_path / "mine.npz", note=None, rate=array)
    table = load_arrays(tmp_path / "mine.npz")
    assert table.hyperparameters == ["p", "rate"] and table.problems == []
    assert table.variants["rate"].tolist() == array.tolist()


@pytest.mark.parametrize("name", ["val_loss", "spectrum", "cell", "variant"])
def test_an_array_of_objects_is_refused_by_name(tmp_path, name):
    array = np.array(["lstm", None] * 30, dtype=object)
    write_arrays(tmp_path / "mine.npz", **{name: array})
    with pytest.raises(UserError, match=rf"mine.npz: {name} is an array of Python objects, .*: save numbers, or words"):
        load_arrays(tmp_path / "mine.npz")


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        (np.arange(60.0), r"variant is \[60\], float64: give 60 different whole numbers"),
        (np.arange(59), r"variant is \[59\], int64"),
        (np.append(np.arange(59), 3), "variant contains 3 2 times: give 60 different whole numbers"),
    ],
)
def test_wrong_numbers_of_variants_are_refused(tmp_path, numbers, says):
    write_arrays(tmp_path / "mine.npz", variant=numbers)
    with pytest.raises(UserError, match=says):
        load_arrays(tmp_path / "mine.npz")


def test_a_diverged_variant_says_what_its_last_loss_is(tmp_path):
    losses = synthetic().losses
    losses[4, -1], losses[5, -1] = np.inf, np.nan
    write_arrays(tmp_path / "mine.npz", note=None, val_loss=losses)
    errors = load_arrays(tmp_path / "mine.npz").variants["error"]
    assert errors[4] == "val_loss is inf after the last epoch" and errors[5] == "val_loss is nan after the last epoch"
    assert errors[3] is None
    assert table_of(losses, hyperparameters={"error_": np.arange(60)}).variants["error"].notna().sum() == 5


WHOLE = np.linspace(0, -3, 8)


@pytest.mark.parametrize(
    ("place", "value", "complete"),
    [
        (3, np.nan, False),
        (0, np.nan, False),
        (7, np.nan, False),
        (7, -np.inf, False),
        (0, np.inf, False),
        (7, -9, True),
    ],
)
def test_an_incomplete_spectrum_is_not_stretched(place, value, complete):
    """Not used, at that epoch and in the mean of later ones, rather than taken for that of a smaller network."""
    spectra = np.tile(WHOLE, (3, 4, 1))
    spectra[1, 2, place] = value
    spectra[2, :, 5:] = np.nan
    assert usable(spectra).sum() == (12 if complete else 11) and usable(spectra)[1, 2] == complete
    seen = SpectraSoFar.of(spectra, np.linspace(0, 1, 4))
    assert seen.known.sum() == (12 if complete else 11) and seen.known[6] == complete
    if not complete:
        np.testing.assert_allclose(seen.mean[7], WHOLE)
    assert seen.exponents[::4].tolist() == [8, 8, 5]
    losses = np.tile([2.0, 1.5, 1.2, 1.0], (3, 1))
    table = table_of(losses, spectra)
    assert np.isfinite(table.spectra).all(2).sum() == (12 if complete else 11)
    np.testing.assert_allclose(table.spectra[1, 3], WHOLE)


@pytest.mark.parametrize("spectra", [np.full((2, 3, 4), np.nan), np.zeros((2, 3, 0)), np.zeros((0, 3, 4))])
def test_nothing_is_usable_where_nothing_is(spectra):
    assert not usable(spectra).any() and usable(spectra).shape == spectra.shape[:2]


def test_a_single_exponent_is_a_spectrum():
    assert usable(np.array([[[-1.0], [np.nan], [np.inf]]])).tolist() == [[True, False, False]]
