"""What looks wrong in a sweep: measurements that are missing or not used, copies of variants, doubtful hyperparameters.

Axes: V variant, E epoch (0 = before training), K exponent.
"""

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import lgamma, log
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped

from aelle.lyapunov.spectra_so_far import usable

SHOWN_VARIANTS = 8
"""Numbers of variants in one line."""

OUTCOME = 0.98
"""Rank correlation with the final loss from which a hyperparameter may be an outcome."""

MIN_VARIANTS = 10
"""Variants with a finite loss that are needed to say so."""

MAX_GROUPS = 8
"""Values of a hyperparameter of few values."""

CHANCE = 1e-4
"""Of such a hyperparameter: how seldom its values would be as they are by chance."""

UNSORTED = 1e-6
"""Nats per step by which an exponent may exceed the one before it."""


class Anomaly(NamedTuple):
    """`what` looks wrong, in one line; `variants`: the numbers of those concerned, none if it is not about some;
    `each`: what there is to say of each of them, if that is not the same for all."""

    what: str
    variants: tuple[int, ...] = ()
    each: tuple[str, ...] = ()

    @property
    def rows(self) -> list[tuple[int | None, str]]:
        """Each variant concerned, and what looks wrong about it; or one row about none."""
        if not self.variants:
            return [(None, self.what)]
        return list(zip(self.variants, self.each or [self.what] * len(self.variants), strict=True))

    def __str__(self) -> str:
        if not self.variants:
            return self.what
        shown, more = self.variants[:SHOWN_VARIANTS], len(self.variants) - SHOWN_VARIANTS
        numbers = ", ".join(map(str, shown)) + (f" and {more} more" if more > 0 else "")
        return f"{self.what} ({'variant' if len(self.variants) == 1 else 'variants'} {numbers})"


def in_measurements(
    numbers: Int[np.ndarray, "V"],
    losses: Float[np.ndarray, "V E"],
    spectra: Float[np.ndarray, "V E _"],
    given: Bool[np.ndarray, "V E"] | None = None,
) -> list[Anomaly]:
    """Of losses and spectra, not finite where there is none: gaps, and variants with the same ones. `given`: spectra
    that an array has, of which `in_spectra` says why they are not finite."""
    has_loss = np.isfinite(losses)
    later = np.logical_or.accumulate(has_loss[:, ::-1], axis=1)[:, ::-1]
    return [
        *_at_epochs("no finite val_loss", "a later one is finite", numbers, later & ~has_loss & has_loss.any(0)),
        *missing_spectra("spectrum", numbers, losses, spectra, given),
        *_copies(numbers, losses, spectra),
    ]


def missing_spectra(
    name: str,
    numbers: Int[np.ndarray, "V"],
    losses: Float[np.ndarray, "V E"],
    spectra: Float[np.ndarray, "V E _"],
    given: Bool[np.ndarray, "V E"] | None = None,
) -> list[Anomaly]:
    """Of variants that were trained at an epoch, and were not measured as others were; `given` as above."""
    has = np.isfinite(spectra).all(2)
    without = np.isfinite(losses) & ~has & has.any(0)
    without &= True if given is None else ~given
    return _at_epochs(f"no {name}", "others have one", numbers, without)


def in_arrays(
    losses: Float[np.ndarray, "V E"],
    spectra: Float[np.ndarray, "V E K"],
    used: Float[np.ndarray, "V E _"],
    hyperparameters: Mapping[str, Shaped[np.ndarray, "V"]],
) -> list[Anomaly]:
    """Of arrays that a script has: as of an array file, but for epochs at which nobody has a loss or a spectrum, as
    where not every epoch is measured. `used`: the spectra that are left."""
    numbers = np.arange(len(losses))
    return [
        *faulty_spectra("spectrum", numbers, spectra),
        *in_measurements(numbers, losses, used, given=np.any(~np.isnan(spectra), 2)),
        *in_hyperparameters(numbers, losses[:, -1], hyperparameters),
    ]


def warn_of(anomalies: Sequence[Anomaly], stacklevel: int = 3) -> None:
    """One warning of all."""
    if anomalies:
        numbered = len(anomalies) > 1
        said = "; ".join(f"({i}) {one}" if numbered else str(one) for i, one in enumerate(anomalies, 1))
        start = f"{len(anomalies)} things look" if numbered else "something looks"
        warnings.warn(f"{start} wrong in the arrays: {said}", stacklevel=stacklevel)


