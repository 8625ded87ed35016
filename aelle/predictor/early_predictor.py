"""EarlyPredictor: what is known of a training so far in, the chance of low error out.

Axes: V variant, E epoch, M point of the common-length spectrum, m member.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.special import logit
from sklearn.exceptions import NotFittedError

from aelle.errors import NothingVariesError, TooFewError, UserError, check_kind
from aelle.model.estimator import AeLLE
from aelle.model.parameters import check_threshold
from aelle.model.samples import Names, check_names, class_sample, column_names, sweep_sample
from aelle.predictor.encoding import Encoding
from aelle.predictor.files import arrays_of, read_predictor, write_predictor
from aelle.predictor.low_chances import low_chances
from aelle.predictor.members import Known, Member, at_length, left_out_log_odds, members
from aelle.predictor.observed import INPUTS, Observed, check_epoch, observed, so_far, typical
from aelle.predictor.outside import neighbourhoods, places
from aelle.predictor.prediction import Prediction, with_what_is_certain
from aelle.predictor.stacking import StackAt, stack
from aelle.sweep.anomalies import warn_of
from aelle.sweep.arrays import table_of
from aelle.sweep.table import SweepTable

MAX_EPOCHS = 50
"""Epochs that members are fitted at, at most; those with spectra first."""

MAX_VARIANTS = 2000
"""Variants that are learned from, at most, drawn at random; see `aelle.analysis.early.MAX_KNOWN`."""

SUBSETS = [some for size in (1, 2, 3) for some in combinations(INPUTS, size)]
"""Of inputs that a network can have."""


class EarlyPredictor:
    """Predicts which networks will end low-error, from losses, spectra and hyperparameters so far.

    Its members (`aelle.predictor.members`), AeLLE among them, are combined by non-negative weights, learned from the
    log odds of variants that the members were not fitted to. Where an input is missing, it uses the members that need
    none. A network unlike those that it has learned from is marked as outside and gets the share of low error.

    `threshold`: low-error is a final loss below it. `aelle`: parameters of AeLLE other than the defaults. `seed`: of
    AeLLE, of the forest and of what is drawn at random.
    """

    def __init__(self, threshold: float, *, aelle: Mapping[str, Any] | None = None, seed: int = 0):
        self.threshold, self.aelle, self.seed = threshold, aelle, seed
        self.learned_from_: dict[str, str | int] = {}
        self.loss_names_: Names | None = None

    def fit(self, losses: Any, spectra: Any = None, hyperparameters: Any = None) -> "EarlyPredictor":
        """Fit to validation losses [V, E] of epochs 0 (before training) to the last, spectra [V, E, M] in nats per
        step, NaN where none was measured, and hyperparameters, a mapping or frame of names to values [V]. Or to a
        sweep's table (`aelle.load_sweep`) alone. Variants that share a draw of the hyperparameters, and differ in their
        seeds only, are learned from as one group: none is predicted by fits to another. Of spectra that are all equal,
        nothing is learned. Of what looks wrong in arrays, such as an outcome among the hyperparameters, it warns.

        Raises ValueError for other shapes, where all variants are of one class, and where nothing is known but final
        losses.
        """
        check_threshold(self.threshold)
        sweep = losses if isinstance(losses, SweepTable) else table_of(losses, spectra, hyperparameters)
        warn_of(sweep.anomalies if sweep is not losses else ())
        self.loss_names_ = column_names(losses)
        complete = sweep.complete()
        of_spectra = self._of_spectra()
        if isinstance(losses, SweepTable):
            _check_alone(spectra=spectra, hyperparameters=hyperparameters)
        # Arrays have no threshold of their own.
        low = complete.final_loss < self.threshold
        base_rate = float(low.mean()) if len(low) else None
        complete = complete.take(class_sample(low, MAX_VARIANTS, self.seed))
        model = None
        if complete.measured_epochs:
            rows = sweep_sample(complete, np.arange(len(complete.losses)))
            with suppress(NothingVariesError):
                model = of_spectra.fit(rows.spectra, rows.losses, groups=rows.groups)
        others = np.setdiff1d(np.arange(complete.epochs), complete.measured_epochs)
        room = max(MAX_EPOCHS - len(complete.measured_epochs), 0)
        some = others[np.unique(np.linspace(0, len(others) - 1, min(room, len(others))).astype(int))]
        self.fit_to(complete, model, sorted({*complete.measured_epochs, *some.tolist()}), base_rate=base_rate)
        if not self.stacks_:
            raise _nothing_known()
        self.learned_from_ = {"task": sweep.task, "epochs": sweep.epochs, "variants": len(complete.losses)}
        if sweep.pruned:
            self.learned_from_["pruned"] = sweep.pruned
        return self

    def fit_to(
        self,
        known: SweepTable,
        model: AeLLE | None,
        epochs: Sequence[int],
        subsets: Sequence[tuple[str, ...]] | None = None,
        base_rate: float | None = None,
    ) -> "EarlyPredictor":
        """Fit all but AeLLE to complete variants. `model`: fitted to them, or None; `epochs`: that members are fitted
        at; `subsets`: of inputs, for which stacks are learned; None: all, and the chances that `cut` needs;
        `base_rate`: the share of low error among all variants, if `known` are a sample with another."""
        finite = known.final_loss[np.isfinite(known.final_loss)]
        # A diverged variant is high-error, also where all others are low-error.
        final = np.nan_to_num(known.final_loss, nan=max(finite.max(initial=0.0), np.e * self.threshold))
        low = final < self.threshold
        if low.all() or not low.any():
            raise TooFewError(
                f"all {len(low)} variants are {'low' if low.all() else 'high'}-error at threshold {self.threshold}: "
                "a predictor needs both classes; choose another threshold, or more variants"
            )
        of_sample = float(low.mean())
        self.base_rate_ = of_sample if base_rate is None else base_rate
        self.prior_shift_ = float(logit(self.base_rate_) - logit(of_sample))
        self.epochs_, self.model_ = known.epochs, model
        frame = known.variants[known.hyperparameters].reset_index(drop=True)
        worst = np.nanmax(known.losses, axis=0, initial=self.threshold)
        self.encoding_, self.worst_ = Encoding.of(frame), worst
        self.typical_ = typical(known.losses, worst)
        at = [self.readable(observed(known, k)) for k in epochs]
        everything = Known(at, np.log(final / self.threshold), self.encoding_, worst, self.seed, known.draws)
        self.members_ = [
            member for member in members(model, left_out_log_odds(known, at, model)) if self._usable(member, at)
        ]
        if not self.members_:
            raise _nothing_known()
        said = np.stack([member.fit(everything) for member in self.members_], 2)
        self._stack(said, everything, SUBSETS if subsets is None else subsets)
        self.neighbourhoods_ = neighbourhoods(at, known.draws)
        if subsets is None:
            self.low_chances_ = low_chances(said, everything, self.stacks_, self.prior_shift_)
        return self

    def predict(self, given: Observed) -> Prediction:
        """What is to be said of networks so far; of arrays, see `predict_proba`."""
        self.check_fitted()
        check_kind("given", given, Observed, "predict_proba takes arrays of losses, spectra and hyperparameters")
        readable = self.readable(given)
        return self.combined(readable, self.said(readable))

    def said(self, given: Observed) -> Float[np.ndarray, "V m"]:
        """The log odds of each member; NaN where it lacks an input."""
        found = np.full((len(given), len(self.members_)), np.nan)
        for m, member in enumerate(self.members_):
            rows = np.logical_and.reduce([given.known(name) for name in member.needs])
            if rows.any():
                found[rows, m] = member.log_odds(given.take(rows))
        return found

    def combined(self, given: Observed, said: Float[np.ndarray, "V m"], guarded: bool = True) -> Prediction:
        """The stack of what the members have `said`: of those that need what is `given`. `guarded`: networks outside of
        what is known get the base rate; otherwise they are marked only."""
        V = len(given)
        log_odds, outside = np.full(V, np.nan), self._outside(given)
        has = np.stack([given.known(name) for name in INPUTS], 1)
        for pattern in np.unique(has, axis=0):
            rows = np.flatnonzero((has == pattern).all(1))
            inputs = {name for name, there in zip(INPUTS, pattern, strict=True) if there}
            # Of the stacks of these inputs or of some of them, that of the most inputs.
            for some in sorted(filter(inputs.issuperset, self.stacks_), key=len, reverse=True):
                at = self.stacks_[some]
                e = self._nearest(at.epochs, given)
                if e is not None:
                    log_odds[rows] = at.stack.log_odds(e, said[rows][:, at.members])
                    break
        if guarded:
            log_odds[np.array(outside) != ""] = logit(self.base_rate_)
        return with_what_is_certain(given, self.threshold, log_odds, outside)

    def predict_proba(
        self,
        losses: Any = None,
        spectra: Any = None,
        hyperparameters: Any = None,
        epoch: int = 0,
        *,
        epochs: int | None = None,
    ) -> Float[np.ndarray, "V 2"]:
        """Chance of high and of low error after `epoch`, from losses [V, E], spectra [V, E, M] in nats per step and
        hyperparameters as in `fit`, or from a sweep's table in the place of losses. None for what is not known; of
        later epochs nothing is used. `epochs`: how long the trainings are, if not as long as those of the fit.

        A loss that is NaN was not measured: give an infinite one for a network that has diverged. A table says itself
        which have; its variant that has not come so far gets NaN. Of spectra that are not used, it warns. Raises
        ValueError for other shapes, for another epoch, and for hyperparameters of other names in the place of known
        ones.
        """
        self.check_fitted()
        if isinstance(losses, SweepTable):
            _check_alone(spectra=spectra, hyperparameters=hyperparameters, epochs=epochs)
            given = observed(losses, epoch)
        else:
            check_names("losses", losses, self.loss_names_)
            given = so_far(losses, spectra, hyperparameters, epoch, self.epochs_ if epochs is None else epochs)
            self.encoding_.check_names(() if given.hyperparameters is None else given.hyperparameters.columns)
        chance = self.predict(given).chance
        return np.stack([1 - chance, chance], 1)

    def outside(self, sweep: SweepTable) -> dict[int, str]:
        """The numbers of the sweep's unfinished variants that are unlike all known ones after their last epoch, and
        why."""
        self.check_fitted()
        check_kind("sweep", sweep, SweepTable, "aelle.load_sweep reads one")
        found, unfinished = {}, ~sweep.variants["complete"].to_numpy(bool)
        measured = np.isfinite(sweep.losses)
        last = measured.shape[1] - 1 - measured[:, ::-1].argmax(1)
        for k in np.unique(last[unfinished & measured.any(1)]):
            part = sweep.take(np.flatnonzero(unfinished & measured.any(1) & (last == k)))
            said = self.predict(observed(part, int(k))).outside
            found |= {int(n): one for n, one in zip(part.variants["variant"], said, strict=True) if one}
        return found

    def cut(self, may_lose: float = 0.05, after: int = 0) -> float:
        """The largest chance below which variants can be stopped at any epoch from `after` on, so that at most the
        share `may_lose` of those that would have ended low-error is lost, on average over sweeps like the known one.

        Raises TooFewError if the known low-error variants are too few to promise it, UserError for another share than
        between 0 and 1, and for an epoch that there is not.
        """
        self._check_whole("cut")
        check_epoch("after", after, self.epochs_ - 1)
        return self.low_chances_.cut(may_lose, after)

    def weights(self) -> pd.DataFrame:
        """The weight of each member at each epoch, with all inputs: a row per epoch, a column per member."""
        at = self.stacks_[max(self.stacks_, key=len)]
        names = [self.members_[m].name for m in at.members]
        return pd.DataFrame(at.stack.weights, index=pd.Index(at.epochs, name="epoch"), columns=names)

    def arrays(self) -> dict[str, np.ndarray]:
        """What was fitted, by name."""
        self.check_fitted()
        model = {} if self.model_ is None else self.model_.arrays()
        return arrays_of(self) | {f"aelle/{name}": array for name, array in model.items()}

    def save(self, folder: str | Path) -> None:
        """Into a `folder`, as JSON and NPZ: nothing that could run code when it is read."""
        self._check_whole("save")
        check_kind("folder", folder, (str, Path), "where the predictor is to be saved")
        write_predictor(Path(folder), self)

    @classmethod
    def load(cls, folder: str | Path) -> "EarlyPredictor":
        """Load what `save` wrote into `folder`. Raises ValueError if that is incomplete."""
        check_kind("folder", folder, (str, Path), "where a predictor was saved")
        return read_predictor(Path(folder), cls)

    def _of_spectra(self) -> AeLLE:
        """Not yet fitted. Raises UserError for a seed and for parameters that it cannot have."""
        given = {} if self.aelle is None else self.aelle
        model = AeLLE(self.threshold)
        allowed = sorted(model.get_params().keys() - {"threshold"})
        if not isinstance(given, Mapping) or not set(given) <= set(allowed):
            raise UserError(f"aelle={given!r}: give None, or a mapping with some of AeLLE's {', '.join(allowed)}")
        model.set_params(**{**given, "seed": self.seed})
        model.check_parameters()
        return model

    def _usable(self, member: Member, at: Sequence[Observed]) -> bool:
        """Whether some epoch has its inputs."""
        if member.needs == ("hyperparameters",) and not self.encoding_.varied:
            return False
        return any(all(one.known(name).any() for name in member.needs) for one in at)

    def _stack(self, said: Float[np.ndarray, "E V m"], known: Known, subsets: Sequence[tuple[str, ...]]) -> None:
        """Not at the last epoch, where the final loss is known."""
        self.stacks_: dict[tuple[str, ...], StackAt] = {}
        early = np.array([one.epoch < self.epochs_ for one in known.at], dtype=bool)
        for inputs in subsets:
            chosen = [m for m, one in enumerate(self.members_) if set(one.needs) <= set(inputs)]
            told = early & (np.logical_or.reduce(np.isfinite(said[:, :, chosen]).all(2), axis=1) if chosen else False)
            epochs = [known.at[e].epoch for e in np.flatnonzero(told)]
            if epochs:
                shares = np.array(epochs) / self.epochs_
                fitted = stack(said[told][:, :, chosen], known.low, shares)
                self.stacks_[inputs] = StackAt(chosen, epochs, fitted.shifted(self.prior_shift_))

    def _nearest(self, epochs: Sequence[int], given: Observed) -> int | None:
        """The position of the last of the epochs that is not later; on another grid, by the share of training. None if
        all are later."""
        position = given.epoch * self.epochs_ / given.epochs
        e = int(np.searchsorted(epochs, position + 1e-9, side="right")) - 1
        return None if e < 0 else e

    def readable(self, given: Observed) -> Observed:
        """Marks as unread what the members cannot read: losses of another number of epochs, and hyperparameters that
        lack one of the known ones. A loss that was not measured at an earlier epoch is set to the known median."""
        frame, losses, spectra, unread = given.hyperparameters, given.losses, given.spectra, []
        if frame is None and not self.encoding_.varied:
            frame = pd.DataFrame(index=range(len(given)))
        elif frame is not None and not set(self.encoding_.varied) <= set(frame.columns):
            unread.append("hyperparameters")
        if given.epochs != self.epochs_:
            unread.append("losses")
        elif losses is not None:
            earlier = np.arange(losses.shape[1]) < given.epoch
            losses = np.where(np.isnan(losses) & earlier, self.typical_[: losses.shape[1]], losses)
        if spectra is not None and self.model_ is not None:
            spectra = at_length(spectra, self.model_.n_features_in_)
        return replace(given, losses=losses, spectra=spectra, hyperparameters=frame, unread=tuple(unread))

    def _outside(self, given: Observed) -> list[str]:
        if given.hyperparameters is not None:
            said = np.array(self.encoding_.outside(given.hyperparameters), dtype=object)
        else:
            said = np.full(len(given), "", dtype=object)
        for name, what in (("losses", "its learning curve"), ("spectra", "its spectrum")):
            rows, found = np.flatnonzero(given.known(name) & (said == "")), self.neighbourhoods_[name]
            e = self._nearest(list(found), given)
            if len(rows) and e is not None:
                at = list(found)[e]
                far = found[at].outside(places(name, given.take(rows), at))
                said[rows[far]] = f"{what} is unlike all known ones"
        return said.tolist()

    def check_fitted(self) -> None:
        """Raises NotFittedError before a fit."""
        if not hasattr(self, "stacks_"):
            raise NotFittedError("this EarlyPredictor is not fitted: call fit first, or load a saved one")

    def _check_whole(self, use: str) -> None:
        self.check_fitted()
        if not hasattr(self, "low_chances_"):
            raise UserError(
                f"this EarlyPredictor was fitted by fit_to with subsets, without the chances that {use} needs: call "
                "fit, or fit_to without subsets"
            )


def _check_alone(**others: Any) -> None:
    """Raises UserError for what is given next to a sweep's table, which has it."""
    if given := [name for name, value in others.items() if value is not None]:
        raise UserError(f"a sweep's table and {given[0]}: the table has its own; leave {given[0]} out, or give arrays")


def _nothing_known() -> TooFewError:
    return TooFewError(
        "too little is known before the last epoch to predict from: give losses or spectra of earlier epochs, or "
        "hyperparameters in which the variants differ, of at least three variants"
    )
