"""What a predictor is given and cannot use is refused, or told, in one line."""

import inspect
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError

from aelle import AeLLE, EarlyPredictor, LyapunovCallback, PredictionCallback, spectra_so_far
from aelle.errors import UserError
from aelle.predictor.observed import Observed
from aelle.predictor.prediction import NO_SPECTRUM
from sweeps import synthetic

V, E, M = 60, 3, 8
KNOWN = synthetic(V=V, E=E, M=M)
SPECTRA = -np.sort(-KNOWN.spectra)
RATES = np.random.default_rng(5).uniform(0, 1, V)
HYPERPARAMETERS = pd.DataFrame({"p": KNOWN.variants["p"] + 0.3 * RATES, "lr": RATES[::-1]})
QUICK = {"max_steps": 20}
FINAL = np.nan_to_num(KNOWN.losses[:, -1], nan=9.0)


def changed(*places: tuple) -> np.ndarray:
    spectra = SPECTRA.copy()
    for *place, value in places:
        spectra[tuple(place)] = value
    return spectra


def fit(losses=KNOWN.losses, spectra=SPECTRA, hyperparameters=HYPERPARAMETERS) -> EarlyPredictor:
    return EarlyPredictor(0.5, aelle=QUICK).fit(losses, spectra, hyperparameters)


@pytest.fixture(scope="module")
def fitted() -> EarlyPredictor:
    return fit()


def of_aelle(caught: list) -> list[str]:
    return [str(one.message) for one in caught if one.category is UserWarning]


def test_of_good_arrays_nothing_is_said(fitted):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        small = changed((slice(0, 30), slice(None), slice(5, None), np.nan))
        not_read = HYPERPARAMETERS.assign(word=["a", None] * (V // 2), momentum=np.where(RATES < 0.5, np.nan, RATES))
        fit(spectra=small, hyperparameters=not_read)
        fit(hyperparameters=HYPERPARAMETERS.assign(beta=np.where(RATES < 0.5, np.nan, 0.9)))
        fit(spectra=changed((slice(None), 1, np.nan)))
        fitted.predict_proba(None, SPECTRA[:, :2], HYPERPARAMETERS, epoch=1)


@pytest.mark.parametrize("kind", [float, object, "Float64", str])
def test_an_outcome_among_the_hyperparameters_is_told(kind):
    outcome = pd.Series(FINAL * 1.01).astype(kind)
    with pytest.warns(UserWarning, match=r"^something looks wrong in the arrays: test_loss may be an outcome, not a "):
        fit(hyperparameters=HYPERPARAMETERS.assign(test_loss=outcome))


def test_all_that_looks_wrong_is_one_warning():
    spectra = changed((3, slice(None), 7, -np.inf), (4, 2, 3, np.nan))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(spectra=spectra, hyperparameters=HYPERPARAMETERS.assign(test_loss=FINAL, one=1.0))
    (said,) = of_aelle(caught)
    assert "\n" not in said
    assert said.startswith("3 things look wrong in the arrays: (1) spectrum is incomplete at some epochs and not used ")
    assert "e.g. of variant 3 after epoch 0: exponent 7 (from 0) is -inf; give finite ones (variants 3, 4)" in said
    assert "(2) test_loss may be an outcome" in said and "(3) the same value for all variants" in said


def test_spectra_that_end_in_infinity_are_told_where_chances_are_asked_for(fitted):
    bad = changed((slice(0, 2), slice(None), M - 1, -np.inf))[:, :2]
    with pytest.warns(UserWarning, match=r"spectrum is incomplete .* exponent 7 \(from 0\) is -inf.*\(variants 0, 1\)"):
        chances = fitted.predict_proba(None, bad, epoch=1)
    assert np.isnan(chances[:2]).all() and np.isfinite(chances[2:]).all()
    told = fitted.predict(Observed.of(1, E, None, spectra_so_far(bad, E), None))
    assert told.outside[:2] == [NO_SPECTRUM] * 2 and NO_SPECTRUM not in told.outside[2:]
    assert np.isnan(told.chance[:2]).all()
    with_losses = fitted.predict(Observed.of(1, E, KNOWN.losses[:, :2], spectra_so_far(bad, E), None))
    assert np.isfinite(with_losses.chance).all() and NO_SPECTRUM not in with_losses.outside


def test_misspelt_hyperparameters_are_refused(fitted):
    misspelt = HYPERPARAMETERS.rename(columns={"lr": "lrr"})
    words = (
        "^hyperparameters contain lrr and no lr: the predictor knows p, lr; rename or leave out what it does not know$"
    )
    with pytest.raises(UserError, match=words):
        fitted.predict_proba(None, SPECTRA[:, :2], misspelt, epoch=1)
    lyapunov = LyapunovCallback("rnn", torch.zeros(2, 3, 4))
    with pytest.raises(UserError, match=words):
        PredictionCallback(fitted, lyapunov, {"lrr": 0.5, "p": 0.5})
    more, fewer = HYPERPARAMETERS.assign(z=1.0), HYPERPARAMETERS[["p"]]
    chances = fitted.predict_proba(None, SPECTRA[:, :2], HYPERPARAMETERS, epoch=1)
    np.testing.assert_array_equal(fitted.predict_proba(None, SPECTRA[:, :2], more, epoch=1), chances)
    assert np.isfinite(fitted.predict_proba(None, SPECTRA[:, :2], fewer, epoch=1)).all()
    PredictionCallback(fitted, lyapunov, {"p": 0.5})


def test_another_type_is_one_line(fitted):
    """Types are checked at run time here, but not where people use it."""
    for method, given, words in (
        ("predict", KNOWN.losses, "given is of type ndarray: give Observed; predict_proba takes arrays of losses"),
        ("outside", KNOWN.losses, "sweep is of type ndarray: give SweepTable; aelle.load_sweep reads one"),
        ("save", 3, "folder is of type int: give str or Path; where the predictor is to be saved"),
        ("load", None, "folder is of type NoneType: give str or Path; where a predictor was saved"),
    ):
        function = inspect.unwrap(getattr(EarlyPredictor, method))
        function = getattr(function, "__func__", function)
        with pytest.raises(UserError, match=f"^{words}[^\n]*$"):
            inspect.unwrap(function)(fitted, given)
    init = inspect.unwrap(PredictionCallback.__init__)
    lyapunov = LyapunovCallback("rnn", torch.zeros(2, 3, 4))
    for arguments, words in (
        ((None, lyapunov), "predictor is of type NoneType: give EarlyPredictor or AeLLE; fit or load one"),
        ((fitted, "rnn"), "lyapunov is of type str: give LyapunovCallback"),
        ((fitted, lyapunov, [0.5]), "hyperparameters is of type list: give Mapping"),
    ):
        with pytest.raises(UserError, match=words):
            init(object.__new__(PredictionCallback), *arguments)


def test_what_is_not_fitted_says_so():
    lyapunov = LyapunovCallback("rnn", torch.zeros(2, 3, 4))
    for predictor in (EarlyPredictor(0.5), AeLLE(0.5)):
        with pytest.raises(NotFittedError):
            PredictionCallback(predictor, lyapunov)
    nothing = Observed.of(1, E, KNOWN.losses[:, :2], None, None)
    for ask in (lambda: EarlyPredictor(0.5).predict(nothing), lambda: EarlyPredictor(0.5).outside(KNOWN)):
        with pytest.raises(NotFittedError, match="call fit first"):
            ask()
