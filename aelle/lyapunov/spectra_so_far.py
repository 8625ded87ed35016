"""What a network's spectra so far say: the last one, their mean, and the stage of its training.

Axes: V variant, M point of the common-length spectrum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from aelle.errors import UserError
from aelle.lyapunov.arrays import as_floats
from aelle.lyapunov.checks import check_whole
from aelle.lyapunov.spectrum import common_length, signed_exp, signed_log


class RunningMean:
    """The mean of sign(λ) log(1 + |λ|) over all spectra that were added, in nats per step again.

    One epoch's spectrum is noisy; where the spectra of a training differ little, their mean is a better predictor.
    """

    def __init__(self):
        self.total, self.count = np.zeros((1, 1)), np.zeros((1, 1))

    def add(self, spectra: Float[np.ndarray, "V M"]) -> Float[np.ndarray, "V M"]:
        """The mean [V, M] including these `spectra` [V, M], nats per step; NaN for a variant whose spectrum is not
        finite and thus not counted."""
        known = np.isfinite(spectra).all(1, keepdims=True)
        self.total = self.total + np.where(known, signed_log(spectra), 0)
        self.count = self.count + known
        with np.errstate(invalid="ignore"):
            return signed_exp(np.where(known, self.total / self.count, np.nan))

    def take(self, rows: Sequence[int]) -> None:
        """Continue with the variants of these `rows` only."""
        self.total, self.count = self.total[list(rows)], self.count[list(rows)]


def usable(spectra: Float[np.ndarray, "V E K"]) -> Bool[np.ndarray, "V E"]:
    """Which spectra of V networks at E epochs are complete: finite up to their last exponent, after which NaN may fill
    the row of a smaller network, and with as many exponents as the same network has at other epochs."""
    there = ~np.isnan(spectra)
    number = there.sum(2)
    last = np.where(there, np.arange(1, spectra.shape[2] + 1), 0).max(2, initial=0)
    whole = (number > 0) & (number == last) & ~np.isinf(spectra).any(2)
    return whole & (number == np.where(whole, number, 0).max(1, keepdims=True, initial=0))


def running_mean(spectra: Any) -> Float[np.ndarray, "V E M"]:
    """The mean of the spectra [V, E, M] of V networks up to each of E epochs (`RunningMean`), nats per step; NaN where
    the epoch's is not known. Spectra of smaller networks, which end in NaN, are resampled to M points (`common_length`)
    before; one that is incomplete (`usable`) is not known.

    Raises ValueError for another shape.
    """
    spectra = as_floats("spectra", spectra)
    if spectra.ndim != 3 or 0 in spectra.shape:
        raise UserError(
            f"spectra of shape {list(spectra.shape)}: give [V, E, M], V networks at E epochs (V = 1 for a single one)"
        )
    return mean_curves(comparable(spectra)[0])


def comparable(spectra: Float[np.ndarray, "V E K"]) -> tuple[Float[np.ndarray, "V E K"], Int[np.ndarray, "V E"]]:
    """`common_length` of those that are usable."""
    return common_length(np.where(usable(spectra)[..., None], spectra, np.nan))


def mean_curves(spectra: Float[np.ndarray, "V E M"]) -> Float[np.ndarray, "V E M"]:
    """`running_mean` of spectra of a common length; NaN where the epoch's is not finite."""
    mean = RunningMean()
    return np.stack([mean.add(spectra[:, epoch]) for epoch in range(spectra.shape[1])], axis=1)