def _at_epochs(
    lacks: str, although: str, numbers: Int[np.ndarray, "V"], where: Bool[np.ndarray, "V E"]
) -> list[Anomaly]:
    rows = np.flatnonzero(where.any(1))
    if not len(rows):
        return []
    epoch = int(where[rows[0]].argmax())
    what = f"{lacks} at some epochs where {although}, e.g. of variant {numbers[rows[0]]} after epoch {epoch}"
    each = tuple(f"{lacks} after {_epochs(where[v])}, where {although}: not known there" for v in rows)
    return [Anomaly(f"{what}: not known there", _of(numbers, rows), each)]


def _copies(
    numbers: Int[np.ndarray, "V"], losses: Float[np.ndarray, "V E"], spectra: Float[np.ndarray, "V E _"]
) -> list[Anomaly]:
    alike = defaultdict(list)
    twice = pd.DataFrame(losses).duplicated(keep=False).to_numpy()
    for v in np.flatnonzero(twice & np.isfinite(losses).any(axis=1)):
        alike[losses[v].tobytes(), spectra[v].tobytes()].append(int(v))
    found = [rows for rows in alike.values() if len(rows) > 1]
    if not found:
        return []
    remedy = "keep one of them, a copy gives the other away"
    first = ", ".join(str(numbers[v]) for v in found[0][:SHOWN_VARIANTS])
    others = {v: _words(numbers[[w for w in rows if w != v]]) for rows in found for v in rows}
    rows = np.sort(np.concatenate(found))
    each = tuple(f"the same losses and spectra as {others[v]}: {remedy}" for v in rows.tolist())
    return [
        Anomaly(f"the same losses and spectra as another variant, e.g. {first}: {remedy}", _of(numbers, rows), each)
    ]


def in_losses(numbers: Int[np.ndarray, "V"], losses: Float[np.ndarray, "V E"]) -> list[Anomaly]:
    """Of an array of losses: epochs at which nobody has one."""
    known = np.isfinite(losses)
    found = []
    if not known[:, -1].any():
        last = f"; the last with one is {int(np.flatnonzero(known.any(0))[-1])}" if known.any() else ""
        what = f"val_loss is not finite for any variant after the last epoch, {losses.shape[1] - 1}"
        found.append(Anomaly(f"{what}, so that all count as diverged: leave out epochs that were not trained{last}"))
    elif empty := _words(np.flatnonzero(~known.any(0))):
        found.append(Anomaly(f"val_loss is not finite for any variant after epochs {empty}: not known there"))
    return found


def in_spectra(name: str, numbers: Int[np.ndarray, "V"], spectra: Float[np.ndarray, "V E K"]) -> list[Anomaly]:
    """Of an array of spectra in nats per step: what is not usable, out of order, or measured for nobody."""
    found = faulty_spectra(name, numbers, spectra)
    if not np.isnan(spectra).all() and (empty := _words(np.flatnonzero(~usable(spectra).any(0)))):
        found.append(Anomaly(f"{name} is not usable for any variant after epochs {empty}: not known there"))
    return found


def faulty_spectra(name: str, numbers: Int[np.ndarray, "V"], spectra: Float[np.ndarray, "V E K"]) -> list[Anomaly]:
    """Of spectra that were measured: those that are not usable, and those that are out of order."""
    complete = usable(spectra)
    wrong = ~np.isnan(spectra).all(2) & ~complete
    found = []
    if len(rows := np.flatnonzero(wrong.any(1))):
        first = {v: int(wrong[v].argmax()) for v in rows.tolist()}
        faults = [_fault(spectra[v, epoch]) for v, epoch in first.items()]
        example = f"e.g. of variant {numbers[rows[0]]} after epoch {first[int(rows[0])]}: {faults[0]}"
        each = tuple(
            f"{name} is incomplete after {_epochs(wrong[v])} and not used there: "
            + (f"after epoch {first[v]}, " if wrong[v].sum() > 1 else "")
            + fault
            for v, fault in zip(first, faults, strict=True)
        )
        what = f"{name} is incomplete at some epochs and not used there, {example}"
        found.append(Anomaly(what, _of(numbers, rows), each))
    with np.errstate(invalid="ignore"):
        rising = complete & (np.diff(spectra, axis=2) > UNSORTED).any(2)
    if len(rows := np.flatnonzero(rising.any(1))):
        what = f"{name} is not in descending order, and its first exponent is taken for the largest: sort it"
        found.append(Anomaly(what, _of(numbers, rows)))
    return found


