"""AeLLE: spectra in; latent, embedding, predicted loss and class out. scikit-learn's conventions."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from aelle.errors import TooFewError, UserError, in_one_line, reason
from aelle.files import MODEL_FILES
from aelle.lyapunov.spectrum import curve
from aelle.model.autoencoder import Autoencoders, Training
from aelle.model.files import Fitted, read_model, write_model
from aelle.model.parameters import check_parameters
from aelle.model.regions import CLASSIFIERS, Region
from aelle.model.samples import Sample, as_array, train_and_validation
from aelle.model.scaling import Scaling

Array = np.ndarray


class AeLLE(ClassifierMixin, TransformerMixin, BaseEstimator):
    """Autoencoder of Lyapunov spectra that also predicts the loss; PCA of its latent; a classifier on that plane.

    PC1 rises towards low error. `classifier`: a "threshold" on PC1, a "hyperplane", or an "ellipse" (see
    `aelle.model.regions`); on its border the chance of low error is one half. Classes: 1 = low-error (loss <
    `threshold`), 0 = high-error; a non-finite loss is high-error.

    `alphas`: the weight of the prediction in the autoencoder's loss, in equal stages of `epochs`. `prediction_norm`: 1
    for the absolute, 2 for the squared error of the prediction. Training: `learning_rate`, `weight_decay` (AdamW),
    `dropout`, and `noise`, the standard deviation of noise added to the inputs. `scaling`: how spectra and losses are
    scaled (`aelle.model.scaling.Scaling`). `points`: the length to which spectra are resampled, None to keep theirs.
    `running_mean`: whether this model is meant for the mean of the spectra so far (`aelle.lyapunov.RunningMean`) or for
    those of single epochs; `fit` and the others take rows as they are, and code that prepares rows looks it up.

    Source: Vogt, Zheng, Shlizerman 2022, whose choices are `conf/aelle/paper.yaml`.
    """

    learned_from_: dict[str, str | int]
    """What the model was fitted to, e.g. task and epochs, as recorded by the caller; saved with the model."""
    scaling_: Scaling
    region_: Region

    def __init__(
        self,
        threshold: float,
        *,
        latent_size: int = 32,
        alphas: Sequence[float | int] = Training.alphas,
        epochs: int = Training.epochs,
        prediction_norm: int = Training.prediction_norm,
        embedding: str = "pca",
        n_components: int = 2,
        classifier: str = "threshold",
        learning_rate: float = Training.learning_rate,
        weight_decay: float = Training.weight_decay,
        dropout: float = Training.dropout,
        noise: float = Training.noise,
        scaling: str = "log",
        points: int | None = None,
        running_mean: bool = True,
        seed: int = 0,
    ):
        self.threshold, self.latent_size, self.alphas, self.epochs = threshold, latent_size, alphas, epochs
        self.prediction_norm, self.embedding, self.n_components = prediction_norm, embedding, n_components
        self.classifier, self.learning_rate, self.weight_decay = classifier, learning_rate, weight_decay
        self.dropout, self.noise, self.scaling, self.points = dropout, noise, scaling, points
        self.running_mean, self.seed = running_mean, seed

    def fit(
        self,
        spectra: Any,
        losses: Any,
        *,
        groups: Any = None,
        validation: tuple[Any, Any] | None = None,
    ) -> "AeLLE":
        """Fit to spectra [n, M], nats per step, and final losses [n]; arrays, tensors or lists.

        `groups` [n]: which variant a row belongs to, where rows are several epochs of one. `validation`: (spectra,
        losses) that set the classifier; without it, a fifth of the groups is held back for that.

        Raises ValueError for non-finite spectra, for no finite loss, and if all variants that set the classifier are
        of one class.
        """
        fit_side_by_side([self], [Sample(spectra, losses, groups, validation)])
        self.learned_from_ = {}
        return self

    def __sklearn_tags__(self) -> Tags:
        """A classifier of two classes, whose targets are losses: above zero."""
        tags = super().__sklearn_tags__()
        assert tags.classifier_tags is not None
        tags.classifier_tags.multi_class = False
        tags.target_tags.positive_only = True
        return tags

    def check_parameters(self) -> None:
        """Raises ValueError for a parameter that no fit could use."""
        check_parameters(self.get_params())

    def score(self, spectra: Any, losses: Any) -> float:
        """Accuracy: the share of variants whose class, given by their final losses, is predicted correctly."""
        return float((self.predict(spectra) == (np.asarray(as_array(losses)) < self.threshold)).mean())

    def latent(self, spectra: Any) -> Float[Array, "n L"]:
        return self._encode(spectra)[0].double().numpy()

    def transform(self, spectra: Any) -> Float[Array, "n components"]:
        """The embedding; PC1 rises towards low error."""
        return (self.latent(spectra) - self.center_) @ self.components_.T

    @torch.no_grad()
    def reconstruct(self, spectra: Any) -> Float[Array, "n M"]:
        """The spectra as reconstructed by the decoder, nats per step."""
        found = self.scaling_.spectra(self.networks_.decode(self._encode(spectra))[0])
        return found if self.points is None else curve(found, self.n_features_in_)

    @torch.no_grad()
    def predict_loss(self, spectra: Any) -> Float[Array, "n"]:
        return self.scaling_.losses(self.networks_.predict(self._encode(spectra))[0])

    @torch.no_grad()
    def margin(self, spectra: Any) -> Float[Array, "n"]:
        """How far the predicted loss is below `threshold`, in the scaled units of the fit."""
        threshold = self.scaling_.targets(np.array([float(self.threshold)]))
        return (threshold - self.networks_.predict(self._encode(spectra))[0]).double().numpy()

    def decision_function(self, spectra: Any) -> Float[Array, "n"]:
        """Log odds of low error."""
        points = self.transform(spectra)
        return self.region_.log_odds(points)

    def predict(self, spectra: Any) -> Int[Array, "n"]:
        return (self.decision_function(spectra) > 0).astype(int)

    def predict_proba(self, spectra: Any) -> Float[Array, "n 2"]:
        """Chance of high and of low error."""
        log_odds = self.decision_function(spectra)
        return expit(np.stack([-log_odds, log_odds], 1))

    def save(self, folder: str | Path) -> None:
        """Parameters as JSON and arrays as NPZ: nothing that could run code when it is read."""
        check_is_fitted(self)
        parameters = {**self.get_params(), "threshold": float(self.threshold), "alphas": list(self.alphas)}
        plane, network = (self.center_, self.components_), self.networks_.state_dict()
        fitted = Fitted(self.scaling_, self.region_, *plane, network, self.n_features_in_)
        write_model(Path(folder), parameters, self.learned_from_, fitted)

    @classmethod
    def load(cls, folder: str | Path) -> "AeLLE":
        """Load what `save` wrote. Raises ValueError if that is incomplete."""
        try:
            parameters, learned_from, fitted = read_model(Path(folder))
            model = cls(**{**parameters, "alphas": tuple(parameters["alphas"])})
            model.check_parameters()
            model.learned_from_, model.scaling_, model.region_ = learned_from, fitted.scaling, fitted.region
            model.center_, model.components_ = fitted.center, fitted.components
            model._set_networks(fitted.network, fitted.n_features)
            model.predict_proba(np.zeros((1, model.n_features_in_)))
        except OSError as error:
            if not Path(folder).exists():
                raise UserError(f"{folder} does not exist") from error
            inner = Path(folder) / "model"
            meant = f"; did you mean {inner}?" if (inner / MODEL_FILES[0]).exists() else ""
            what = f"{Path(error.filename or folder).name}: {reason(error)}"
            raise UserError(f"{folder} contains no complete AeLLE model ({what}{meant})") from error
        except Exception as error:
            raise UserError(f"{folder} contains no complete AeLLE model: {in_one_line(error)}") from error
        return model

    @torch.no_grad()
    def _encode(self, spectra: Any) -> Float[Tensor, "1 n L"]:
        check_is_fitted(self, "networks_")
        checked = np.asarray(validate_data(self, as_array(spectra), reset=False, dtype=np.float64))
        return self.networks_.encode(self.scaling_.curves(self._at_points(checked))[None].double())

    def _at_points(self, spectra: Float[Array, "n M"]) -> Float[Array, "n points"]:
        return spectra if self.points is None else curve(spectra, self.points)

    def _set_networks(self, parameters: dict[str, Tensor], n_features: int) -> None:
        self.classes_, self.n_features_in_ = np.array([0, 1]), n_features
        self.networks_ = Autoencoders(len(self.scaling_.mean), self.latent_size, [torch.Generator()])
        self.networks_.load_state_dict(parameters)
        # In float32, a row's result would depend on the other rows of its batch.
        self.networks_.double()

    def _embed(self, spectra: Float[Array, "n M"]) -> None:
        """PCA of the training rows' latent, PC1 turned so that it rises as the predicted loss falls."""
        latent = self.latent(spectra)
        pca = PCA(self.n_components).fit(latent)
        rise = np.cov(pca.transform(latent)[:, 0], self.predict_loss(spectra))[0, 1]
        self.center_, self.components_ = pca.mean_, np.asarray(pca.components_) * (1.0 if rise < 0 else -1.0)

    def _classify(self, spectra: Float[Array, "n M"], losses: Float[Array, "n"]) -> None:
        low = losses < self.threshold
        if low.all() or not low.any():
            raise TooFewError(
                f"the variants that set the classifier are all {'low' if low.all() else 'high'}-error at threshold "
                f"{self.threshold}: it needs both classes; choose another threshold, or more variants"
            )
        self.region_ = CLASSIFIERS[self.classifier](self.transform(spectra), low)


