"""What scikit-learn's tools need where `y` is final losses: a regressor, and scorers.

Axes: n row.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Shaped
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from aelle.errors import UserError
from aelle.model.targets import as_losses, low_error

if TYPE_CHECKING:
    from aelle.model.estimator import AeLLE

OF_LOSSES = (
    "r2",
    "explained_variance",
    "d2_absolute_error_score",
    "max_error",
    "neg_max_error",
    "neg_mean_absolute_error",
    "neg_mean_absolute_percentage_error",
    "neg_mean_gamma_deviance",
    "neg_mean_poisson_deviance",
    "neg_mean_squared_error",
    "neg_mean_squared_log_error",
    "neg_median_absolute_error",
    "neg_root_mean_squared_error",
    "neg_root_mean_squared_log_error",
)
"""scikit-learn's scorers that compare numbers, not classes; not every version has each."""


class LossRegressor(RegressorMixin, BaseEstimator):
    """AeLLE as a regressor of the final loss: `predict` is `AeLLE.predict_loss`.

    For scikit-learn's tools that compare or return losses, e.g. `cross_val_predict(LossRegressor(model), spectra,
    losses)` or `scoring="neg_mean_absolute_error"`. `model`: an AeLLE, of which `fit` fits a copy, `model_`.
    """

    model_: "AeLLE"

    def __init__(self, model: "AeLLE"):
        self.model = model

    @property
    def n_features_in_(self) -> int:
        return self.model_.n_features_in_

    @property
    def feature_names_in_(self) -> Shaped[np.ndarray, "_"]:
        """Of a fit to a frame whose columns are named by texts."""
        return self.model_.feature_names_in_

    def fit(self, spectra: Any, y: Any, **options: Any) -> "LossRegressor":
        """Fit to spectra [n, M], nats per step, and final losses `y` [n], with the options of `AeLLE.fit`, which says
        what it raises. Raises ValueError for classes, too."""
        losses = None if y is None else as_losses("y", y)
        self.model_ = type(self.model)(**self.model.get_params()).fit(spectra, losses, **options)
        return self

    def __sklearn_tags__(self) -> Tags:
        """Losses are above zero."""
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = True
        return tags

    def predict(self, spectra: Any, *, covariates: Any = None) -> Float[np.ndarray, "n"]:
        """The predicted final losses [n] of `spectra` [n, M], with `covariates` if the fit had some."""
        check_is_fitted(self, "model_")
        return self.model_.predict_loss(spectra, covariates=covariates)


@dataclass(frozen=True)
class LossScorer:
    """What `loss_scorer` returns: scores an estimator by spectra and final losses."""

    name: str

    def __call__(self, estimator: Any, spectra: Any, losses: Any) -> float:
        model, spectra = _scored(estimator, spectra)
        scorer = get_scorer(self.name)
        if self.name in OF_LOSSES:
            regressor = LossRegressor(model)
            regressor.model_ = model
            return float(scorer(regressor, spectra, as_losses("losses", losses)))
        low = low_error(losses, float(model.threshold), model.classes_)
        return float(scorer(model, spectra, model.classes_[low.astype(int)]))


def _scored(estimator: Any, spectra: Any) -> "tuple[AeLLE, Any]":
    """The fitted AeLLE at the end of an estimator, and what the steps before it make of the spectra."""
    from aelle.model.estimator import AeLLE

    check_is_fitted(estimator)
    if isinstance(estimator, AeLLE):
        return estimator, spectra
    if isinstance(estimator, LossRegressor):
        return _scored(estimator.model_, spectra)
    if isinstance(estimator, BaseSearchCV) and hasattr(estimator, "best_estimator_"):
        return _scored(estimator.best_estimator_, spectra)
    if isinstance(estimator, Pipeline) and isinstance(estimator[-1], BaseEstimator):
        before = estimator[:-1]
        return _scored(estimator[-1], before.transform(spectra) if len(before) else spectra)
    raise UserError(
        f"loss_scorer: {type(estimator).__name__} is no AeLLE or LossRegressor, and no pipeline or refitted search "
        "that ends in one: score it by scikit-learn's scorers, with classes as y"
    )


def loss_scorer(scoring: str) -> LossScorer:
    """One of scikit-learn's scorers, by its name, for `y` of final losses, e.g. `scoring=loss_scorer("roc_auc")`.

    A scorer of classes, such as "roc_auc", "neg_log_loss" or "neg_brier_score", gets those that the losses and the
    model's threshold give; one of numbers, such as "neg_mean_absolute_error" or "r2", gets `AeLLE.predict_loss`.
    scikit-learn's own do not know the threshold, and compare the losses with predicted classes. What is scored is an
    AeLLE, a LossRegressor, or a pipeline or a refitted search that ends in one.

    Raises ValueError for a name that scikit-learn does not have.
    """
    if scoring not in get_scorer_names():
        raise UserError(f"scoring={scoring!r}: give a name of sklearn.metrics.get_scorer_names(), e.g. 'roc_auc'")
    return LossScorer(scoring)
