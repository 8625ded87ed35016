"""Prunes a search by the recommended predictor, fitted to the variants of the sweep that have ended."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from aelle.errors import UserError
from aelle.predictor.early_predictor import EarlyPredictor
from aelle.sweep.plan import Plan
from aelle.sweep.table import SweepTable, load_sweep
from aelle.terminal import count
from aelle.training.parts import Parts

MIN_KNOWN = 20
"""Variants that must have ended before the first is stopped."""

GROWTH = 1.5
"""The predictor is fitted anew when this many times as many have ended."""

BEST = 0.2
"""The share of the known variants that count as the best: what a search is after."""


class Learner:
    """After each pack, fits the predictor anew if enough more variants have ended."""

    def __init__(self, plan: Plan, say: Callable[[str], object]):
        self.plan, self.say = plan, say
        self.known = 0

    def learn(self, parts: Parts) -> None:
        """Give `parts` the predictor for the next packs."""
        if len(self.plan.complete()) < max(MIN_KNOWN, GROWTH * self.known):
            return
        sweep = ended(load_sweep(self.plan.folder))
        if len(sweep.losses) < max(MIN_KNOWN, GROWTH * self.known):
            return
        self.known = len(sweep.losses)
        try:
            parts.model = fitted(sweep)
        except UserError as error:
            self.say(f"no pruning yet: {error}")
            return
        self.say(
            f"learned from {count(self.known, 'variant')}: from now on, one is stopped whose chance of a final loss "
            f"below {parts.model.threshold:.4g}, as the best fifth has, is too small for the epochs that it still needs"
        )


def ended(sweep: SweepTable) -> SweepTable:
    """The variants whose training is over, also by being stopped: those would not have been among the best, as far as
    anybody knows, and without them a predictor would know none that begin like them."""
    return replace(sweep, variants=sweep.variants.assign(complete=sweep.over)).complete()


def fitted(sweep: SweepTable) -> EarlyPredictor:
    """The predictor of which variants will be among the best. Raises UserError if the sweep says too little."""
    losses = np.where(np.isfinite(sweep.final_loss), sweep.final_loss, np.inf)
    finite = losses[np.isfinite(losses)]
    if not len(finite):
        raise UserError("no variant has been trained to the end")
    threshold = min(float(np.quantile(losses, BEST, method="higher")), float(finite.max()))
    return EarlyPredictor(threshold, seed=0).fit(sweep)