def fit_side_by_side(models: Sequence[AeLLE], samples: Sequence[Sample]) -> None:
    """Fit each model to its sample, all autoencoders as one population. The models may differ in their seeds only.

    The longest sample sets the number of steps; a model with a sample of that length is the same as if fitted alone.
    """
    # Lightning takes seconds to import, for which a model that is only loaded need not wait.
    from aelle.model.autoencoder_training import AutoencoderRows, AutoencoderTraining
    from aelle.trainer import lean_trainer

    for model in models:
        model.check_parameters()
    parts = [
        train_and_validation(sample, model.threshold, model.seed) for model, sample in zip(models, samples, strict=True)
    ]
    rows = []
    for model, ((spectra, losses), _) in zip(models, parts, strict=True):
        entering = model._at_points(spectra)
        model.scaling_ = Scaling.of(entering, losses, model.scaling)
        rows.append(AutoencoderRows(model.scaling_.curves(entering), model.scaling_.targets(losses)))
    first = models[0]
    chosen = {field.name: getattr(first, field.name) for field in fields(Training) if field.name != "batch_size"}
    training = Training(**{**chosen, "alphas": tuple(first.alphas)})
    module = AutoencoderTraining(rows, [m.seed for m in models], first.latent_size, training)
    trainer = lean_trainer(max_epochs=first.epochs, accelerator="cpu", enable_checkpointing=False)
    trainer.fit(module)
    for s, (model, (train, validation)) in enumerate(zip(models, parts, strict=True)):
        model._set_networks(module.networks.member(s), train[0].shape[1])
        model._embed(train[0])
        try:
            model._classify(*validation)
        except TooFewError:
            del model.networks_  # Back to unfitted, even if it was fitted before.
            raise
