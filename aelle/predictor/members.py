"""The members of the recommended predictor: each predicts low error from some of the inputs.

Axes: E epoch that members are fitted at, V variant, k epoch so far, F column.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import logit

from aelle.lyapunov.features import scalar_features
from aelle.lyapunov.spectra_so_far import SpectraSoFar
from aelle.lyapunov.spectrum import curve, signed_log
from aelle.model.estimator import AeLLE
from aelle.model.fitting import held_out_log_odds
from aelle.model.samples import sweep_sample
from aelle.predictor.encoding import Encoding
from aelle.predictor.forest import Forest, grow
from aelle.predictor.observed import Observed
from aelle.predictor.ridge import Ridge, fit_ridge
from aelle.seeds import sample
from aelle.sweep.table import SweepTable

MIN_VARIANTS = 3
"""Known variants with their inputs that a fit needs."""

HYPERPARAMETERS_ONLY = "hyperparameters only"
LOSS_AND_HYPERPARAMETERS = "loss and hyperparameters, linear"

LEAST_LOSS = 1e-12
"""Losses are cut off here, before their logarithm is taken."""

FOREST_EPOCHS = 8
"""Epochs that trees are grown on, at most."""

FOREST_ROWS = 4096
"""Rows that trees are grown on, at most: of more variants, a random sample at each epoch."""


class Known(NamedTuple):
    """What all members are fitted to. `at`: what is known at each of some epochs; `target` [V]: log of the final loss
    over the threshold, where a diverged variant counts as the worst; `worst` [E]: the largest known loss of each
    epoch; `draws` [V]: which variants share a draw of the hyperparameters, None if none do."""

    at: list[Observed]
    target: Float[np.ndarray, "V"]
    encoding: Encoding
    worst: Float[np.ndarray, "E"]
    seed: int
    draws: Int[np.ndarray, "V"] | None = None

    @property
    def low(self) -> Bool[np.ndarray, "V"]:
        return self.target < 0


class Member(ABC):
    """`needs`: the inputs that it predicts from."""

    needs: tuple[str, ...]

    def __init__(self, name: str):
        self.name = name

    @abstractmethod
    def fit(self, known: Known) -> Float[np.ndarray, "E V"]:
        """Returns the log odds of the known variants by fits that leave the variant out, and all others of its draw;
        NaN where it says nothing."""

    @abstractmethod
    def log_odds(self, observed: Observed) -> Float[np.ndarray, "V"]:
        """Of variants that have what it needs; NaN before the first epoch that it was fitted at."""

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """What was fitted, to be saved."""

    @abstractmethod
    def restore(self, arrays: dict[str, np.ndarray], encoding: Encoding, worst: Float[np.ndarray, "E"]) -> None: ...

    def _known(self, observed: Observed) -> Bool[np.ndarray, "V"]:
        return np.logical_and.reduce([observed.known(name) for name in self.needs])


class Regression(Member):
    """Ridge regressions on the log of the final loss, one per epoch. `squashed`: on its hyperbolic tangent, for which
    losses far from the threshold are low or high, however far they are."""

    def __init__(self, name: str, needs: tuple[str, ...], squashed: bool):
        super().__init__(name)
        self.needs, self.squashed = needs, squashed
        self.ridges: dict[int, Ridge] = {}

    @abstractmethod
    def columns(self, observed: Observed, at: int) -> Float[np.ndarray, "V F"]:
        """`at`: the epoch whose regression is used, at most that of `observed`."""

    def fit(self, known: Known) -> Float[np.ndarray, "E V"]:
        self.encoding, self.worst = known.encoding, known.worst
        spread = float(known.target.std()) or 1.0
        target = np.tanh(known.target / spread) if self.squashed else known.target
        found = np.full((len(known.at), len(target)), np.nan)
        for e, observed in enumerate(known.at):
            rows = self._known(observed)
            if rows.sum() < MIN_VARIANTS:
                continue
            columns, draws = self.columns(observed.take(rows), observed.epoch), known.draws
            ridge, left_out = fit_ridge(columns, target[rows], None if draws is None else draws[rows])
            self.ridges[observed.epoch], found[e, rows] = ridge, ridge.log_odds_below(0.0, left_out)
        return found

    def log_odds(self, observed: Observed) -> Float[np.ndarray, "V"]:
        at = max((k for k in self.ridges if k <= observed.epoch), default=None)
        if at is None:
            return np.full(len(observed), np.nan)
        ridge = self.ridges[at]
        return ridge.log_odds_below(0.0, ridge.predict(self.columns(observed, min(at, observed.epoch))))

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            f"{epoch}.{name}": np.asarray(value)
            for epoch, ridge in self.ridges.items()
            for name, value in ridge._asdict().items()
        }

    def restore(self, arrays: dict[str, np.ndarray], encoding: Encoding, worst: Float[np.ndarray, "E"]) -> None:
        self.encoding, self.worst = encoding, worst
        for epoch in sorted({int(name.split(".")[0]) for name in arrays}):
            part: dict[str, Any] = {name: arrays[f"{epoch}.{name}"] for name in Ridge._fields}
            self.ridges[epoch] = Ridge(**part)


class Features(Regression):
    """The scalar features of the spectrum and of the mean of the spectra so far."""

    def columns(self, observed: Observed, at: int) -> Float[np.ndarray, "V F"]:
        assert observed.spectra is not None
        return spectrum_features(observed.spectra)


class Hyperparameters(Regression):
    """The hyperparameters, their squares and products."""

    def columns(self, observed: Observed, at: int) -> Float[np.ndarray, "V F"]:
        assert observed.hyperparameters is not None
        return self.encoding.columns(observed.hyperparameters, quadratic=True)


class LossesAndHyperparameters(Regression):
    """All losses so far and the hyperparameters."""

    def columns(self, observed: Observed, at: int) -> Float[np.ndarray, "V F"]:
        return np.concatenate(
            [log_losses(observed.losses, self.worst)[:, : at + 1], _columns(self.encoding, observed)], 1
        )


class LossAndHyperparameters(Regression):
    """The last loss and the hyperparameters."""

    def columns(self, observed: Observed, at: int) -> Float[np.ndarray, "V F"]:
        return np.concatenate([log_losses(observed.losses, self.worst)[:, -1:], _columns(self.encoding, observed)], 1)


class QuadraticLossAndHyperparameters(Regression):
    """The last loss, how far losses have fallen since half of that time, the hyperparameters, their squares and
    products."""

    def columns(self, observed: Observed, at: int) -> Float[np.ndarray, "V F"]:
        last = recent_losses(log_losses(observed.losses, self.worst))
        return np.concatenate([last, _columns(self.encoding, observed, quadratic=True)], 1)


class Extrapolation(Regression):
    """The final loss by a power law through the second half of the learning curve so far."""

    def columns(self, observed: Observed, at: int) -> Float[np.ndarray, "V F"]:
        logs = log_losses(observed.losses, self.worst)
        k = logs.shape[1] - 1
        first = max(1, k // 2)
        if k <= first:
            return logs[:, k:]
        time = np.log(np.arange(first, k + 1))
        slope = logs[:, first:] @ (time - time.mean()) / ((time - time.mean()) ** 2).sum()
        return (logs[:, first:].mean(1) + slope * (np.log(observed.epochs) - time.mean()))[:, None]


class Trees(Member):
    """A forest on the stage of training, the last loss, how far losses have fallen, and the hyperparameters: one for
    all epochs."""

    needs = ("losses", "hyperparameters")

    def fit(self, known: Known) -> Float[np.ndarray, "E V"]:
        self.encoding, self.worst = known.encoding, known.worst
        V = len(known.target)
        told = [one for one in known.at if self._known(one).any()]
        # At the end, the loss is what is to be predicted.
        early = [one for one in told if one.epoch < one.epochs] or told
        chosen = [early[e] for e in np.unique(np.linspace(0, len(early) - 1, FOREST_EPOCHS).round().astype(int))]
        rows = [np.flatnonzero(self._known(one)) for one in chosen]
        most = FOREST_ROWS // len(chosen)
        rows = [some[sample(len(some), most, known.seed, one.epoch)] for one, some in zip(chosen, rows, strict=True)]
        columns = [self._columns(one.take(some)) for one, some in zip(chosen, rows, strict=True)]
        self.forest, grown_on = grow(np.concatenate(columns), np.concatenate(rows), known.low, known.seed, known.draws)
        self.surest = 0.5 / V
        found = np.full((len(known.at), V), np.nan)
        for e, observed in enumerate(known.at):
            some = np.flatnonzero(self._known(observed))
            if not len(some):
                continue
            tree, row = np.nonzero(~grown_on[:, some])
            counts = np.bincount(row, minlength=len(some))
            shares = np.bincount(row, self.forest.at(self._columns(observed.take(some)), tree, row), len(some))
            found[e, some] = self._log_odds(np.where(counts, shares / np.maximum(counts, 1), known.low.mean()))
        return found

    def log_odds(self, observed: Observed) -> Float[np.ndarray, "V"]:
        return self._log_odds(self.forest.of_trees(self._columns(observed)).mean(0))

    def arrays(self) -> dict[str, np.ndarray]:
        return {**self.forest._asdict(), "surest": np.array(self.surest)}

    def restore(self, arrays: dict[str, np.ndarray], encoding: Encoding, worst: Float[np.ndarray, "E"]) -> None:
        self.encoding, self.worst = encoding, worst
        self.surest = float(arrays["surest"])
        self.forest = Forest(*(arrays[name] for name in Forest._fields))

    def _log_odds(self, share: Float[np.ndarray, "V"]) -> Float[np.ndarray, "V"]:
        return logit(np.clip(share, self.surest, 1 - self.surest))

    def _columns(self, observed: Observed) -> Float[np.ndarray, "V F"]:
        last = recent_losses(log_losses(observed.losses, self.worst))
        stage = np.full((len(last), 1), np.sqrt(observed.epoch / observed.epochs))
        return np.concatenate([stage, last, _columns(self.encoding, observed)], 1)


class Spectra(Member):
    """The loss that AeLLE predicts."""

    needs = ("spectra",)

    def __init__(self, name: str, model: AeLLE, left_out: Float[np.ndarray, "E V"] | None = None):
        """`left_out`: what `model`, which was fitted to the known variants, says of them where it left them out."""
        super().__init__(name)
        self.model, self.left_out = model, left_out

    def fit(self, known: Known) -> Float[np.ndarray, "E V"]:
        assert self.left_out is not None
        return self.left_out

    def log_odds(self, observed: Observed) -> Float[np.ndarray, "V"]:
        assert observed.spectra is not None
        return self.model.loss_decision_function(at_length(observed.spectra, self.model.n_features_in_))

    def arrays(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, arrays: dict[str, np.ndarray], encoding: Encoding, worst: Float[np.ndarray, "E"]) -> None:
        pass


def at_length(seen: SpectraSoFar, points: int) -> SpectraSoFar:
    """Spectra of another length are resampled."""
    if seen.last.shape[1] == points:
        return seen
    return SpectraSoFar(curve(seen.last, points), curve(seen.mean, points), seen.share, seen.exponents)


def spectrum_features(seen: SpectraSoFar) -> Float[np.ndarray, "V F"]:
    return signed_log(np.concatenate([scalar_features(seen.last), scalar_features(seen.mean)], 1))


def log_losses(given: Float[np.ndarray, "V k"] | None, worst: Float[np.ndarray, "E"]) -> Float[np.ndarray, "V k"]:
    """Those that are not finite, or worse than all known ones of that epoch, are set to the worst known one."""
    assert given is not None
    return np.log(np.clip(np.where(np.isnan(given), np.inf, given), LEAST_LOSS, worst[: given.shape[1]]))


def recent_losses(logs: Float[np.ndarray, "V k"]) -> Float[np.ndarray, "V 2"]:
    """The last log loss, and how far it is below that at half of the time."""
    k = logs.shape[1] - 1
    return np.stack([logs[:, k], logs[:, k // 2] - logs[:, k]], 1)


def _columns(encoding: Encoding, observed: Observed, quadratic: bool = False) -> Float[np.ndarray, "V F"]:
    assert observed.hyperparameters is not None
    return encoding.columns(observed.hyperparameters, quadratic)


def members(model: AeLLE | None, left_out: Float[np.ndarray, "E V"] | None = None) -> list[Member]:
    """All of them, not yet fitted; without AeLLE where there is no model."""
    both = ("losses", "hyperparameters")
    found: list[Member] = [
        Features("spectrum features, linear", ("spectra",), squashed=True),
        LossAndHyperparameters(LOSS_AND_HYPERPARAMETERS, both, squashed=False),
        QuadraticLossAndHyperparameters("loss and hyperparameters, quadratic", both, squashed=True),
        LossesAndHyperparameters("losses and hyperparameters, linear", both, squashed=False),
        Trees("loss and hyperparameters, trees"),
        Hyperparameters(HYPERPARAMETERS_ONLY, ("hyperparameters",), squashed=True),
        Extrapolation("learning curve, extrapolated", ("losses",), squashed=False),
    ]
    return [*([] if model is None else [Spectra("AeLLE, loss head", model, left_out)]), *found]


def left_out_log_odds(
    known: SweepTable, at: Sequence[Observed], model: AeLLE | None
) -> Float[np.ndarray, "E V"] | None:
    """What AeLLE says of each known variant after each epoch by the autoencoders that did not learn from it."""
    if model is None:
        return None
    said = held_out_log_odds(model, sweep_sample(known, np.arange(len(known.losses))))
    by_epoch, end = {}, 0
    for k in known.measured_epochs:
        rows = known.seen(k).known
        by_epoch[k] = np.full(len(rows), np.nan)
        start, end = end, end + int(rows.sum())
        by_epoch[k][rows] = said[start:end]
    nothing = np.full(len(known.losses), np.nan)
    return np.stack([by_epoch.get(one.epoch, nothing) for one in at])


def restored(arrays: dict[str, Any], encoding: Encoding, worst: np.ndarray, model: AeLLE | None) -> list[Member]:
    """`arrays`: of each member, by its name."""
    found = []
    for member in members(model):
        if member.name in arrays or isinstance(member, Spectra):
            member.restore(arrays.get(member.name, {}), encoding, worst)
            found.append(member)
    return found
