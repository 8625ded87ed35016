"""Hyperparameters as columns, and what lies outside of the known ones."""

import json

import numpy as np
import pandas as pd
import pytest

from aelle.predictor.encoding import Encoding

KNOWN = pd.DataFrame(
    {
        "learning_rate": [1e-3, 1e-2, 1e-1, 3e-2],
        "p": [2.0, 2.5, 3.0, 2.2],
        "cell": ["lstm", "gru", "lstm", "gru"],
        "momentum": [np.nan, 0.5, 0.9, np.nan],
        "batch_size": [32, 32, 32, 32],
        "task": ["a", "a", "a", "a"],
    }
)


def test_columns_are_scaled_numbers_flags_and_words():
    encoding = Encoding.of(KNOWN)
    assert encoding.varied == ["learning_rate", "p", "momentum", "cell"]
    columns = encoding.columns(KNOWN)
    rate = np.log(KNOWN["learning_rate"])
    np.testing.assert_allclose(columns[:, 0], (rate - rate.mean()) / np.log(100))
    np.testing.assert_allclose(columns[:, 1], KNOWN["p"] - KNOWN["p"].mean())
    np.testing.assert_allclose(columns[:, 2], (KNOWN["momentum"].fillna(0.7) - 0.7) / 0.4)
    np.testing.assert_allclose(columns[:, 3], KNOWN["learning_rate"] / KNOWN["learning_rate"].max())
    assert columns[:, 4].tolist() == [0, 1, 1, 0]
    assert columns[:, 5:].tolist() == [[0, 1], [1, 0], [0, 1], [1, 0]]
    quadratic = encoding.columns(KNOWN, quadratic=True)
    assert quadratic.shape == (4, 7 + 3 + 3)
    np.testing.assert_allclose(quadratic[:, 7], columns[:, 0] ** 2)
    np.testing.assert_allclose(quadratic[:, 10], columns[:, 0] * columns[:, 1])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"learning_rate": 1e-5}, "learning_rate=1e-05: known is 0.001 to 0.1"),
        ({"learning_rate": 0.0}, "learning_rate=0: known is 0.001 to 0.1"),
        ({"learning_rate": 0.11}, ""),
        ({"p": 3.05}, ""),
        ({"p": 3.2}, "p=3.2: known is 2 to 3"),
        ({"p": np.inf}, "p=inf: known is 2 to 3"),
        ({"cell": "rnn"}, "cell=rnn: known is gru, lstm"),
        ({"cell": None}, "cell=none: known is gru, lstm"),
        ({"momentum": np.nan}, ""),
        ({"batch_size": 64}, "batch_size=64: known is 32"),
        ({"task": "b"}, "task=b: known is a"),
        ({"p": "wide"}, "p=wide: known is 2 to 3"),
    ],
)
def test_what_lies_outside(changed, said):
    row = KNOWN.iloc[[1]].astype(object).assign(**{name: [value] for name, value in changed.items()})
    encoding = Encoding.of(KNOWN)
    assert encoding.outside(row) == [said]
    assert encoding.outside(KNOWN) == [""] * 4
    assert np.isfinite(encoding.columns(row)).all()


def test_what_is_not_given_is_not_outside():
    assert Encoding.of(KNOWN).outside(KNOWN.drop(columns=["cell", "p"])) == [""] * 4


def test_it_survives_json():
    encoding = Encoding.of(KNOWN)
    again = Encoding.of_state(json.loads(json.dumps(encoding.state())))
    assert again == encoding


def test_no_hyperparameters_give_no_columns():
    encoding = Encoding.of(pd.DataFrame(index=range(3)))
    assert encoding.columns(pd.DataFrame(index=range(3))).shape == (3, 0) and encoding.varied == []


def test_a_word_that_no_known_variant_has_counts_for_nothing():
    encoding = Encoding.of(pd.DataFrame({"cell": ["lstm", "gru", "lstm"]}))
    assert encoding.columns(pd.DataFrame({"cell": ["rnn", "gru"]})).tolist() == [[0, 0], [1, 0]]


@pytest.mark.parametrize("missing", [None, np.nan])
def test_numbers_in_a_column_of_objects_are_numbers(missing):
    known = pd.DataFrame({"p": [2.0, 2.5, 3.0], "momentum": [0.1, missing, 0.9], "cell": ["1", "b", "2"]}, dtype=object)
    encoding = Encoding.of(known)
    assert set(encoding.numbers) == {"p", "momentum"} and encoding.words == {"cell": ["1", "2", "b"]}
    new = pd.DataFrame({"p": [2.7, 9.0], "momentum": [missing, 0.5]}, dtype=object)
    assert encoding.outside(new) == ["", "p=9: known is 2 to 3"]
    as_floats = known.astype({"p": float, "momentum": float})
    np.testing.assert_array_equal(encoding.columns(known), Encoding.of(as_floats).columns(as_floats))


def test_a_column_without_any_value_has_no_numbers():
    encoding = Encoding.of(pd.DataFrame({"momentum": [None, None]}))
    assert encoding.outside(pd.DataFrame({"momentum": [0.9]})) == ["momentum=0.9: known is none"]
