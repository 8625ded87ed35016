"""AeLLE: spectra in; latent, embedding, predicted loss and class out. scikit-learn's conventions."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_is_fitted, check_X_y, validate_data
from torch import Tensor

from aelle.autoencoder import Autoencoders, AutoencoderTraining, Rows, Training
from aelle.errors import TooFewError, UserError
from aelle.evaluation import stratified_parts
from aelle.regions import CLASSIFIERS, Region
from aelle.scaling import Scaling
from aelle.trainer import lean_trainer

Array = np.ndarray

FITTED = ("center_", "components_")


class Sample(NamedTuple):
    """What one AeLLE is fitted to; see `AeLLE.fit`."""

    spectra: Any
    losses: Any
    groups: Any = None
    validation: tuple[Any, Any] | None = None


class AeLLE(ClassifierMixin, BaseEstimator):
    """Autoencoder of Lyapunov spectra that also predicts the loss; PCA of its latent; a classifier on that plane.

    How spectra and losses enter: `aelle.scaling.Scaling`. PC1 rises towards low error. `classifier`: a "threshold" on
    PC1, a "hyperplane", or an "ellipse" (`aelle.regions`); on its border the chance of low error is one half. Classes:
    1 = low-error (loss < `threshold`), 0 = high-error; a non-finite loss is high-error.

    `alphas`: the weight of the prediction in the autoencoder's loss, in equal stages of `epochs`. `prediction_norm`: 1
    for the absolute, 2 for the squared error of the prediction. Source: Vogt, Zheng, Shlizerman 2022.
    """

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
        seed: int = 0,
    ):
        self.threshold, self.latent_size, self.alphas, self.epochs = threshold, latent_size, alphas, epochs
        self.prediction_norm, self.embedding, self.n_components = prediction_norm, embedding, n_components
        self.classifier, self.seed = classifier, seed

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

        Raises ValueError for non-finite spectra, for no finite loss, and where the variants that set the classifier are
        all of one class.
        """
        fit_side_by_side([self], [Sample(spectra, losses, groups, validation)])
        return self

    def check_parameters(self) -> None:
        """Raises ValueError for a parameter that no fit could use."""
        choices = {"embedding": ("pca",), "classifier": tuple(CLASSIFIERS), "prediction_norm": (1, 2)}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise UserError(f"{name}={getattr(self, name)!r}: choose {' or '.join(map(repr, allowed))}")
        for name, least in (("latent_size", 1), ("epochs", 1), ("n_components", 1), ("seed", 0)):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < least:
                raise UserError(f"{name}={getattr(self, name)}: give a whole number of at least {least}")
        if self.n_components > self.latent_size:
            raise UserError(f"n_components={self.n_components}: the latent has {self.latent_size} dimensions to embed")
        if not len(self.alphas) or not all(isinstance(alpha, (int, float)) and alpha >= 0 for alpha in self.alphas):
            raise UserError(f"alphas={list(self.alphas)}: give at least one number, none negative")

    def score(self, spectra: Any, losses: Any) -> float:
        """Accuracy: the share of variants that are put in the right class, given their final losses."""
        return float((self.predict(spectra) == (np.asarray(_array(losses)) < self.threshold)).mean())

    def latent(self, spectra: Any) -> Float[Array, "n L"]:
        return self._encode(spectra)[0].double().numpy()

    def transform(self, spectra: Any) -> Float[Array, "n components"]:
        """The embedding; PC1 rises towards low error."""
        return (self.latent(spectra) - self.center_) @ self.components_.T

    @torch.no_grad()
    def reconstruct(self, spectra: Any) -> Float[Array, "n M"]:
        """The spectra as the decoder gives them back, nats per step."""
        return self.scaling_.spectra(self.networks_.decode(self._encode(spectra))[0])

    @torch.no_grad()
    def predict_loss(self, spectra: Any) -> Float[Array, "n"]:
        return self.scaling_.losses(self.networks_.predict(self._encode(spectra))[0])

    def decision_function(self, spectra: Any) -> Float[Array, "n"]:
        """Log odds of low error."""
        points = self.transform(spectra)
        return self.region_.log_odds(points)

    def predict(self, spectra: Any) -> Int[Array, "n"]:
        return (self.decision_function(spectra) > 0).astype(int)

    def predict_proba(self, spectra: Any) -> Float[Array, "n 2"]:
        """Chance of high and of low error."""
        log_odds = self.decision_function(spectra)
        return np.exp(-np.logaddexp(0, np.stack([log_odds, -log_odds], 1)))

    def save(self, folder: str | Path) -> None:
        """Parameters as JSON and arrays as NPZ: nothing that could run code when it is read."""
        check_is_fitted(self)
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        network = {f"network.{name}": tensor.numpy() for name, tensor in self.networks_.state_dict().items()}
        scaling = {f"scaling.{name}": np.asarray(value) for name, value in self.scaling_._asdict().items()}
        region = {f"region.{name}": value for name, value in self.region_._asdict().items()}
        fitted = {name: np.asarray(getattr(self, name)) for name in FITTED}
        np.savez(folder / "arrays.npz", **fitted, **scaling, **region, **network)
        parameters = {**self.get_params(), "threshold": float(self.threshold), "alphas": list(self.alphas)}
        (folder / "aelle.json").write_text(json.dumps({"format": 1, "parameters": parameters}, indent=2))

    @classmethod
    def load(cls, folder: str | Path) -> "AeLLE":
        try:
            description = json.loads((Path(folder) / "aelle.json").read_text())
            if description["format"] != 1:
                raise ValueError(f"its format is {description['format']}, and this version reads format 1")
            parameters = description["parameters"]
            model = cls(**{**parameters, "alphas": tuple(parameters["alphas"])})
            with np.load(Path(folder) / "arrays.npz", allow_pickle=False) as arrays:
                found = {name: arrays[name] if arrays[name].ndim else arrays[name].item() for name in arrays.files}
            for name in FITTED:
                setattr(model, name, found[name])
            model.scaling_ = Scaling(**_part(found, "scaling."))
            model.region_ = Region(**{name: np.asarray(value) for name, value in _part(found, "region.").items()})
            model._set_networks({name: torch.as_tensor(array) for name, array in _part(found, "network.").items()})
        except Exception as error:
            raise UserError(f"{folder} holds no whole AeLLE model: {str(error).splitlines()[0]}") from error
        return model

    @torch.no_grad()
    def _encode(self, spectra: Any) -> Float[Tensor, "1 n L"]:
        check_is_fitted(self, "networks_")
        checked = np.asarray(validate_data(self, _array(spectra), reset=False, dtype=np.float64))
        return self.networks_.encode(self.scaling_.curves(checked)[None])

    def _set_networks(self, parameters: dict[str, Tensor]) -> None:
        self.classes_, self.n_features_in_ = np.array([0, 1]), len(self.scaling_.mean)
        self.networks_ = Autoencoders(self.n_features_in_, self.latent_size, [torch.Generator()])
        self.networks_.load_state_dict(parameters)

    def _embed(self, spectra: Float[Array, "n M"]) -> None:
        """PCA of the training rows' latent, PC1 turned so that it rises as the predicted loss falls."""
        latent = self.latent(spectra)
        pca = PCA(self.n_components).fit(latent)
        rise = np.cov(pca.transform(latent)[:, 0], np.log(self.predict_loss(spectra)))[0, 1]
        self.center_, self.components_ = pca.mean_, np.asarray(pca.components_) * (1.0 if rise < 0 else -1.0)

    def _classify(self, spectra: Float[Array, "n M"], losses: Float[Array, "n"]) -> None:
        low = losses < self.threshold
        if low.all() or not low.any():
            raise TooFewError(
                f"the variants that set the classifier are all {'low' if low.all() else 'high'}-error at threshold "
                f"{self.threshold}: it needs both kinds; choose another threshold, or more variants"
            )
        self.region_ = CLASSIFIERS[self.classifier](self.transform(spectra), low)


