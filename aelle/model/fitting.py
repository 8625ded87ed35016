"""Fitting models: all their autoencoders as one population, then weights, plane and classifier of each.

Axes: S autoencoder, V view, n row, F column.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.decomposition import PCA
from torch import Tensor

from aelle.errors import NothingVariesError, TooFewError
from aelle.model.autoencoder import Autoencoders, Training
from aelle.model.columns import CONDITIONS, CURVES, EXACT, Columns, columns, stage
from aelle.model.committee import Committee, Weights, gauge, held_out, held_out_decoded, weighted
from aelle.model.regions import CLASSIFIERS
from aelle.model.samples import (
    Rows,
    Sample,
    check_classes,
    checked,
    checked_validation,
    held_back,
    last_single,
    names_of,
)
from aelle.model.scaling import Scaling, constant
from aelle.model.views import COMMITTEE, COMMITTEE_OF_SPECTRA, SINGLE, View, attention, folds, sees, usable

if TYPE_CHECKING:
    from aelle.model.autoencoder_training import Trainees
    from aelle.model.estimator import AeLLE

COMMITTEE_LATENT = 8
"""Units of the latent of a committee's member, at most."""

JUDGED_ROWS = 2048
"""Rows that weights, plane and classifier are found from, at most."""

ERROR_QUANTILES = 1001
"""Of the reconstruction errors of the fit, which are kept."""


class Prepared(NamedTuple):
    """What one model is fitted to. `fold`: the members that do not learn from a row; −1 if all do."""

    rows: Rows
    validation: Rows | None
    given: Columns
    scaling: Scaling
    views: list[View]
    fold: Int[np.ndarray, "n"]

    @property
    def folds(self) -> int:
        return max(int(self.fold.max()) + 1, 1)

    @property
    def inputs(self) -> Float[Tensor, "n F"]:
        return self.scaling.inputs(self.given.values)

    @property
    def targets(self) -> Float[Tensor, "n"]:
        return self.scaling.targets(self.rows.losses)


def fit_side_by_side(models: "Sequence[AeLLE]", samples: Sequence[Sample]) -> None:
    """Fit each model to its sample, all autoencoders as one population. The models may differ in their seeds only, and
    the samples must have as many points and covariates.

    The longest sample sets the number of steps; a model with a sample of that length is the same as if fitted alone.
    """
    # Lightning takes seconds to import, for which a model that is only loaded need not wait.
    from aelle.model.autoencoder_training import AutoencoderTraining
    from aelle.trainer import lean_trainer

    for model in models:
        model.check_parameters()
    prepared = [_prepared(model, sample) for model, sample in zip(models, samples, strict=True)]
    first = models[0]
    chosen = {field.name: getattr(first, field.name) for field in fields(Training)}
    training = Training(**{**chosen, "alphas": tuple(first.alphas)})
    module = AutoencoderTraining(
        [_trainees(one, first.noise) for one in prepared],
        [model.seed for model in models],
        member_latent(first),
        training,
        skip=first.committee,
        anneal=first.committee,
    )
    steps = -1 if training.max_steps is None else training.max_steps
    lean_trainer(max_epochs=int(training.epochs), max_steps=steps, accelerator="cpu", enable_checkpointing=False).fit(
        module
    )
    end = 0
    for model, sample, one in zip(models, samples, prepared, strict=True):
        start, end = end, end + len(one.views) * one.folds
        try:
            _finish(model, one, module.networks.part(slice(start, end)))
        except TooFewError:
            del model.committee_  # Back to unfitted, even if it was fitted before.
            raise
        model._set_names(names_of(sample))


def member_latent(model: "AeLLE") -> int:
    return min(COMMITTEE_LATENT, model.latent_size) if model.committee else model.latent_size


def _prepared(model: "AeLLE", sample: Sample) -> Prepared:
    rows, validation = checked(sample), None
    if sample.validation is not None:
        validation = checked_validation(sample, rows)
    elif not model.committee:
        held = held_back(rows, model.threshold, model.seed)
        rows, validation = rows.take(~held), rows.take(held)
    else:
        check_classes(rows.losses < model.threshold, 2, rows.groups)
    points = model.points_of(rows.seen.last.shape[1])
    given = columns(rows.seen, points, model.scaling == "log", rows.covariates)
    views = SINGLE if not model.committee else COMMITTEE if rows.history else COMMITTEE_OF_SPECTRA
    fold = folds(rows.losses, rows.groups, model.seed) if model.committee else np.full(len(rows.losses), -1)
    _check_varies(given)
    scaling = Scaling.of(given, rows.losses, float(model.threshold), model.scaling)
    varied = np.isfinite(scaling.scale)
    telling = [view for view in usable(views, list(given.blocks)) if (sees(view, given, CONDITIONS) * varied).any()]
    return Prepared(rows, validation, given, scaling, telling, fold)


def _check_varies(given: Columns) -> None:
    """Raises NothingVariesError if networks differ in nothing but the stage of their training."""
    equal = constant(given.values)
    if all(equal[block].all() for name, block in given.blocks.items() if name not in CONDITIONS):
        raise NothingVariesError(
            f"all {len(given.values)} spectra are equal, so that nothing can be learned from them: give spectra that "
            "differ, or leave them out"
        )


def _trainees(one: Prepared, noise: float) -> "Trainees":
    """A member for each fold and view, fold after fold."""
    from aelle.model.autoencoder_training import Trainees

    members = [(f, view) for f in range(one.folds) for view in one.views]
    weights = [attention(v, one.rows.seen.share) * (one.folds == 1 or one.fold != f) for f, v in members]
    varied = np.isfinite(one.scaling.scale)
    reconstructed = np.stack([sees(view, one.given, CONDITIONS) for _, view in members]) * varied
    noisy = np.stack([sees(view, one.given, EXACT) for _, view in members]) * varied
    given = (
        one.inputs,
        one.targets,
        np.stack(weights),
        np.stack([sees(view, one.given) for _, view in members]),
        noisy * noise * np.array([[view.noise] for _, view in members]),
        reconstructed / reconstructed.sum(1, keepdims=True),
    )
    return Trainees(*(torch.as_tensor(part, dtype=torch.float32) for part in given))


