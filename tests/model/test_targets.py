"""Losses, or the classes that they give, and scikit-learn's tools around them."""

import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sklearn
import torch
from scipy.stats import spearmanr
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, get_scorer, get_scorer_names, mean_squared_error, roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from aelle import AeLLE, LossRegressor, loss_scorer
from aelle.lyapunov import SpectraSoFar
from aelle.model.scoring import OF_LOSSES
from aelle.model.targets import FACTOR_OF_A_CLASS, target

V, M, THRESHOLD = 40, 8, 1.0
MODEL = AeLLE(THRESHOLD, max_steps=30)


def spectra_and_losses(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    depth = rng.uniform(1, 6, V)
    return -depth[:, None] * np.linspace(0, 1, M) ** 2 + 0.05 * rng.standard_normal((V, M)), np.exp(depth - 3.5)


SPECTRA, LOSSES = spectra_and_losses()
LOW = LOSSES < THRESHOLD


def test_classes_beside_their_losses_give_the_model_of_the_losses():
    expected = sklearn.clone(MODEL).fit(SPECTRA, LOSSES).predict_proba(SPECTRA)
    for y in (LOW, LOW.astype(int), 2 * LOW.astype(np.int8) - 1, pd.Series(LOW, dtype=object), torch.as_tensor(LOW)):
        model = sklearn.clone(MODEL).fit(SPECTRA, y, losses=LOSSES)
        np.testing.assert_array_equal(model.predict_proba(SPECTRA), expected)
        assert list(model.classes_) == sorted(set(np.asarray(y).tolist()))
        np.testing.assert_array_equal(model.predict(SPECTRA) == model.classes_[1], expected[:, 1] > 0.5)
        assert model.score(SPECTRA, y) == model.score(SPECTRA, LOSSES)
    np.testing.assert_array_equal(sklearn.clone(MODEL).fit(SPECTRA, losses=LOSSES).predict_proba(SPECTRA), expected)


WHOLE = np.where(LOW, 2, 1)


@pytest.mark.parametrize(
    "y",
    [
        pd.Series(WHOLE, dtype="Int64"),
        pd.Series(WHOLE, dtype="UInt8"),
        pd.Series(WHOLE, dtype="int64[pyarrow]"),
        pd.Series(WHOLE, dtype="category"),
        pd.DataFrame({"y": pd.Series(WHOLE, dtype="Int64")}),
        pd.array(WHOLE.tolist(), dtype="Int64"),
        pd.Index(WHOLE, dtype="Int64"),
        pa.array(WHOLE),
        WHOLE.astype(object),
        WHOLE.tolist(),
        pd.Series(LOW, dtype="boolean"),
        pd.Series(LOW, dtype="bool[pyarrow]"),
        pd.Series(LOW, dtype="category"),
        pa.array(LOW),
        LOW.tolist(),
    ],
)
@pytest.mark.filterwarnings("ignore:A column-vector y")
def test_classes_are_classes_in_every_type_of_column(y):
    low_alone = sklearn.clone(MODEL).fit(SPECTRA, LOW).predict_proba(SPECTRA)
    model = sklearn.clone(MODEL).fit(SPECTRA, y)
    np.testing.assert_array_equal(model.predict_proba(SPECTRA), low_alone)
    assert model.score(SPECTRA, y) == model.score(SPECTRA, LOSSES) > 0.9
    with_losses = sklearn.clone(MODEL).fit(SPECTRA, y, losses=LOSSES).predict_proba(SPECTRA)
    np.testing.assert_array_equal(with_losses, sklearn.clone(MODEL).fit(SPECTRA, LOSSES).predict_proba(SPECTRA))


def test_losses_are_losses_in_every_type_of_column():
    expected = sklearn.clone(MODEL).fit(SPECTRA, LOSSES).predict_proba(SPECTRA)
    for kind in ("Float64", "double[pyarrow]", "category", object):
        found = sklearn.clone(MODEL).fit(SPECTRA, pd.Series(LOSSES, dtype=kind)).predict_proba(SPECTRA)
        np.testing.assert_array_equal(found, expected)
    lost = np.where(np.arange(V) == LOSSES.argmax(), np.nan, LOSSES)
    by_na = sklearn.clone(MODEL).fit(SPECTRA, pd.Series(lost, dtype="Float64")).predict_proba(SPECTRA)
    np.testing.assert_array_equal(by_na, sklearn.clone(MODEL).fit(SPECTRA, lost).predict_proba(SPECTRA))
    whole = np.where(LOW, 1, 9)
    beside, floats = (AeLLE(2.0, max_steps=30).fit(SPECTRA, losses=one) for one in (whole, whole.astype(float)))
    np.testing.assert_array_equal(beside.predict_proba(SPECTRA), floats.predict_proba(SPECTRA))


@pytest.mark.parametrize(
    "y",
    [
        pd.Series([None, *LOW[1:]], dtype="boolean"),
        pd.Series([None, *WHOLE[1:]], dtype="Int64"),
        pd.Series([None, *WHOLE[1:].tolist()], dtype="int64[pyarrow]"),
        pd.Series([None, *WHOLE[1:].tolist()], dtype=object),
        pd.Series([np.nan, *WHOLE[1:]]).astype("Int64").astype("category"),
        pa.array([None, *LOW[1:].tolist()]),
        [None, *LOW[1:]],
        [None, *LOSSES[1:]],
    ],
)
def test_missing_classes_are_refused(y):
    with pytest.raises(ValueError, match=r"y has no value in row 0: leave out rows without a class"):
        sklearn.clone(MODEL).fit(SPECTRA, y)


def test_classes_alone_are_learned(tmp_path):
    model = AeLLE(THRESHOLD).fit(SPECTRA, 2 * LOW - 1)
    later, losses = spectra_and_losses(seed=1)
    assert model.score(later, losses) > 0.9 and roc_auc_score(losses < THRESHOLD, model.decision_function(later)) > 0.95
    model.save(tmp_path)
    loaded = AeLLE.load(tmp_path)
    assert set(loaded.predict(later)) == {-1, 1} and list(loaded.classes_) == [-1, 1]
    found = target(LOW, None, THRESHOLD).losses
    np.testing.assert_allclose(found[[LOW.argmax(), LOW.argmin()]], [1 / FACTOR_OF_A_CLASS, FACTOR_OF_A_CLASS])


def test_a_model_of_losses_knows_its_classes_as_before():
    model = sklearn.clone(MODEL).fit(SPECTRA, LOSSES)
    assert list(model.classes_) == [0, 1] and set(model.predict(SPECTRA)) == {0, 1}
    assert model.score(SPECTRA, LOW) == model.score(SPECTRA, LOSSES) == (model.predict(SPECTRA) == LOW).mean()


@pytest.mark.parametrize(
    ("y", "beside", "says"),
    [
        (None, None, "requires y to be passed, but the target y is None"),
        (LOSSES, LOSSES, "y and losses both contain losses"),
        (~LOW, LOSSES, "give y = losses < threshold"),
        (LOW, LOSSES[:5], r"losses of shape \[5\]: give 40 numbers"),
        (np.ones(V, bool), None, "1 class only, True"),
        (np.zeros(V, int), LOSSES, "1 class only, 0"),
        (np.arange(V), LOSSES, "Only binary classification is supported"),
        (np.arange(V) + 1, None, "40 different whole numbers: give losses as floats"),
        ([True, *LOSSES[1:]], None, "y has booleans among other values"),
        (np.ma.array(WHOLE, mask=np.arange(V) == 3), None, "y has masked values"),
        (LOW, LOW, "losses of bool: give final losses as numbers"),
        (None, LOW, "losses of bool: give final losses as numbers"),
        (np.where(LOW, "low", "high"), None, "or classes as booleans, True for low error"),
        (LOW.astype(float), None, "give losses above 0, or classes as booleans"),
        (np.full(V, np.nan), None, "0 of 40 variants are low-error|no finite loss"),
        (LOW[:5], None, "inconsistent numbers of samples"),
        (np.zeros(0, int), None, "inconsistent numbers of samples"),
        (np.stack([LOW, LOW], 1), None, "y should be a 1d array"),
        (LOW, np.full(V, np.nan), "give y = losses < threshold"),
        (LOW, np.stack([LOSSES, LOSSES], 1), "y should be a 1d array"),
    ],
)
def test_targets_that_mean_nothing_are_refused(y, beside, says):
    with pytest.raises(ValueError, match=says):
        sklearn.clone(MODEL).fit(SPECTRA, y, losses=beside)


def test_a_class_that_the_fit_had_not_is_refused_in_score():
    model = sklearn.clone(MODEL).fit(SPECTRA, LOW)
    with pytest.raises(ValueError, match="give classes of the fit"):
        model.score(SPECTRA, np.arange(V) % 2 + 5)
    with pytest.raises(
        ValueError, match=r"a loss of 0 is not positive: .* give losses above 0, or classes as booleans"
    ):
        model.score(SPECTRA, LOW.astype(float))


def test_the_validation_part_may_be_classes():
    later, losses = spectra_and_losses(seed=1)
    low = losses < THRESHOLD
    chances = [
        sklearn.clone(MODEL).fit(SPECTRA, LOSSES, validation=(later, y)).predict_proba(SPECTRA) for y in (losses, low)
    ]
    np.testing.assert_array_equal(*chances)


def test_a_diverged_variant_is_a_class_too():
    losses = np.where(np.arange(V) == LOSSES.argmax(), np.nan, LOSSES)
    found = cross_val_predict(MODEL, SPECTRA, losses < THRESHOLD, method="predict_proba", params={"losses": losses})
    assert np.isfinite(found).all()


def test_encoded_losses_are_refused_and_the_remedy_works():
    with pytest.raises(ValueError, match=r"give the classes, y = losses < threshold, and the losses by params="):
        cross_val_predict(MODEL, SPECTRA, LOSSES, method="predict_proba")
    chances = cross_val_predict(MODEL, SPECTRA, LOW, method="predict_proba", params={"losses": LOSSES})
    assert chances.shape == (V, 2) and roc_auc_score(LOW, chances[:, 1]) > 0.95
    share, mean = calibration_curve(LOW, chances[:, 1], n_bins=3)
    assert share[0] < 0.3 and share[-1] > 0.7 and mean[-1] > mean[0]
    predicted = cross_val_predict(LossRegressor(MODEL), SPECTRA, LOSSES)
    assert spearmanr(predicted, LOSSES).statistic > 0.9


def test_scorers_of_scikit_learn_score_classes():
    for scoring in ("roc_auc", "neg_log_loss", "neg_brier_score", "average_precision", "f1", "accuracy"):
        found = cross_val_score(MODEL, SPECTRA, LOW, scoring=scoring, params={"losses": LOSSES}, error_score="raise")
        by_losses = cross_val_score(MODEL, SPECTRA, LOSSES, scoring=loss_scorer(scoring), cv=4, error_score="raise")
        assert np.isfinite(found).all() and np.isfinite(by_losses).all()
    accuracy = cross_val_score(MODEL, SPECTRA, LOSSES, cv=4)
    np.testing.assert_array_equal(accuracy, by_losses)


def test_own_scorers_know_the_threshold_and_the_predicted_loss():
    model = sklearn.clone(MODEL).fit(SPECTRA, LOSSES)
    later, losses = spectra_and_losses(seed=1)
    low, chance = losses < THRESHOLD, model.predict_proba(later)[:, 1]
    assert loss_scorer("roc_auc")(model, later, losses) == roc_auc_score(low, model.decision_function(later))
    assert loss_scorer("neg_brier_score")(model, later, losses) == -brier_score_loss(low, chance)
    error = loss_scorer("neg_mean_squared_error")(model, later, torch.as_tensor(losses))
    assert error == -mean_squared_error(losses, model.predict_loss(later))
    # scikit-learn's own scorer compares losses with classes.
    assert error > 0.5 * get_scorer("neg_mean_squared_error")(model, later, losses)
    for wrong in ("auc", "", "neg_mean_square_error"):
        with pytest.raises(ValueError, match="give a name of"):
            loss_scorer(wrong)


@pytest.mark.parametrize("scoring", ["roc_auc", "neg_mean_absolute_error"])
def test_own_scorers_score_what_ends_in_a_model(scoring):
    scorer, halved = loss_scorer(scoring), FunctionTransformer(lambda x: x / 2)
    model = sklearn.clone(MODEL).fit(SPECTRA, LOSSES)
    expected = scorer(model, SPECTRA, LOSSES)
    grid = {"max_steps": [30]}
    for estimator in (
        LossRegressor(MODEL),
        make_pipeline(sklearn.clone(MODEL)),
        make_pipeline(FunctionTransformer(), LossRegressor(MODEL)),
        GridSearchCV(MODEL, grid, scoring=scorer, cv=3),
        GridSearchCV(make_pipeline(MODEL), {"aelle__max_steps": [30]}, scoring=scorer, cv=3, error_score="raise"),
        make_pipeline(FunctionTransformer(), GridSearchCV(MODEL, grid, scoring=scorer, cv=3)),
    ):
        assert scorer(estimator.fit(SPECTRA, LOSSES), SPECTRA, LOSSES) == expected
    scaled = make_pipeline(halved, sklearn.clone(MODEL)).fit(SPECTRA, LOSSES)
    assert scorer(scaled, SPECTRA, LOSSES) == scorer(scaled[-1], SPECTRA / 2, LOSSES)
    found = cross_val_score(make_pipeline(halved, MODEL), SPECTRA, LOSSES, scoring=scorer, cv=3, error_score="raise")
    assert np.isfinite(found).all()


def test_own_scorers_say_what_they_score():
    scorer = loss_scorer("roc_auc")
    others = [LogisticRegression(), make_pipeline(FunctionTransformer(), LogisticRegression())]
    for estimator in (*others, CalibratedClassifierCV(MODEL, cv=2), GridSearchCV(MODEL, {"seed": [0]}, refit=False)):
        fitted = estimator.fit(SPECTRA, LOW)
        with pytest.raises(
            ValueError, match=r"^loss_scorer: \w+ is no AeLLE or LossRegressor, and no pipeline or [^\n]*$"
        ):
            scorer(fitted, SPECTRA, LOSSES)
    with pytest.raises(NotFittedError):
        scorer(sklearn.clone(MODEL), SPECTRA, LOSSES)
    with pytest.raises(ValueError, match="losses of bool: give final losses as numbers"):
        loss_scorer("r2")(sklearn.clone(MODEL).fit(SPECTRA, LOSSES), SPECTRA, LOW)


def test_a_regressor_of_the_loss_is_compared_with_losses():
    options = {"cv": 4, "scoring": "neg_mean_squared_error"}
    error = cross_val_score(LossRegressor(MODEL), SPECTRA, LOSSES, **options)
    np.testing.assert_array_equal(
        error, cross_val_score(MODEL, SPECTRA, LOSSES, cv=4, scoring=loss_scorer("neg_mean_squared_error"))
    )
    assert (error > cross_val_score(MODEL, SPECTRA, LOSSES, **options)).all()
    assert (cross_val_score(LossRegressor(AeLLE(THRESHOLD)), SPECTRA, LOSSES, cv=4) > 0.5).all()
    search = GridSearchCV(LossRegressor(MODEL), {"model__max_steps": [1, 60]}, cv=3).fit(SPECTRA, LOSSES)
    assert search.best_params_ == {"model__max_steps": 60}
    for wrong, kind in ((LOW, "bool"), (["low"] * V, "<U3")):
        with pytest.raises(ValueError, match=f"y of {kind}: give final losses as numbers"):
            LossRegressor(MODEL).fit(SPECTRA, wrong)
    whole = np.where(LOW, 1, 9)
    by_whole, by_floats = (LossRegressor(AeLLE(2.0, max_steps=30)).fit(SPECTRA, y) for y in (whole, whole * 1.0))
    np.testing.assert_array_equal(by_whole.predict(SPECTRA), by_floats.predict(SPECTRA))


def test_every_scorer_of_numbers_is_known():
    of_numbers = [name for name in get_scorer_names() if "regression" in get_scorer(name)._score_func.__module__]
    assert of_numbers and set(of_numbers) <= set(OF_LOSSES)


@pytest.mark.parametrize("classes", [False, True])
def test_a_grid_search_finds_the_better_model(classes):
    grid = {"max_steps": [1, 60]}
    scoring = "neg_log_loss" if classes else loss_scorer("neg_log_loss")
    search = GridSearchCV(MODEL, grid, scoring=scoring, cv=3, error_score="raise")
    search.fit(SPECTRA, LOW, losses=LOSSES) if classes else search.fit(SPECTRA, LOSSES)
    assert search.best_params_ == {"max_steps": 60} and np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict_proba(SPECTRA).shape == (V, 2)
    several = GridSearchCV(
        MODEL, grid, scoring={n: loss_scorer(n) for n in ("roc_auc", "neg_mean_absolute_error")}, cv=3, refit="roc_auc"
    ).fit(SPECTRA, LOSSES)
    error = several.cv_results_["mean_test_neg_mean_absolute_error"]
    assert np.isfinite(error).all() and error[1] > error[0]


@pytest.mark.parametrize("ensemble", [True, False])
def test_chances_are_calibrated_by_scikit_learn(ensemble):
    calibrated = CalibratedClassifierCV(MODEL, cv=3, ensemble=ensemble).fit(SPECTRA, LOW, losses=LOSSES)
    later, losses = spectra_and_losses(seed=1)
    chance = calibrated.predict_proba(later)[:, 1]
    assert list(calibrated.classes_) == [False, True] and brier_score_loss(losses < THRESHOLD, chance) < 0.1


def test_spectra_so_far_of_whole_trainings_are_split_by_groups():
    E = 3
    seen = SpectraSoFar.of(np.stack([0.5 * SPECTRA, 0.8 * SPECTRA, SPECTRA], 1), np.arange(E) / (E - 1))
    losses, groups = LOSSES.repeat(E), np.arange(V).repeat(E)
    options = {"groups": groups, "cv": GroupKFold(4), "params": {"losses": losses, "groups": groups}}
    chances = cross_val_predict(MODEL, seen, losses < THRESHOLD, method="predict_proba", **options)
    assert roc_auc_score(losses < THRESHOLD, chances[:, 1]) > 0.9
    last = seen[2::3]
    assert len(last) == V and last.shape == (V, M) and (last.share == 1).all()
    np.testing.assert_array_equal(last.last, SPECTRA)


def test_losses_travel_through_pipelines_and_routed_metadata():
    pipeline = make_pipeline(FunctionTransformer(), MODEL).fit(SPECTRA, LOW, aelle__losses=LOSSES)
    expected = sklearn.clone(MODEL).fit(SPECTRA, LOSSES).predict_proba(SPECTRA)
    np.testing.assert_array_equal(pipeline.predict_proba(SPECTRA), expected)
    with sklearn.config_context(enable_metadata_routing=True):
        asking = sklearn.clone(MODEL).set_fit_request(losses=True)
        found = cross_val_predict(asking, SPECTRA, LOW, method="predict_proba", params={"losses": LOSSES})
    np.testing.assert_array_equal(
        found, cross_val_predict(MODEL, SPECTRA, LOW, method="predict_proba", params={"losses": LOSSES})
    )


def test_no_warning_where_nothing_is_wrong():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        cross_val_score(MODEL, SPECTRA, LOSSES, scoring=loss_scorer("roc_auc"), cv=3)
