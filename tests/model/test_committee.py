"""A committee: what its members learn from, how they are weighted, and its latent."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError

from aelle import AeLLE
from aelle.analysis.scores import roc_auc
from aelle.errors import TooFewError
from aelle.lyapunov.spectra_so_far import SpectraSoFar
from aelle.model.columns import CONDITIONS, EXACT, columns
from aelle.model.committee import gauge, weighted
from aelle.model.fitting import _judged, _prepared, _trainees
from aelle.model.samples import Sample, checked
from aelle.model.views import COMMITTEE, FOLDS, usable

V, E, M = 60, 5, 12
SHARE = np.arange(E) / (E - 1)


def trainings(seed: int = 0, variants: int = V) -> tuple[SpectraSoFar, np.ndarray, np.ndarray]:
    """A steep spectrum means a high loss at first, and a low one at the end; rows, losses and groups."""
    rng = np.random.default_rng(seed)
    quality = rng.uniform(-1, 1, variants)
    steepness = 3 + np.outer(quality, np.linspace(1, -1, E)) + 0.05 * rng.standard_normal((variants, E))
    spectra = -steepness[:, :, None] * np.linspace(0, 1, M)
    losses = np.exp(quality)
    return SpectraSoFar.of(spectra, SHARE), losses.repeat(E), np.arange(variants).repeat(E)


@pytest.fixture(scope="module")
def fitted() -> AeLLE:
    seen, losses, groups = trainings()
    return AeLLE(1.0).fit(seen, losses, groups=groups)


def test_what_a_spectrum_means_depends_on_the_stage_of_training(fitted):
    seen, losses, _ = trainings(seed=1, variants=200)
    at = np.tile(np.arange(E), 200)
    for epoch in (0, E - 1):
        rows = at == epoch
        assert roc_auc(losses[rows] < 1, fitted.decision_function(seen.take(rows))) > 0.95
    # Without the stage, one row cannot tell, whatever is fitted to it.
    blind = AeLLE(1.0).fit(seen.last, losses)
    ends = [roc_auc(losses[at == e] < 1, blind.decision_function(seen.last[at == e])) for e in (0, E - 1)]
    assert min(ends) < 0.7


def test_the_plane_shows_what_the_head_knows(fitted):
    seen, losses, _ = trainings(seed=2)
    prediction, points = fitted.predict_target(seen), fitted.transform(seen)
    assert np.corrcoef(prediction, points[:, 0])[0, 1] == pytest.approx(-1)
    assert roc_auc(losses < 1, points[:, 0]) == roc_auc(losses < 1, -prediction)
    own, _, _ = trainings()
    latent = fitted.latent(own)
    axes = PCA(3).fit(latent).components_
    np.testing.assert_allclose(np.abs(axes @ fitted.axes_[:3].T), np.eye(3), atol=1e-6)
    np.testing.assert_allclose(fitted.embed(seen)[:, :2], points)
    assert fitted.embed(seen, 5).shape == (len(seen), 5)


def test_where_spectra_say_nothing_the_plane_shows_nothing():
    for seed in range(4):
        seen, losses, groups = trainings(seed)
        shuffled = np.random.default_rng(seed).permutation(losses.reshape(V, E)[:, 0]).repeat(E)
        model = AeLLE(1.0, seed=seed).fit(seen, shuffled, groups=groups)
        prediction, plane = model.predict_target(seen), model.transform(seen)[:, 0]
        stretch = plane.std() / prediction.std() if prediction.std() > 1e-9 else 0.0
        np.testing.assert_allclose(plane, -stretch * (prediction - prediction.mean()), atol=1e-6 + 1e-2 * plane.std())


def test_a_gauge_changes_the_basis_of_the_latent_and_nothing_else():
    rng = np.random.default_rng(0)
    latents, prediction = rng.standard_normal((50, 6)), rng.standard_normal(50)
    found = gauge(latents, prediction, 7)(np.concatenate([latents, prediction[:, None]], 1))
    covariance = np.cov(found.T)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-9)
    assert (np.diff(np.diag(covariance)) < 0).all()
    # Both ways linear: the members' latents follow from the committee's.
    back = np.linalg.lstsq(np.c_[found, np.ones(50)], latents, rcond=None)[0]
    np.testing.assert_allclose(np.c_[found, np.ones(50)] @ back, latents, atol=1e-9)


def test_weights_are_those_of_who_predicts_best_at_a_stage():
    rng = np.random.default_rng(0)
    n = 400
    targets, stage = np.tile(rng.standard_normal(n), 2), np.repeat([0.0, 1.0], n)
    early = np.where(stage == 0, targets, rng.standard_normal(2 * n))
    late = np.where(stage == 1, targets, rng.standard_normal(2 * n))
    found = weighted(np.stack([early, late, -targets]), targets, stage)
    np.testing.assert_array_equal(found.stages, [0, 1])
    np.testing.assert_allclose(found.of_views, [[1, 0, 0], [0, 1, 0]], atol=0.1)
    np.testing.assert_allclose(found.at(np.array([0.5]))[0], found.of_views.mean(0))
    assert (found.of_views >= 0).all()


def test_no_member_learns_from_the_fold_that_judges_it():
    seen, losses, groups = trainings()
    one = _prepared(AeLLE(1.0), Sample(seen, losses, groups))
    weights = _trainees(one, 0.3).weights.numpy().reshape(FOLDS, len(COMMITTEE), -1)
    for fold in range(FOLDS):
        assert (weights[fold][:, one.fold == fold] == 0).all() and (weights[fold][:, one.fold != fold] > 0).all()
    assert (one.fold.reshape(V, E) == one.fold.reshape(V, E)[:, :1]).all()


@pytest.mark.parametrize("lengths", [[M], [M, 2 * M]])
def test_a_view_sees_its_columns_and_reconstructs_all_but_conditions(lengths):
    seen, losses, groups = trainings()
    seen = replace(seen, exponents=np.resize(lengths, V).repeat(E))
    one = _prepared(AeLLE(1.0), Sample(seen, losses, groups, covariates=losses[:, None]))
    assert ("covariates" in one.given.blocks) and np.isfinite(one.scaling.scale[one.given.blocks["covariates"]]).all()
    assert np.isfinite(one.scaling.scale[one.given.blocks["length"]]).all() == (len(lengths) > 1)
    trainees = _trainees(one, 0.3)
    varied = np.isfinite(one.scaling.scale)
    for m, view in enumerate(one.views * FOLDS):
        for name, block in one.given.blocks.items():
            inside = varied[block] & (name in view.blocks)
            assert (trainees.sees[m, block] == (name in view.blocks)).all()
            np.testing.assert_array_equal(trainees.noise[m, block] > 0, inside & (name not in EXACT))
            np.testing.assert_array_equal(trainees.reconstructs[m, block] > 0, inside & (name not in CONDITIONS))
    torch.testing.assert_close(trainees.reconstructs.sum(1), torch.ones(len(trainees.sees)))


def test_the_length_of_a_spectrum_enters():
    """Curves alike, losses by the number of exponents they are made of."""
    rng = np.random.default_rng(0)
    spectra = -np.linspace(0, 1, M) + 0.05 * rng.standard_normal((V, E, M))
    exponents = rng.choice([16, 64], V)
    seen = replace(SpectraSoFar.of(spectra, SHARE), exponents=exponents.repeat(E))
    losses = np.where(exponents == 16, 0.5, 2.0) * rng.uniform(0.8, 1.2, V)
    model = AeLLE(1.0).fit(seen, losses.repeat(E), groups=np.arange(V).repeat(E))
    assert ((model.predict_proba(seen)[:, 1] > 0.5) == (losses < 1).repeat(E)).all()


def test_where_only_spectra_are_known_views_of_more_are_left_out():
    seen, _, _ = trainings()
    blocks = list(columns(seen, M, logarithmic=False).blocks)
    assert blocks == ["spectrum"] and [view.stage for view in usable(COMMITTEE, blocks)] == [0, 1 / 3, 2 / 3, 1, None]


def test_a_spectrum_unlike_those_of_the_fit_is_known_by_its_reconstruction(fitted):
    seen, _, _ = trainings(seed=3, variants=200)
    typicality = fitted.typicality(seen)
    assert ((typicality >= 0) & (typicality <= 1)).all() and 0.35 < np.median(typicality) < 0.65
    bent = replace(seen, last=seen.last * np.where(np.arange(M) % 2, 1.5, 0.5))
    assert fitted.typicality(bent).max() < 0.01
    far = replace(seen, last=1e3 * seen.last)
    assert fitted.typicality(far).max() < 0.01 and np.isfinite(fitted.predict_loss(far)).all()


def test_saved_and_loaded_a_committee_is_the_same(fitted, tmp_path):
    seen, _, _ = trainings(seed=4)
    fitted.save(tmp_path)
    loaded = AeLLE.load(tmp_path)
    for method in ("predict_proba", "predict_loss", "latent", "reconstruct", "typicality", "loss_decision_function"):
        np.testing.assert_array_equal(getattr(loaded, method)(seen), getattr(fitted, method)(seen))


def test_a_row_does_not_depend_on_the_others(fitted):
    seen, _, _ = trainings(seed=5)
    alone = np.concatenate([fitted.predict_target(seen.take(np.array([row]))) for row in range(7)])
    np.testing.assert_allclose(alone, fitted.predict_target(seen)[:7], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mean": np.zeros((3, M))}, "mean of shape"),
        ({"mean": np.full((V * E, M), np.nan)}, "mean contains NaN"),
        ({"share": np.full(V * E, 1.5)}, "numbers from 0 to 1"),
        ({"share": np.zeros(3)}, "share of shape"),
        ({"exponents": np.zeros(V * E, dtype=int)}, "whole numbers above 0"),
        ({"last": np.full((V * E, M), np.nan)}, "NaN"),
    ],
)
def test_spectra_so_far_that_do_not_fit_together_are_refused(fitted, change, says):
    seen, losses, groups = trainings()
    object.__setattr__(seen, *next(iter(change.items())))
    with pytest.raises(ValueError, match=says):
        AeLLE(1.0).fit(seen, losses, groups=groups)
    with pytest.raises(ValueError, match=says):
        fitted.predict(seen)


@pytest.mark.parametrize("committee", [True, False])
@pytest.mark.parametrize("scaling", ["log", "range"])
def test_spectra_that_are_all_equal_are_one_clear_error(committee, scaling):
    losses = np.exp(np.random.default_rng(0).standard_normal(60))
    model = AeLLE(1.0, max_steps=50, committee=committee, scaling=scaling)
    with pytest.raises(
        TooFewError, match=r"^all (48|60) spectra are equal, so that nothing can be learned from them: "
    ):
        model.fit(np.full((60, 6), -1.0), losses)
    assert not hasattr(model, "committee_")
    differ = np.full((60, 6), -1.0)
    differ[0] = -2.0
    assert np.isfinite(model.fit(differ, losses).predict_proba(differ)).all()


@pytest.mark.parametrize("beside", ["length", "covariates"])
def test_equal_spectra_with_something_else_that_differs_can_be_fitted(beside):
    rng = np.random.default_rng(0)
    losses = np.exp(rng.standard_normal(60))
    spectra, covariates = np.full((60, 6), -1.0), np.log(losses)[:, None] if beside == "covariates" else None
    if beside == "length":
        spectra[losses < 1, 4:] = np.nan
    model = AeLLE(1.0, max_steps=50).fit(spectra, losses, covariates=covariates)
    assert model.score(spectra, losses, covariates=covariates) > 0.9


def test_members_that_see_nothing_but_equal_features_are_left_out(tmp_path):
    """The last spectra are all equal, the means of the spectra so far are not."""
    rng, n = np.random.default_rng(0), 60
    losses = np.exp(rng.standard_normal(n))
    given = SpectraSoFar(np.full((n, 6), -1.0), -1 - losses[:, None] * np.linspace(0, 1, 6), np.ones(n), np.full(n, 6))
    model = AeLLE(1.0, max_steps=50).fit(given, losses)
    assert model.score(given, losses) > 0.9
    model.save(tmp_path)
    np.testing.assert_array_equal(AeLLE.load(tmp_path).predict_proba(given), model.predict_proba(given))


def test_many_rows_are_judged_by_whole_groups_of_both_classes():
    groups = np.arange(20_000).repeat(4)
    losses = np.where(np.arange(20_000) == 7, 0.1, 2.0).repeat(4)
    rows = checked(Sample(np.zeros((80_000, 2)), losses, groups))
    found = _judged(rows)
    assert len(found) == 2048 and (np.bincount(groups[found])[np.unique(groups[found])] == 4).all()
    assert (losses[found] < 1).sum() == 4


def test_a_diverged_variant_is_high_error_where_all_others_are_low_error():
    rng = np.random.default_rng(0)
    spectra = np.linspace(0, 1, M) * np.repeat([-1.0, -4.0], 30)[:, None] + 0.05 * rng.standard_normal((60, M))
    losses = np.repeat([0.1, np.inf], 30)
    assert roc_auc(losses < 0.5, AeLLE(0.5).fit(spectra, losses).decision_function(spectra)) > 0.99


@pytest.mark.parametrize("threshold", [0.0, -1.0, np.nan, np.inf])
def test_a_threshold_that_no_loss_can_be_held_against_is_refused(threshold):
    seen, losses, groups = trainings()
    with pytest.raises(ValueError, match="give a finite loss above 0"):
        AeLLE(threshold).fit(seen, losses, groups=groups)


def test_a_failed_fit_leaves_an_unfitted_model(fitted, tmp_path):
    seen, losses, groups = trainings()
    model = AeLLE(1.0, max_steps=2).fit(seen, losses, groups=groups)
    low = losses < 1
    with pytest.raises(ValueError, match="all high-error"):
        model.fit(seen, losses, groups=groups, validation=(seen.take(~low), losses[~low]))
    with pytest.raises(NotFittedError):
        model.save(tmp_path)


def test_a_model_of_histories_asks_for_them(fitted):
    seen, losses, groups = trainings()
    with pytest.raises(ValueError, match="in both or in none"):
        AeLLE(1.0).fit(seen, losses, groups=groups, validation=(seen.last, losses))
    with pytest.raises(ValueError, match=r"SpectraSoFar: give these"):
        fitted.predict(seen.last)
    plain = AeLLE(1.0, max_steps=5).fit(seen.last, losses, groups=groups)
    np.testing.assert_array_equal(plain.predict_loss(seen), plain.predict_loss(seen.last))
    with pytest.raises(ValueError, match="n_components=40: give a whole number from 1 to 32"):
        fitted.embed(seen, 40)


def one_epoch_alone(seen: SpectraSoFar) -> SpectraSoFar:
    return replace(seen, mean=seen.last)


def test_a_single_epochs_spectrum_in_the_place_of_the_mean_is_said(fitted, tmp_path):
    """It changed chances in silence."""
    seen, _, _ = trainings(seed=6)
    later = seen.take(seen.share > 0)
    right = fitted.predict_proba(later)
    fitted.save(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = AeLLE.load(tmp_path)
    for model in (fitted, loaded):
        with pytest.warns(UserWarning, match=r"after 25 % .* in every row \(240\).*aelle.spectra_so_far"):
            wrong = model.predict_proba(one_epoch_alone(later))
        assert np.abs(wrong - right).max() > 0.1
        with pytest.warns(UserWarning, match=r"after 100 % .* in every row \(1\)"):
            model.predict_loss(SpectraSoFar.of(seen.last[None, E - 1 : E], [1.0]))


def test_a_mean_that_may_be_one_is_not_doubted(fitted):
    seen, losses, groups = trainings(seed=6)
    first, later = seen.take(seen.share == 0), seen.take(seen.share > 0)
    still = replace(later, mean=np.where(np.arange(len(later))[:, None] == 0, later.last, later.mean))
    alone = one_epoch_alone(seen)
    of_last = AeLLE(1.0, max_steps=2).fit(alone, losses, groups=groups)
    without_mean = AeLLE(1.0, max_steps=2, scaling="range").fit(seen, losses, groups=groups)
    of_spectra = AeLLE(1.0, max_steps=2).fit(seen.last, losses, groups=groups)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for given in (seen, first, later, still):
            fitted.predict(given)
        for model in (of_last, without_mean, of_spectra):
            model.predict(alone)


@pytest.mark.parametrize("options", [{"latent_size": 1, "n_components": 1}, {"scaling": "range"}, {"points": 3}])
def test_other_options_fit(options):
    seen, losses, groups = trainings()
    model = AeLLE(1.0, max_steps=20, **options).fit(seen, losses, groups=groups)
    assert model.latent(seen).shape == (V * E, model.latent_size) and model.reconstruct(seen).shape == (V * E, M)


def test_few_variants_and_one_exponent_are_enough():
    seen, losses, groups = trainings(variants=8)
    narrow = SpectraSoFar(seen.last[:, -1:], seen.mean[:, -1:], seen.share, np.ones(len(seen), dtype=int))
    for given in (seen, narrow):
        chance = AeLLE(1.0, max_steps=20).fit(given, losses, groups=groups).predict_proba(given)
        assert np.isfinite(chance).all()