def _finish(model: "AeLLE", one: Prepared, networks: Autoencoders) -> None:
    """Weights from the predictions of the members that did not learn from a row; then plane and classifier."""
    some = _judged(one.rows)
    share = one.rows.seen.share[some]
    at, x, V = stage(share), one.inputs[some], len(one.views)
    reconstructing = np.array([CURVES[0] in view.blocks and view.stage is None for view in one.views])
    committee = Committee(networks, Weights(np.ones(1), np.full((1, V), 1 / V)), None, reconstructing)
    left_out = held_out(committee, x, one.fold[some]) if one.folds > 1 else None
    if left_out is not None:
        committee.weights = weighted(left_out, one.targets[some].numpy(), at)
    latents, predictions = committee.members(x)
    prediction = committee.combined(predictions, at)
    if model.committee:
        committee.gauge = gauge(latents, prediction, model.latent_size)
    covariates = 0 if one.rows.covariates is None else one.rows.covariates.shape[1]
    model._set_committee(committee, one.scaling, one.rows.history, one.rows.seen.last.shape[1], covariates)
    if one.rows.history and one.scaling.logarithmic:
        model.single_until_ = last_single(one.rows.seen)
    latent = committee.common(latents, prediction)
    _embed(model, latent, prediction)
    decoded = committee.decode(x) if left_out is None else held_out_decoded(committee, x, one.fold[some])
    errors = model._errors(one.given.values[some], decoded)
    model.errors_ = np.quantile(errors, np.linspace(0, 1, ERROR_QUANTILES))
    losses = one.rows.losses[some]
    if one.validation is not None:
        losses, given, beside = one.validation.losses, one.validation.seen, one.validation.covariates
        latent, prediction = model.latent(given, covariates=beside), model.predict_target(given, covariates=beside)
    elif left_out is not None and committee.gauge is not None:
        expected = np.einsum("nv,vn->n", committee.weights.at(at), left_out)
        # The leading coordinate is the prediction, here of the members that did not learn from the row.
        latent[:, 0] += committee.gauge.matrix[-1, 0] * (expected - prediction)
        prediction = expected
    _classify(model, latent, prediction, losses)


def _embed(model: "AeLLE", latent: Float[np.ndarray, "n L"], prediction: Float[np.ndarray, "n"]) -> None:
    """PCA of the latent, PC1 turned so that it rises as the predicted loss falls."""
    model.center_, model.axes_ = latent.mean(0), np.zeros((model.latent_size, model.latent_size))
    # The gauge of a committee has made them principal components, the prediction the first even if it is constant.
    components = np.eye(model.latent_size) if model.committee else np.asarray(PCA().fit(latent).components_)
    rise = ((latent - model.center_) @ components[0]) @ (prediction - prediction.mean())
    model.axes_[: len(components)] = components * (-1.0 if rise >= 0 else 1.0)


def _classify(
    model: "AeLLE", latent: Float[np.ndarray, "n L"], prediction: Float[np.ndarray, "n"], losses: Float[np.ndarray, "n"]
) -> None:
    low = losses < model.threshold
    if low.all() or not low.any():
        raise TooFewError(
            f"the variants that set the classifier are all {'low' if low.all() else 'high'}-error at threshold "
            f"{model.threshold}: it needs both classes; choose another threshold, or more variants"
        )
    model.region_ = CLASSIFIERS[model.classifier]((latent - model.center_) @ model.components_.T, low)
    model.loss_region_ = CLASSIFIERS["threshold"](model._margin(prediction)[:, None], low)


def _judged(rows: Rows) -> Int[np.ndarray, "m"]:
    """All rows of as many variants as `JUDGED_ROWS` allows: evenly spaced by their losses, so of both classes. The
    variants of a group are told apart by their losses."""
    losses = np.nan_to_num(rows.losses, nan=np.inf)
    group = np.unique(rows.groups, return_inverse=True)[1]
    (_, of_variants), variant, sizes = np.unique(
        np.stack([group, losses]), axis=1, return_inverse=True, return_counts=True
    )
    count = max(min(len(sizes), int(JUDGED_ROWS / sizes.mean())), 2)
    chosen = np.argsort(of_variants, kind="stable")[np.linspace(0, len(sizes) - 1, count).astype(int)]
    return np.flatnonzero(np.isin(variant.ravel(), chosen))


def held_out_log_odds(model: "AeLLE", sample: Sample) -> Float[np.ndarray, "n"]:
    """Log odds of low error, by the predicted loss, of each row of the sample that `model` was fitted to, by
    autoencoders that did not learn from it: of a committee, by those that left the row out; of a single autoencoder,
    NaN but for the rows that were held back."""
    rows = checked(sample)
    points = model.points_of(rows.seen.last.shape[1])
    given = columns(rows.seen, points, model.scaling == "log", rows.covariates)
    x, at = model.scaling_.inputs(given.values), stage(rows.seen.share)
    if not model.committee:
        log_odds = model._loss_log_odds(model.committee_.predict(x, at))
        return np.where(held_back(rows, model.threshold, model.seed), log_odds, np.nan)
    left_out = held_out(model.committee_, x, folds(rows.losses, rows.groups, model.seed))
    return model._loss_log_odds(np.einsum("nv,vn->n", model.committee_.weights.at(at), left_out))
