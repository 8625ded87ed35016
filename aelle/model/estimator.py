"""AeLLE: spectra in; latent, embedding, predicted loss and class out. scikit-learn's conventions."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from aelle.errors import UserError
from aelle.files import MODEL_FILES, SAVED_FILES, replace_folder
from aelle.lyapunov.spectra_so_far import SpectraSoFar
from aelle.lyapunov.spectrum import curve, signed_exp
from aelle.model.autoencoder import Training
from aelle.model.columns import columns, stage
from aelle.model.committee import Committee
from aelle.model.files import Fitted, arrays_of, read_model, write_model
from aelle.model.fitting import fit_side_by_side
from aelle.model.parameters import check_parameters, is_whole
from aelle.model.regions import Region
from aelle.model.samples import (
    NAN_ALLOWED,
    Sample,
    are_texts,
    check_names,
    checked_covariates,
    checked_history,
    last_spectra,
    spectra_alone,
    warn_of_single,
    without_history,
)
from aelle.model.saved import reading
from aelle.model.scaling import Scaling
from aelle.model.targets import CLASSES, low_error, target, with_losses

Array = np.ndarray

COMMITTEE_POINTS = 32
"""Points of the spectra that enter a committee, at most: more did not predict better."""


class AeLLE(ClassifierMixin, TransformerMixin, BaseEstimator):
    """Autoencoders of Lyapunov spectra that also predict the loss; PCA of their latent; a classifier on that plane.

    `embedding`: "pca" of the latent of `latent_size` numbers, of which `n_components` enter the classifier; PC1 rises
    towards low error. `classifier`: a "threshold" on PC1, a "hyperplane", or an "ellipse" (see `aelle.model.regions`);
    on its border the chance of low error is one half. Classes: 1 = low-error (loss < `threshold`), 0 = high-error; a
    non-finite loss is high-error. `seed` decides all that is random.

    `committee`: several autoencoders that look at spectrum, mean of the spectra so far and scalar features, and attend
    to different stages of the training (`aelle.model.views`). Each is trained three times, each time without a third of
    the variants; at each stage of training, their predictions get the non-negative weights that predict best what was
    left out. The latent is made of theirs and of the prediction, which is its leading direction
    (`aelle.model.committee.Gauge`). Otherwise one autoencoder of the spectrum, and a fifth of the variants is held back
    to set the classifier.

    `alphas`: the weight of the prediction in the autoencoder's loss, in equal stages of the training: `epochs` passes
    over the rows, but at most `max_steps` batches of `batch_size` (None: no limit). `prediction_norm`: 1 for the
    absolute, 2 for the squared error of the prediction. `learning_rate`, `weight_decay` (AdamW), `dropout`, and
    `noise`, the standard deviation of noise added to the standardised inputs. `scaling`: how spectra and losses are
    scaled (`aelle.model.scaling.Scaling`). `points`: the length to which spectra are resampled; None: theirs, of a
    committee at most 32.

    `spectra` of `fit` and the other methods: arrays [n, M] in nats per step, tensors, lists or frames, NaN after the
    last exponent of a smaller network; or `aelle.SpectraSoFar`, from which AeLLE also learns how spectra change in
    training. A model that was fitted to those needs them to predict: `aelle.spectra_so_far` makes them of the spectra
    of epochs 0 to e. One epoch's spectrum in the place of the mean so far gives other chances. How many exponents a
    network has is seen beside its spectrum (not with scaling="range", the paper's).

    `covariates` [n, c] of the same methods: what else is known of each network, e.g. hyperparameters, as numbers; they
    are standardised. A model that was fitted with covariates needs them to predict.

    scikit-learn's tools compare `y` with what `predict` returns, and may encode it: give them the classes as `y`
    (losses < threshold), and the losses beside, e.g. `cross_val_predict(model, spectra, low, params={"losses": losses},
    method="predict_proba")`. With losses as `y`, score by `aelle.loss_scorer`, or use `aelle.LossRegressor`.

    Source: Vogt, Zheng, Shlizerman 2022, whose choices are `conf/aelle/paper.yaml`.
    """

    learned_from_: dict[str, str | int]
    """What the model was fitted to, e.g. task and epochs, as recorded by the caller; saved with the model."""
    scaling_: Scaling
    committee_: Committee
    center_: Float[Array, "L"]
    axes_: Float[Array, "L L"]
    errors_: Float[Array, "q"]
    region_: Region
    loss_region_: Region

    def __init__(
        self,
        threshold: float,
        *,
        latent_size: int = 32,
        alphas: Sequence[float | int] = Training.alphas,
        epochs: int = Training.epochs,
        max_steps: int | None = Training.max_steps,
        prediction_norm: int = Training.prediction_norm,
        embedding: str = "pca",
        n_components: int = 2,
        classifier: str = "threshold",
        learning_rate: float = Training.learning_rate,
        weight_decay: float = Training.weight_decay,
        dropout: float = Training.dropout,
        noise: float = 0.3,
        batch_size: int = Training.batch_size,
        scaling: str = "log",
        points: int | None = None,
        committee: bool = True,
        seed: int = 0,
    ):
        self.threshold, self.latent_size, self.alphas, self.epochs = threshold, latent_size, alphas, epochs
        self.max_steps, self.prediction_norm, self.embedding = max_steps, prediction_norm, embedding
        self.n_components, self.classifier, self.learning_rate = n_components, classifier, learning_rate
        self.weight_decay, self.dropout, self.noise, self.batch_size = weight_decay, dropout, noise, batch_size
        self.scaling, self.points, self.committee, self.seed = scaling, points, committee, seed

    @property
    def components_(self) -> Float[Array, "components L"]:
        """Principal axes of the latent, those of the plane."""
        return self.axes_[: self.n_components]

    def fit(
        self,
        spectra: Any,
        y: Any = None,
        *,
        losses: Any = None,
        groups: Any = None,
        validation: tuple[Any, ...] | None = None,
        covariates: Any = None,
    ) -> "AeLLE":
        """Fit to spectra [n, M], nats per step, and final losses [n], with covariates [n, c] if there are any.

        `spectra`: [n, M] of trained networks; of trainings, `SpectraSoFar.of`. `y` [n]: the losses, as floats; or
        classes, as booleans or two whole numbers, of which the larger is low error. With classes, give `losses` [n] as
        well: without them, AeLLE learns the class alone, and the size of `predict_loss` means nothing.

        `groups` [n]: which rows belong together, so that none is predicted by what was fitted to another: the epochs of
        a variant, and the variants that share one draw of the hyperparameters. `validation`: (spectra, losses), or
        (spectra, losses, covariates), that set the classifier; without it, the groups that were left out in turn do,
        each by the prediction of the autoencoders that did not learn from it. (A hyperplane or an ellipse also uses the
        other components, of which two thirds of the autoencoders have learned from the group: keep n_components small.)

        Raises ValueError for spectra or covariates that are not finite, for no finite loss, for classes that the losses
        contradict, and if all variants that set the classifier are of one class.
        """
        self.check_parameters()
        learned = target(y, losses, float(self.threshold))
        validation = validation and with_losses(validation, float(self.threshold))
        fit_side_by_side([self], [Sample(spectra, learned.losses, groups, validation, covariates)])
        self.classes_ = learned.classes
        return self

    def fit_transform(
        self, spectra: Any, y: Any = None, *, covariates: Any = None, **options: Any
    ) -> Float[Array, "n c"]:
        """`fit` with these options, then `transform` of the same spectra."""
        return self.fit(spectra, y, covariates=covariates, **options).embed(
            spectra, self.n_components, covariates=covariates
        )

    def get_feature_names_out(self, input_features: Any = None) -> Shaped[Array, "components"]:
        """Names of the columns of `transform`: PC1, PC2, …"""
        check_is_fitted(self, "committee_")
        return np.array([f"PC{i + 1}" for i in range(self.n_components)], dtype=object)

    def __sklearn_tags__(self) -> Tags:
        """A classifier of two classes."""
        tags = super().__sklearn_tags__()
        assert tags.classifier_tags is not None
        tags.classifier_tags.multi_class = False
        return tags

    def check_parameters(self) -> None:
        """Raises ValueError for a parameter that no fit could use."""
        check_parameters(self.get_params())

    def points_of(self, n_features: int) -> int:
        """The length at which spectra of `n_features` exponents enter the autoencoders."""
        if self.points is not None:
            return self.points
        return min(n_features, COMMITTEE_POINTS) if self.committee else n_features

    def score(self, spectra: Any, y: Any, *, covariates: Any = None) -> float:
        """Accuracy: the share of variants whose class, in `y` or given by the final losses in `y`, is predicted
        correctly."""
        predicted = self.decision_function(spectra, covariates=covariates) > 0
        return float((predicted == low_error(y, float(self.threshold), self.classes_)).mean())

    def latent(self, spectra: Any, *, covariates: Any = None) -> Float[Array, "n L"]:
        """The latent of each row, L = `latent_size`."""
        x, at, _ = self._entering(spectra, covariates)
        return self.committee_.latent(x, at)

    def transform(self, spectra: Any, *, covariates: Any = None) -> Float[Array, "n components"]:
        """The embedding; PC1 rises towards low error."""
        return self.embed(spectra, self.n_components, covariates=covariates)

    def embed(self, spectra: Any, n_components: int = 3, *, covariates: Any = None) -> Float[Array, "n components"]:
        """The `n_components` leading principal components of the latent, e.g. for a picture in three dimensions."""
        if not is_whole(n_components) or not 1 <= n_components <= self.latent_size:
            raise UserError(f"n_components={n_components}: give a whole number from 1 to {self.latent_size}")
        return (self.latent(spectra, covariates=covariates) - self.center_) @ self.axes_[:n_components].T

    def reconstruct(self, spectra: Any, *, covariates: Any = None) -> Float[Array, "n M"]:
        """The spectra as reconstructed by the decoders, nats per step."""
        x, _, _ = self._entering(spectra, covariates)
        points = self.points_of(self.n_features_in_)
        found = self.committee_.decode(x)[:, :points] * self.scaling_.scale[:points] + self.scaling_.mean[:points]
        found = signed_exp(found) if self.scaling_.logarithmic else found
        return found if points == self.n_features_in_ else curve(found, self.n_features_in_)

    def typicality(self, spectra: Any, *, covariates: Any = None) -> Float[Array, "n"]:
        """Whether spectra are like those of the fit: the share of those that were reconstructed no better, each by the
        autoencoders that had not learned from it. Near 0, a spectrum is unlike all of them, and what is predicted from
        it is a guess."""
        x, _, values = self._entering(spectra, covariates)
        return 1 - np.searchsorted(self.errors_, self._errors(values, self.committee_.decode(x))) / len(self.errors_)

    def predict_loss(self, spectra: Any, *, covariates: Any = None) -> Float[Array, "n"]:
        """The final loss, in the unit of those of the fit."""
        return self.scaling_.losses(self.predict_target(spectra, covariates=covariates))

    def predict_target(self, spectra: Any, *, covariates: Any = None) -> Float[Array, "n"]:
        """The predicted loss in the scaled units of the fit (`aelle.model.scaling.Scaling`)."""
        x, at, _ = self._entering(spectra, covariates)
        return self.committee_.predict(x, at)

    def margin(self, spectra: Any, *, covariates: Any = None) -> Float[Array, "n"]:
        """How far the predicted loss is below `threshold`, in the scaled units of the fit."""
        return self._margin(self.predict_target(spectra, covariates=covariates))

    def loss_decision_function(self, spectra: Any, *, covariates: Any = None) -> Float[Array, "n"]:
        """Log odds of low error by the predicted loss alone, whatever the classifier on the plane."""
        return self._loss_log_odds(self.predict_target(spectra, covariates=covariates))

    def decision_function(self, spectra: Any, *, covariates: Any = None) -> Float[Array, "n"]:
        """Log odds of low error."""
        points = self.embed(spectra, self.n_components, covariates=covariates)
        return self.region_.log_odds(points)

    def predict(self, spectra: Any, *, covariates: Any = None) -> Shaped[Array, "n"]:
        """The class: 1 = low-error, 0 = high-error, or as the classes of the fit are called."""
        low = self.decision_function(spectra, covariates=covariates) > 0
        return self.classes_[low.astype(int)]

    def predict_proba(self, spectra: Any, *, covariates: Any = None) -> Float[Array, "n 2"]:
        """Chance of high and of low error; rows sum to 1."""
        log_odds = self.decision_function(spectra, covariates=covariates)
        return expit(np.stack([-log_odds, log_odds], 1))

    def save(self, folder: str | Path) -> None:
        """JSON and NPZ. The folder is replaced whole; UserError if it contains anything but a saved model."""
        replace_folder(Path(folder), self.write, SAVED_FILES)

    def write(self, folder: Path) -> None:
        write_model(folder, self.get_params(), self.learned_from_, self._fitted())

    def arrays(self) -> dict[str, Array]:
        """What was fitted, by name."""
        return arrays_of(self._fitted())

    @classmethod
    def load(cls, folder: str | Path) -> "AeLLE":
        """Load what `save` wrote into `folder`. Raises ValueError if that is incomplete."""
        with reading(Path(folder), MODEL_FILES[0], "AeLLE model"):
            parameters, learned_from, fitted = read_model(Path(folder))
            model = cls(**{**parameters, "alphas": tuple(parameters["alphas"])})
            model.check_parameters()
            for name, value in fitted._asdict().items():
                setattr(model, f"{name}_", value)
            model.learned_from_ = learned_from
            # A mean unlike the spectrum, and no names yet: nothing to warn of.
            K, c = model.n_features_in_, model.n_covariates_
            example = replace(spectra_alone(np.zeros((1, K))), mean=np.ones((1, K)))
            model.predict_proba(example, covariates=np.zeros((1, c)) if c else None)
            model._set_names(fitted.names)
        return model

    def _fitted(self) -> Fitted:
        check_is_fitted(self, "committee_")
        return Fitted(**{name: getattr(self, f"{name}_") for name in Fitted._fields})

    def _entering(
        self, spectra: Any, covariates: Any
    ) -> tuple[Float[Tensor, "n F"], Float[Array, "n"], Float[Array, "n F"]]:
        """What enters the networks, the stages of training, and the columns before scaling."""
        check_is_fitted(self, "committee_")
        history = isinstance(spectra, SpectraSoFar)
        if self.history_ and not history:
            raise UserError("this model was fitted to aelle.SpectraSoFar: give these, see aelle.spectra_so_far")
        options: Any = {"reset": False, "dtype": np.float64, "order": "C", "ensure_all_finite": NAN_ALLOWED}
        last = np.asarray(validate_data(self, last_spectra(spectra), **options))
        check_names("spectra", spectra, self.names_.get("spectra"))
        seen = checked_history(spectra, last) if history else spectra_alone(last)
        if self.history_:
            warn_of_single(seen, self.single_until_)
        else:
            seen = without_history(seen)
        beside = self._beside(covariates, len(seen))
        given = columns(seen, self.points_of(self.n_features_in_), self.scaling_.logarithmic, beside)
        return self.scaling_.inputs(given.values), stage(seen.share), given.values

    def _loss_log_odds(self, prediction: Float[Array, "n"]) -> Float[Array, "n"]:
        return self.loss_region_.log_odds(self._margin(prediction)[:, None])

    def _beside(self, covariates: Any, n: int) -> Float[Array, "n c"] | None:
        """The covariates, checked. Raises UserError if they are not those of the fit."""
        c = self.n_covariates_
        if covariates is None and c:
            raise UserError(f"this model was fitted with {c} covariate{'s' * (c > 1)}: give covariates=[{n}, {c}], too")
        if covariates is not None and not c:
            raise UserError("this model was fitted without covariates: leave them out, or give them to fit, too")
        return checked_covariates(covariates, n, c, self.names_.get("covariates")) if c else None

    def _margin(self, prediction: Float[Array, "n"]) -> Float[Array, "n"]:
        return self.scaling_.targets(np.array([float(self.threshold)])).numpy() - prediction

    def _set_committee(
        self, committee: Committee, scaling: Scaling, history: bool, n_features: int, n_covariates: int
    ) -> None:
        self.classes_, self.n_features_in_, self.history_ = CLASSES, n_features, history
        self.n_covariates_, self.single_until_ = n_covariates, 1.0
        self.committee_, self.scaling_, self.learned_from_ = committee, scaling, {}
        self._set_names({})

    def _set_names(self, names: dict[str, Shaped[Array, "_"]]) -> None:
        """`feature_names_in_` is scikit-learn's, of spectra whose columns are named by texts."""
        self.names_ = names
        vars(self).pop("feature_names_in_", None)
        if "spectra" in names and are_texts(names["spectra"]):
            self.feature_names_in_ = names["spectra"].astype(object)

    def _errors(self, values: Float[Array, "n F"], decoded: Float[Array, "n F"]) -> Float[Array, "n"]:
        """The mean absolute error of the spectrum, in the scaled units of the fit."""
        points = self.points_of(self.n_features_in_)
        scaled = (values - self.scaling_.mean) / self.scaling_.scale
        return np.abs(scaled - decoded)[:, :points].mean(1)
