"""What is known of networks at some epoch of their training.

Axes: V variant, k epoch so far (0 = before training), M point of the common-length spectrum.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from aelle.errors import UserError
from aelle.lyapunov.arrays import as_floats
from aelle.lyapunov.spectra_so_far import SpectraSoFar, spectra_so_far
from aelle.model.parameters import is_whole
from aelle.sweep.anomalies import faulty_spectra, warn_of
from aelle.sweep.arrays import as_frame
from aelle.sweep.table import SweepTable

INPUTS = ("losses", "spectra", "hyperparameters")


@dataclass(frozen=True)
class Observed:
    """V networks after `epoch` of `epochs`; None for an input that nobody has.

    `losses` [V, k + 1]: validation losses of epochs 0 to k, NaN where not measured, not finite where a network has
    diverged. `spectra`: what spectra say after that epoch, NaN where none was measured. `hyperparameters`: a column
    each, NaN where a variant reads none. `final` [V]: the final loss where it is known, infinite for a network that has
    diverged, otherwise NaN. `reached` [V]: which networks have come to that epoch. `unread`: inputs that a predictor
    cannot predict from, but which still say what lies outside of what it knows.
    """

    epoch: int
    epochs: int
    losses: Float[np.ndarray, "V k"] | None
    spectra: SpectraSoFar | None
    hyperparameters: pd.DataFrame | None
    final: Float[np.ndarray, "V"]
    reached: Bool[np.ndarray, "V"]
    unread: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        epoch: int,
        epochs: int,
        losses: Float[np.ndarray, "V k"] | None,
        spectra: SpectraSoFar | None,
        hyperparameters: pd.DataFrame | None,
        lost: Bool[np.ndarray, "V"] | None = None,
        reached: Bool[np.ndarray, "V"] | None = None,
    ) -> "Observed":
        """A network has diverged if it is `lost` and has no finite loss after that epoch; None: the networks whose last
        measured loss is infinite, as a loss that is NaN was not measured. `reached`: None for all."""
        V = next((len(one) for one in (losses, spectra, hyperparameters) if one is not None), 0)
        final = np.full(V, np.nan)
        if losses is not None:
            last = losses[:, -1]
            finite = np.isfinite(last)
            final[finite] = last[finite] if epoch == epochs else np.nan
            final[(_infinite(losses) if lost is None else lost) & ~finite] = np.inf
            losses = None if np.isnan(last).all() else losses
        return cls(
            epoch, epochs, losses, spectra, hyperparameters, final, np.ones(V, bool) if reached is None else reached
        )

    def __len__(self) -> int:
        return len(self.final)

    def known(self, name: str) -> Bool[np.ndarray, "V"]:
        """Which networks have the input, to be predicted from."""
        if name in self.unread:
            return np.zeros(len(self), bool)
        if name == "losses" and self.losses is not None:
            return np.isfinite(self.losses[:, -1])
        if name == "spectra" and self.spectra is not None:
            return self.spectra.known
        return np.full(len(self), name == "hyperparameters" and self.hyperparameters is not None)

    @property
    def diverged(self) -> Bool[np.ndarray, "V"]:
        return np.isinf(self.final)

    def take(self, rows: Int[np.ndarray, "n"] | Bool[np.ndarray, "V"]) -> "Observed":
        if isinstance(rows, np.ndarray) and rows.dtype == bool and rows.all():
            return self
        frame = self.hyperparameters
        return replace(
            self,
            losses=None if self.losses is None else self.losses[rows],
            spectra=None if self.spectra is None else self.spectra.take(rows),
            hyperparameters=None if frame is None else frame.iloc[np.arange(len(self))[rows]],
            final=self.final[rows],
            reached=self.reached[rows],
        )


def _infinite(losses: Float[np.ndarray, "V k"]) -> Bool[np.ndarray, "V"]:
    """Which networks have an infinite loss as their last that is not NaN."""
    backwards = losses[:, ::-1]
    return np.isinf(backwards[np.arange(len(losses)), (~np.isnan(backwards)).argmax(1)])


def observed(sweep: SweepTable, epoch: int) -> Observed:
    """What a sweep's table has after an epoch. No losses and no spectra where none was measured then. A variant whose
    training is over, or that is marked as diverged, has diverged by an epoch if the others have a loss then and it has
    none from there on. Variants whose training is not over and that nothing was measured of since have not reached it.
    Raises ValueError for an epoch that the table does not have."""
    check_epoch("epoch", epoch, sweep.epochs)
    over, states = sweep.variants["complete"].to_numpy(bool), sweep.variants["state"].to_numpy()
    later = np.isfinite(sweep.losses[:, epoch:]).any(1)
    # At an epoch without losses nobody knows yet who diverges before the next one.
    lost = ~later & (over | (states == "diverged")) & np.isfinite(sweep.losses[:, epoch]).any()
    reached = over | later
    others = np.flatnonzero(~reached)
    reached[others] = np.isfinite(sweep.spectra[others, epoch:]).any((1, 2))
    spectra = sweep.seen(epoch) if epoch in sweep.measured_epochs else None
    frame = sweep.variants[sweep.hyperparameters].reset_index(drop=True)
    return Observed.of(epoch, sweep.epochs, sweep.losses[:, : epoch + 1], spectra, frame, lost, reached)


def check_epoch(name: str, epoch: Any, last: int) -> None:
    """Raises UserError for what is no whole number from 0 to `last`."""
    if not is_whole(epoch) or not 0 <= epoch <= last:
        raise UserError(f"{name}={epoch}: give one from 0 (before training) to {last}, a whole number")


def so_far(losses: Any, spectra: Any, hyperparameters: Any, epoch: int, epochs: int) -> Observed:
    """From arrays of losses [V, E], spectra [V, E, M] in nats per step, NaN where none was measured, and a mapping or
    frame of hyperparameters [V]; of later epochs nothing is used. A network whose last measured loss is infinite has
    diverged. Warns of spectra that are not used. Raises ValueError for other shapes."""
    if not is_whole(epochs) or epochs < 1:
        raise UserError(f"epochs={epochs!r}: give how long the trainings are, a whole number of at least 1")
    check_epoch("epoch", epoch, epochs)
    if losses is not None:
        losses = as_floats("losses", losses)
        if losses.ndim != 2 or losses.shape[1] <= epoch:
            raise UserError(f"losses of shape {list(losses.shape)}: give [V, E] with epochs 0 to {epoch}, at least")
        losses = losses[:, : epoch + 1]
    seen = None
    if spectra is not None:
        spectra = as_floats("spectra", spectra)
        if spectra.ndim != 3 or spectra.shape[1] <= epoch:
            raise UserError(
                f"spectra of shape {list(spectra.shape)}: give [V, E, M] with epochs 0 to {epoch}, at least"
            )
        spectra = spectra[:, : epoch + 1]
        warn_of(faulty_spectra("spectrum", np.arange(len(spectra)), spectra), stacklevel=4)
        seen = spectra_so_far(spectra, epochs)
    frame = None if hyperparameters is None else as_frame(hyperparameters)
    lengths = {len(one) for one in (losses, seen, frame) if one is not None}
    if len(lengths) != 1:
        raise UserError(
            "losses, spectra and hyperparameters are all None: give one of them"
            if not lengths
            else f"losses, spectra and hyperparameters of {sorted(lengths)} networks: give the same networks in each"
        )
    return Observed.of(epoch, epochs, losses, seen, frame)


def typical(losses: Float[np.ndarray, "V E"], otherwise: Float[np.ndarray, "E"]) -> Float[np.ndarray, "E"]:
    """The median of each epoch's finite losses; `otherwise` where there is none."""
    measured = np.isfinite(losses).any(0)
    found = otherwise.copy()
    found[measured] = np.nanmedian(losses[:, measured], axis=0)
    return found