def _fault(exponents: Float[np.ndarray, "K"]) -> str:
    """Why a spectrum is not usable."""
    there = np.flatnonzero(~np.isnan(exponents))
    wrong = np.flatnonzero(~np.isfinite(exponents[: there[-1] + 1]))
    if len(wrong):
        return f"exponent {wrong[0]} (from 0) is {exponents[wrong[0]]}; give finite ones"
    return f"it has {len(there)} exponents and more at another epoch; give all of them"


def in_hyperparameters(
    numbers: Int[np.ndarray, "V"],
    final_loss: Float[np.ndarray, "V"],
    hyperparameters: Mapping[str, Shaped[np.ndarray, "V"]],
) -> list[Anomaly]:
    """Of hyperparameters given as arrays: outcomes among them, and values that are all the same."""
    found = []
    for name, values in hyperparameters.items():
        if follows := _follows(values, final_loss):
            what = f"{name} may be an outcome, not a hyperparameter: {follows}"
            found.append(Anomaly(f"{what}; leave it out if it is known only after training, as a test loss is"))
    constant = [name for name, values in hyperparameters.items() if len(set(_plain(values).tolist())) == 1]
    if constant and len(numbers) > 1:
        found.append(Anomaly(f"the same value for all variants, and thus not used: {', '.join(constant)}"))
    return found


def _follows(values: Shaped[np.ndarray, "V"], final_loss: Float[np.ndarray, "V"]) -> str:
    """How a hyperparameter follows the final loss, if it does so almost without exception; otherwise ""."""
    values, finite = _plain(values), np.isfinite(final_loss)
    # NaN is a value, too: that of a variant that does not read it.
    different, of_row = np.unique(values, return_inverse=True)
    groups = [final_loss[of_row == i] for i in range(min(len(different), MAX_GROUPS + 1))]
    if 1 < len(groups) <= MAX_GROUPS:
        # A diverged variant ranks as the largest loss.
        ranked = [np.nan_to_num(group, nan=np.inf) for group in groups]
        ranges = sorted((float(group.min()), float(group.max())) for group in ranked)
        apart = all(high < low for (_, high), (low, _) in pairwise(ranges))
        # How likely it is of values dealt out at random.
        sizes = [len(group) for group in groups]
        log_chance = sum(lgamma(n + 1) for n in [*sizes, len(groups)]) - lgamma(sum(sizes) + 1)
        unlikely = log_chance < log(CHANCE)
        return "its values have final losses that do not overlap" if apart and unlikely else ""
    if values.dtype.kind == "f":
        finite &= np.isfinite(values)
    if values.dtype.kind not in "fiu" or finite.sum() < MIN_VARIANTS or np.ptp(final_loss[finite]) == 0:
        return ""
    known, loss = (pd.Series(each[finite]).rank() for each in (values, final_loss))
    rho = known.corr(loss)
    return f"its rank correlation with the final loss is {rho:.3f}" if abs(rho) >= OUTCOME else ""


def _plain(values: Shaped[np.ndarray, "V"]) -> Shaped[np.ndarray, "V"]:
    """Objects as numbers, if those that are there are numbers, or as words."""
    if values.dtype.kind in "biufU":
        return values
    there = pd.notna(values)
    numbers = pd.to_numeric(pd.Series(values).where(there, np.nan), errors="coerce").to_numpy(float)
    return numbers if np.isfinite(numbers[there]).all() else np.where(there, values, "none").astype(str)


def _of(numbers: Int[np.ndarray, "V"], rows: Int[np.ndarray, "n"]) -> tuple[int, ...]:
    return tuple(int(n) for n in numbers[rows])


def _epochs(where: Bool[np.ndarray, "E"]) -> str:
    epochs = np.flatnonzero(where)
    return f"epoch{'s' * (len(epochs) > 1)} {_words(epochs)}"


def _words(epochs: Int[np.ndarray, "n"]) -> str:
    """`0, 2, 4` or, of more than can be read, the first of them."""
    shown = ", ".join(map(str, epochs[:SHOWN_VARIANTS]))
    return shown + (f" and {len(epochs) - SHOWN_VARIANTS} more" if len(epochs) > SHOWN_VARIANTS else "")
