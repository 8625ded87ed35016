"""How a sweep and its variants differ from those that a predictor was fitted to, in words.

Axes: V variant.
"""

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Float

from aelle.predictor.early_predictor import EarlyPredictor
from aelle.sweep.arrays import ARRAYS

SHOWN = 5
"""Hyperparameters that are named, at most."""

SHOWN_REASONS = 2
"""Why variants are outside: at most so many reasons."""


def differences(
    predictor: EarlyPredictor,
    task: str,
    epochs: int,
    threshold: float,
    hyperparameters: Collection[str],
    exponents: int | None = None,
) -> list[str]:
    """What may make predictions worse, and which inputs cannot be used, a line each; what is unknown is skipped.

    `hyperparameters`: the names that the sweep has; `exponents`: of its spectra, 0 for none, None for unknown.
    """
    said, model = unlike_known(predictor, task, epochs, threshold, hyperparameters), predictor.model_
    if model is None and exponents != 0:
        said.append("the model was fitted without spectra: they are not used")
    elif model is not None and exponents == 0:
        said.append("this sweep has no spectra: they are not used")
    elif model is not None and exponents not in (None, model.n_features_in_):
        said.append(f"the model was fitted to spectra of {model.n_features_in_} exponents; these have {exponents}")
    return said


def unlike_known(
    predictor: EarlyPredictor,
    task: str,
    epochs: int,
    threshold: float,
    hyperparameters: Collection[str],
    what: str = "sweep",
) -> list[str]:
    """Why the sweep is not like the known one, a line each: what `EarlyPredictor.cut` promises does not hold then.
    `what`: how it is called, if not a sweep."""
    said, learned = [], predictor.learned_from_
    if ARRAYS not in (task, learned.get("task")) and learned.get("task", task) != task:
        said.append(f"the model was fitted to the task {learned['task']}; this {what}'s is {task}")
    if predictor.epochs_ != epochs:
        said.append(
            f"the model was fitted to {predictor.epochs_}-epoch runs; this {what} has {epochs}: losses are not used"
        )
    if lacking := [name for name in predictor.encoding_.varied if name not in hyperparameters]:
        names = f"{', '.join(lacking[:SHOWN])}{', …' if len(lacking) > SHOWN else ''}"
        said.append(
            f"the model knows the hyperparameters {names}, which this {what} lacks: hyperparameters are not used"
        )
    if learned.get("pruned"):
        said.append("the model was fitted to a pruned sweep and knows few poor variants: do not use it to prune")
    if np.isfinite(threshold) and not np.isclose(predictor.threshold, threshold, rtol=1e-9):
        said.append(
            f"the model's chances are of a loss below {predictor.threshold:.4g}; "
            f"low-error here is below {threshold:.4g}"
        )
    return said


def outside_in_words(chances: Float[np.ndarray, "V"], outside: Sequence[str]) -> str:
    """How many variants are outside of what the predictor knows, and the most frequent reasons; "" for none. They have
    all the same chance, but for the diverged ones, which have none."""
    rows = [v for v, reason in enumerate(outside) if reason and np.isfinite(chances[v])]
    if not rows:
        return ""
    reasons = [reason for reason, _ in Counter(outside[v] for v in rows).most_common()]
    why = "; ".join(reasons[:SHOWN_REASONS]) + ("; …" if len(reasons) > SHOWN_REASONS else "")
    are = "variants are" if len(rows) > 1 else "variant is"
    return f"{len(rows)} {are} outside of what the model knows ({why}): chance {100 * chances[rows[0]]:.0f} %"
