"""Spectra and covariates as frames: their columns have names, and an order."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest

from aelle import AeLLE, LossRegressor

V, M = 60, 8
NAMES = [f"exponent {i}" for i in range(M)]


def spectra_and_losses(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    depth = rng.uniform(1, 6, V)
    return -depth[:, None] * np.linspace(0, 1, M) ** 2 + 0.05 * rng.standard_normal((V, M)), np.exp(depth - 3.5)


def frame(values: np.ndarray, names=NAMES) -> pd.DataFrame:
    return pd.DataFrame(values, columns=names)


@pytest.fixture(scope="module")
def fitted() -> AeLLE:
    spectra, losses = spectra_and_losses()
    return AeLLE(1.0, max_steps=50).fit(frame(spectra), losses)


def test_the_names_of_columns_are_kept(fitted, tmp_path):
    spectra, losses = spectra_and_losses()
    assert list(fitted.feature_names_in_) == NAMES and fitted.feature_names_in_.dtype == object
    fitted.save(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = AeLLE.load(tmp_path)
    assert list(loaded.feature_names_in_) == NAMES
    np.testing.assert_array_equal(loaded.predict_proba(frame(spectra)), fitted.predict_proba(frame(spectra)))
    again = AeLLE(1.0, max_steps=2).fit(frame(spectra), losses).fit(spectra, losses)
    assert not hasattr(again, "feature_names_in_")


def test_a_regressor_has_the_names_too():
    spectra, losses = spectra_and_losses()
    model = LossRegressor(AeLLE(1.0, max_steps=2))
    assert not hasattr(model, "feature_names_in_")
    named = model.fit(frame(spectra), losses)
    assert list(named.feature_names_in_) == NAMES
    with pytest.raises(ValueError, match="order"):
        named.predict(frame(spectra).iloc[:, ::-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        named.predict(frame(spectra))
    assert not hasattr(model.fit(spectra, losses), "feature_names_in_")


def test_names_of_several_types_are_refused():
    spectra, losses = spectra_and_losses()
    mixed = frame(spectra, ["a", *range(M - 1)])
    with pytest.raises(ValueError, match="spectra have columns named by texts and by others: give names of one type"):
        AeLLE(1.0, max_steps=2).fit(mixed, losses)
    model = AeLLE(1.0, max_steps=2).fit(spectra, losses)
    with pytest.raises(ValueError, match="spectra have columns named by texts and by others: give names of one type"):
        model.predict(mixed)


@pytest.mark.parametrize(
    "names",
    [
        NAMES,
        range(M),
        np.linspace(0, 1, M),
        pd.MultiIndex.from_product([["exponent"], range(M)]),
        pd.date_range("2024-01-01", periods=M),
        pd.Index(range(M), dtype="Int64"),
    ],
)
def test_columns_in_another_order_are_refused(names, tmp_path):
    """They moved chances in silence."""
    spectra, losses = spectra_and_losses()
    model = AeLLE(1.0, max_steps=50).fit(frame(spectra, names), losses)
    assert hasattr(model, "feature_names_in_") == (names is NAMES)
    model.save(tmp_path)
    swapped = frame(spectra, names).iloc[:, ::-1]
    moved = np.abs(model.predict_proba(spectra[:, ::-1]) - model.predict_proba(spectra)).max()
    assert moved > 0.1
    for one in (model, AeLLE.load(tmp_path)):
        for method in ("predict_proba", "transform", "predict_loss", "latent", "reconstruct"):
            with pytest.raises(ValueError, match=r"order"):
                getattr(one, method)(swapped)
    with pytest.raises(
        ValueError, match=re.escape(f"column 0 of spectra is {names[-1]}, and was {names[0]} in the fit")
    ):
        AeLLE(1.0, max_steps=2).fit(frame(spectra, names), losses, validation=(swapped, losses))


def test_columns_of_other_names_or_another_number_are_refused(fitted):
    spectra, _ = spectra_and_losses()
    with pytest.raises(ValueError, match="should match those that were passed during fit"):
        fitted.predict(frame(spectra, [f"λ{i}" for i in range(M)]))
    with pytest.raises(ValueError, match="should match those that were passed during fit"):
        fitted.predict(frame(spectra).iloc[:, 1:])


def test_spectra_without_names_are_read_by_position(fitted):
    spectra, losses = spectra_and_losses()
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        chances = fitted.predict_proba(spectra)
    np.testing.assert_array_equal(chances, fitted.predict_proba(frame(spectra)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        AeLLE(1.0, max_steps=2).fit(frame(spectra), losses, validation=(frame(spectra), losses))


def test_covariates_in_another_order_are_refused(tmp_path):
    spectra, losses = spectra_and_losses()
    beside = pd.DataFrame({"rate": np.log(losses), "p": np.linspace(0, 1, V)})
    model = AeLLE(1.0, max_steps=20).fit(spectra, losses, covariates=beside)
    model.save(tmp_path)
    for one in (model, AeLLE.load(tmp_path)):
        chances = one.predict_proba(spectra, covariates=beside)
        np.testing.assert_array_equal(chances, one.predict_proba(spectra, covariates=beside.to_numpy()))
        for wrong in (beside[["p", "rate"]], beside.rename(columns={"rate": "p2"})):
            with pytest.raises(
                ValueError, match=r"column 0 of covariates is .*, and was rate in the fit: give the columns"
            ):
                one.predict_proba(spectra, covariates=wrong)
    with pytest.raises(ValueError, match="column 0 of covariates is p, and was rate"):
        model.fit(spectra, losses, covariates=beside, validation=(spectra, losses, beside[["p", "rate"]]))


def test_the_plane_comes_as_a_frame_where_frames_are_asked_for(fitted):
    spectra, losses = spectra_and_losses()
    given = frame(spectra).set_index(np.arange(V) + 100)
    expected = fitted.transform(given)
    model = AeLLE(1.0, max_steps=50).set_output(transform="pandas")
    found = model.fit_transform(given, losses)
    assert isinstance(found, pd.DataFrame) and list(found.columns) == ["PC1", "PC2"] == list(
        model.get_feature_names_out()
    )
    assert list(found.index) == list(given.index)
    np.testing.assert_array_equal(found.to_numpy(), expected)
    # What is computed from the plane is an array as before.
    np.testing.assert_array_equal(model.predict_proba(given), fitted.predict_proba(given))
