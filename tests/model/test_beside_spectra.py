"""What AeLLE sees beside the curve of a spectrum: how long it is, and covariates."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from aelle import AeLLE
from aelle.analysis.scores import roc_auc
from aelle.lyapunov.spectra_so_far import SpectraSoFar
from aelle.lyapunov.spectrum import common_length, curve
from aelle.model.columns import columns
from aelle.model.scaling import DEVIATION_BESIDE, Scaling

V, K = 90, 16
METHODS = (
    *("predict_proba", "predict_loss", "predict", "latent", "transform", "embed", "reconstruct", "typicality"),
    *("decision_function", "loss_decision_function", "predict_target", "margin"),
)
ONE = {"committee": False, "epochs": 200}


def of_two_lengths(seed: int = 0, short: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spectra of one shape, of which only the length decides the loss: NaN-padded; losses; lengths."""
    rng = np.random.default_rng(seed)
    lengths = rng.permutation(np.arange(V) % 2) * (K - short) + short
    spectra = np.full((V, K), np.nan)
    for row, N in enumerate(lengths):
        spectra[row, :N] = -np.linspace(0, 1, N) + 0.02 * rng.standard_normal(N)
    return spectra, np.where(lengths == K, 0.5, 2.0) * rng.uniform(0.8, 1.2, V), lengths