@dataclass(frozen=True)
class SpectraSoFar:
    """What spectra say of V networks at some stage of their trainings, each network at a stage of its own.

    `last`: the spectrum at that stage; `mean`: that of all spectra so far (`running_mean`); both in nats per step and
    at a common length. `share`: how much of the training has passed, 0 to 1. `exponents`: how many exponents the
    network's spectrum had before it was resampled. Make them by `spectra_so_far`, or by `SpectraSoFar.of`.
    """

    last: Float[np.ndarray, "V M"]
    mean: Float[np.ndarray, "V M"]
    share: Float[np.ndarray, "V"]
    exponents: Int[np.ndarray, "V"]

    def __len__(self) -> int:
        return len(self.last)

    def __getitem__(self, rows: Any) -> "SpectraSoFar":
        """The networks that scikit-learn's splits ask for, by the indices of an array."""
        return SpectraSoFar(self.last[rows], self.mean[rows], self.share[rows], self.exponents[rows])

    @property
    def shape(self) -> tuple[int, ...]:
        """[V, M], of the last spectra."""
        return self.last.shape

    @property
    def known(self) -> Bool[np.ndarray, "V"]:
        """Which networks have a finite spectrum, [V]."""
        return np.logical_and.reduce(np.isfinite(np.concatenate([self.last, self.mean], 1)), axis=1)

    def take(self, rows: Int[np.ndarray, "n"] | Bool[np.ndarray, "V"]) -> "SpectraSoFar":
        """The networks of these `rows`, indices or a mask."""
        return self[rows]

    @classmethod
    def of(
        cls,
        spectra: Any,
        share: Any,
        exponents: Any = None,
    ) -> "SpectraSoFar":
        """A row per network and epoch, network by network, from `spectra` [V, E, M] in nats per step and `share` [E],
        how much of the training had passed when they were measured, e.g. `np.arange(E) / (E - 1)`. `exponents` [V]:
        how many each network has. Without it, spectra may end in NaN, after the last exponent of a smaller network, and
        are resampled (`common_length`); one that is incomplete (`usable`) is not known.

        Raises ValueError for other shapes.
        """
        spectra, share = as_floats("spectra", spectra), as_floats("share", share)
        if spectra.ndim != 3 or share.shape != spectra.shape[1:2]:
            raise UserError(
                f"spectra of shape {list(spectra.shape)}, share of shape {list(share.shape)}: give [V, E, M] and [E], "
                "V networks at E stages of their training"
            )
        V, E, M = spectra.shape
        if exponents is None:
            spectra, found = comparable(spectra)
            exponents = found.max(1, initial=1)
        elif np.shape(exponents) != (V,):
            raise UserError(f"exponents of shape {list(np.shape(exponents))}: give [{V}], one for each network")
        lengths, means = np.asarray(exponents), mean_curves(spectra)
        return cls(spectra.reshape(V * E, M), means.reshape(V * E, M), np.tile(share, V), lengths.repeat(E))

    @classmethod
    def joined(cls, parts: Sequence["SpectraSoFar"]) -> "SpectraSoFar":
        """The networks of all parts, one part after the other."""
        names = ("last", "mean", "share", "exponents")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def spectra_so_far(spectra: Any, epochs: int, exponents: Any = None) -> SpectraSoFar:
    """What a model that was fitted to `SpectraSoFar` predicts from: a row per network, after the last given epoch.

    `spectra` [V, e + 1, M]: of epochs 0 (before training) to e, nats per step, NaN at epochs without a spectrum and
    after the last exponent of a smaller network. `epochs`: how long the trainings are. `exponents` [V]: how many each
    network has, if its spectra were resampled. The row of a network without a spectrum after epoch e is NaN
    (`SpectraSoFar.known`).

    Raises ValueError for other shapes, and for more epochs than the trainings have.
    """
    spectra = as_floats("spectra", spectra)
    if spectra.ndim != 3 or 0 in spectra.shape[1:]:
        raise UserError(f"spectra of shape {list(spectra.shape)}: give [V, e + 1, M], those of epochs 0 to e")
    last = spectra.shape[1] - 1
    check_whole("epochs", epochs, max(last, 1), "give how many the trainings have, ")
    every = SpectraSoFar.of(spectra, np.arange(last + 1) / epochs, exponents)
    return every[last :: last + 1]