def fit_side_by_side(models: Sequence[AeLLE], samples: Sequence[Sample]) -> None:
    """Fit each model to its sample, all autoencoders as one population. The models may differ in their seeds only.

    The longest sample sets the number of steps; a model with a sample as long is what it would be alone.
    """
    parts = [_parts(model, sample) for model, sample in zip(models, samples, strict=True)]
    rows = []
    for model, ((spectra, losses), _) in zip(models, parts, strict=True):
        model.scaling_ = Scaling.of(spectra, losses)
        rows.append(Rows(model.scaling_.curves(spectra), model.scaling_.targets(losses)))
    first = models[0]
    training = Training(tuple(first.alphas), first.epochs, first.prediction_norm)
    module = AutoencoderTraining(rows, [m.seed for m in models], first.latent_size, training)
    trainer = lean_trainer(max_epochs=first.epochs, accelerator="cpu", enable_checkpointing=False)
    trainer.fit(module)
    for s, (model, (train, validation)) in enumerate(zip(models, parts, strict=True)):
        model._set_networks(module.networks.member(s))
        model._embed(train[0])
        try:
            model._classify(*validation)
        except TooFewError:
            del model.networks_  # Not fitted, whatever it was before.
            raise


def _parts(model: AeLLE, sample: Sample) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """The rows that train the autoencoder and those that set the classifier."""
    model.check_parameters()
    spectra, losses = _checked(sample.spectra, sample.losses)
    if sample.validation is not None:
        return (spectra, losses), _checked(*sample.validation)
    groups = np.arange(len(losses)) if sample.groups is None else np.asarray(_array(sample.groups))
    if groups.shape != losses.shape:
        raise UserError(f"groups of shape {list(groups.shape)}: give one for each of the {len(losses)} rows")
    names, firsts = np.unique(groups, return_index=True)
    _, held_back = stratified_parts(losses[firsts] < model.threshold, (0.8, 0.2), model.seed)
    held = np.isin(groups, names[held_back])
    return (spectra[~held], losses[~held]), (spectra[held], losses[held])


def _checked(spectra: Any, losses: Any) -> tuple[Array, Array]:
    losses = np.asarray(_array(losses), dtype=np.float64)
    spectra, _ = check_X_y(_array(spectra), np.nan_to_num(losses), dtype="float64", ensure_min_samples=2)
    return spectra, losses


def _array(values: Any) -> Any:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def _part(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