def with_covariates(seed: int = 0, c: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spectra that say nothing, losses, and covariates of which the second decides."""
    rng = np.random.default_rng(seed)
    covariates = rng.standard_normal((V, c)) * 10.0 ** np.arange(c) + 100
    spectra = -np.linspace(0, 1, K) + 0.05 * rng.standard_normal((V, K))
    return spectra, np.exp((covariates[:, 1] - 100) / 10), covariates


def history(spectra: np.ndarray) -> SpectraSoFar:
    return SpectraSoFar.of(spectra[:, None], [1.0])


def exactly_equal(one: AeLLE, other: AeLLE, given, **beside) -> None:
    for method in METHODS:
        np.testing.assert_array_equal(getattr(one, method)(given, **beside), getattr(other, method)(given, **beside))


@pytest.mark.parametrize("options", [{}, ONE])
@pytest.mark.parametrize("kind", [np.asarray, history])
def test_where_only_the_length_decides_it_is_seen(options, kind):
    spectra, losses, _ = of_two_lengths()
    model = AeLLE(1.0, **options).fit(kind(spectra), losses)
    later, losses, _ = of_two_lengths(seed=1)
    assert roc_auc(losses < 1, model.decision_function(kind(later))) > 0.99
    assert model.reconstruct(kind(later)).shape == (V, K)


def test_where_the_paper_is_followed_the_length_is_not_seen():
    spectra, losses, _ = of_two_lengths()
    model = AeLLE(1.0, **ONE, scaling="range").fit(spectra, losses)
    resampled, _ = common_length(spectra)
    np.testing.assert_array_equal(model.predict_proba(resampled), model.predict_proba(spectra))


def test_the_length_of_a_network_larger_than_those_of_the_fit_can_be_given():
    spectra, losses, lengths = of_two_lengths()
    model = AeLLE(1.0, max_steps=20).fit(spectra, losses)
    curves, found = common_length(spectra)
    seen = SpectraSoFar(curves, curves, np.ones(V), lengths)
    assert (found == lengths).all()
    exactly_equal(model, model, spectra)
    np.testing.assert_array_equal(model.predict_loss(seen), model.predict_loss(spectra))
    assert (model.predict_loss(replace(seen, exponents=4 * lengths)) != model.predict_loss(spectra)).all()


@pytest.mark.parametrize("options", [{}, ONE])
def test_a_length_that_all_share_says_nothing(options):
    """Neither in the fit nor of other networks later: nothing was learned about it."""
    spectra, losses, _ = with_covariates()
    short = np.concatenate([curve(spectra, 7), np.full((V, K - 7), np.nan)], 1)
    curves, exponents = common_length(short)
    assert (exponents == 7).all()
    models = [AeLLE(1.0, **options).fit(given, losses) for given in (short, curves)]
    exactly_equal(*models, curves)
    np.testing.assert_array_equal(models[0].predict_loss(short), models[0].predict_loss(curves))


def test_spectra_end_in_nan_after_the_last_exponent_and_nowhere_else():
    spectra, losses, _ = of_two_lengths()
    model = AeLLE(1.0, max_steps=5).fit(spectra, losses)
    for row, column, value, says in ((3, 0, np.nan, "NaN in row 3"), (2, K - 1, np.inf, "infinity")):
        wrong = spectra.copy()
        wrong[row, column] = value
        for call in (lambda given: model.predict(given), lambda given: AeLLE(1.0).fit(given, losses)):
            with pytest.raises(ValueError, match=says):
                call(wrong)
    wrong[2] = np.nan
    with pytest.raises(ValueError, match="NaN in row 2: leave out networks without a spectrum"):
        model.predict(wrong)


@pytest.mark.parametrize("options", [{}, ONE, {**ONE, "scaling": "range"}])
@pytest.mark.parametrize("kind", [np.asarray, history])
def test_where_only_covariates_decide_they_are_seen(options, kind):
    spectra, losses, covariates = with_covariates()
    model = AeLLE(1.0, **options).fit(kind(spectra), losses, covariates=covariates)
    later, losses, covariates = with_covariates(seed=1)
    assert roc_auc(losses < 1, model.loss_decision_function(kind(later), covariates=covariates)) > 0.97
    if model.scaling == "log":
        assert roc_auc(losses < 1, model.decision_function(kind(later), covariates=covariates)) > 0.97
        assert model.score(kind(later), losses, covariates=covariates) > 0.8


def test_the_validation_part_has_covariates_too():
    spectra, losses, covariates = with_covariates()
    part = with_covariates(seed=1)
    model = AeLLE(1.0, max_steps=20).fit(spectra, losses, covariates=covariates, validation=part)
    other = AeLLE(1.0, max_steps=20).fit(spectra, losses, covariates=covariates)
    np.testing.assert_array_equal(
        model.predict_loss(spectra, covariates=covariates), other.predict_loss(spectra, covariates=covariates)
    )
    assert model.region_.intercept != other.region_.intercept
    for wrong in (part[:2], part[:1], (*part, None)):
        with pytest.raises(ValueError, match=r"give \(spectra, losses, covariates\), as in fit"):
            AeLLE(1.0).fit(spectra, losses, covariates=covariates, validation=wrong)
    with pytest.raises(ValueError, match=r"validation of 3 parts: give \(spectra, losses\), as in fit"):
        AeLLE(1.0).fit(spectra, losses, validation=part)


@pytest.fixture(scope="module")
def fitted() -> AeLLE:
    spectra, losses, covariates = with_covariates()
    return AeLLE(1.0, max_steps=20).fit(spectra, losses, covariates=covariates)


def test_saved_and_loaded_a_model_with_covariates_is_the_same(fitted, tmp_path):
    fitted.save(tmp_path)
    spectra, _, covariates = with_covariates(seed=1)
    exactly_equal(fitted, AeLLE.load(tmp_path), spectra, covariates=covariates)
    padded, losses, _ = of_two_lengths()
    model = AeLLE(1.0, max_steps=5).fit(padded, losses)
    model.save(tmp_path)
    exactly_equal(model, AeLLE.load(tmp_path), padded)


def test_covariates_are_standardised_and_of_any_kind_of_array(fitted):
    spectra, losses, covariates = with_covariates()
    again = AeLLE(1.0, max_steps=20).fit(spectra, losses, covariates=3 * covariates - 7)
    expected = fitted.predict_loss(spectra, covariates=covariates)
    np.testing.assert_allclose(again.predict_loss(spectra, covariates=3 * covariates - 7), expected, rtol=1e-4)
    for given in (torch.as_tensor(covariates), covariates.tolist()):
        np.testing.assert_array_equal(fitted.predict_loss(spectra, covariates=given), expected)
    plane = AeLLE(1.0, max_steps=20).fit_transform(spectra, losses, covariates=covariates)
    np.testing.assert_array_equal(plane, fitted.transform(spectra, covariates=covariates))


def test_covariates_and_length_count_as_more_than_one_point():
    spectra, losses, covariates = with_covariates()
    spectra[::2, 8:] = np.nan
    seen, _ = common_length(spectra)
    given = columns(history(spectra), K, logarithmic=True, covariates=covariates)
    scaled = Scaling.of(given, losses, 1.0).inputs(given.values).numpy()
    for name in ("length", "covariates"):
        np.testing.assert_allclose(scaled[:, given.blocks[name]].std(0), DEVIATION_BESIDE)
    plain = columns(history(seen), K, logarithmic=False, covariates=covariates)
    assert "length" not in plain.blocks
    scaled = Scaling.of(plain, losses, 1.0, "range").inputs(plain.values).numpy()
    np.testing.assert_allclose(scaled[:, plain.blocks["covariates"]].std(0), 1)
    np.testing.assert_array_equal(scaled[:, plain.blocks["spectrum"]], seen)


def test_a_covariate_that_all_share_says_nothing(fitted):
    spectra, losses, covariates = with_covariates()
    shared = np.where(np.arange(3) == 0, 0.1, covariates)
    model = AeLLE(1.0, max_steps=20).fit(spectra, losses, covariates=shared)
    expected = model.predict_loss(spectra, covariates=shared)
    shared[:, 0] = 1e6
    np.testing.assert_array_equal(model.predict_loss(spectra, covariates=shared), expected)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c[:, 0], r"covariates of shape \[90\]: give \[90, "),
        (lambda c: c[:5], r"covariates of shape \[5, 3\]: give \[90, "),
        (lambda c: c[:, :0], r"covariates of shape \[90, 0\]: give \[90, "),
        (lambda c: np.where(np.arange(3) == 1, np.nan, c), "NaN or infinity in column 1: give finite numbers"),
        (lambda c: np.where(np.arange(3) == 2, np.inf, c), "NaN or infinity in column 2: give finite numbers"),
        (lambda c: np.full((90, 3), "adam"), "covariates must be numbers"),
    ],
)
def test_covariates_that_do_not_fit_are_refused(fitted, change, says):
    spectra, losses, covariates = with_covariates()
    with pytest.raises(ValueError, match=says):
        AeLLE(1.0).fit(spectra, losses, covariates=change(covariates))
    for method in METHODS:
        with pytest.raises(ValueError, match=says):
            getattr(fitted, method)(spectra, covariates=change(covariates))


def test_a_model_needs_the_covariates_of_its_fit(fitted):
    spectra, losses, covariates = with_covariates()
    for method in METHODS:
        with pytest.raises(ValueError, match=r"fitted with 3 covariates: give covariates=\[90, 3\], too"):
            getattr(fitted, method)(spectra)
    with pytest.raises(ValueError, match=r"give \[90, 3\], .* that the model was fitted with"):
        fitted.predict(spectra, covariates=covariates[:, :2])
    without = AeLLE(1.0, max_steps=5).fit(spectra, losses)
    with pytest.raises(ValueError, match="fitted without covariates: leave them out"):
        without.predict(spectra, covariates=covariates)
