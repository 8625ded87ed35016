"""scikit-learn's own checks of an estimator, and what of them AeLLE cannot follow."""

import warnings
from functools import partial
from typing import Any

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator

from aelle import AeLLE, LossRegressor

EXCEPTIONS = {
    "check_classifiers_regression_target": "floats in y are losses, which AeLLE is for",
    "check_estimators_nan_inf": "its y is the floats 0 and 1, but floats are losses, above zero",
    "check_classifiers_classes": "its classes are texts, which do not say which of them is low error",
    "check_do_not_raise_errors_in_init_or_set_params": "this suite checks types at run time, also in __init__",
    "check_array_api_input": "needs an environment variable that this suite does not set, and skips itself",
}

ONE_SIDE = "the check's y lies on one side of the threshold, and AeLLE needs variants of both kinds"

EXCEPTIONS_OF_THE_REGRESSOR = {
    "check_estimators_dtypes": ONE_SIDE,
    "check_regressors_train": ONE_SIDE,
    "check_regressor_data_not_an_array": ONE_SIDE,
    "check_regressors_no_decision_function": ONE_SIDE,
    "check_fit2d_1feature": ONE_SIDE,
    "check_fit_check_is_fitted": ONE_SIDE,
    "check_array_api_input": EXCEPTIONS["check_array_api_input"],
}

MODEL = AeLLE(1.5, epochs=20, latent_size=2)
REGRESSOR = LossRegressor(AeLLE(2.0, epochs=2, latent_size=2))


def checks(estimator: Any) -> list:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [check for _, check in estimator_checks_generator(estimator)]


def name_of(check: partial) -> str:
    return check.func.__name__


def follow(check: partial, estimator: Any, exceptions: dict[str, str]) -> None:
    reason = exceptions.get(name_of(check))
    if reason is None:
        check(estimator)
        return
    try:
        check(estimator)
    except (Exception, pytest.skip.Exception):
        return
    pytest.fail(f"{name_of(check)} passes and must leave the list of exceptions ({reason})")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("check", checks(MODEL), ids=name_of)
def test_scikit_learns_check(check):
    follow(check, MODEL, EXCEPTIONS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("check", checks(REGRESSOR), ids=name_of)
def test_scikit_learns_check_of_the_regressor(check):
    follow(check, REGRESSOR, EXCEPTIONS_OF_THE_REGRESSOR)
