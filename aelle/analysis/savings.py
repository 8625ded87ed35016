"""What an early cut is worth: the epochs that it saves, and how good the best variant is that it keeps.

Of a split's test variants, a predictor cuts all but a share after epoch k; the rest is trained to the end. Beside it,
successive halving (Jamieson and Talwalkar 2016), which cuts by the loss again and again.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from aelle.analysis.early import Study
from aelle.sweep.table import SweepTable

KEPT = 0.25
"""Of the variants, by a single cut."""

HALVING = "successive halving"
NO_CUT = "no cut"


class Cut(NamedTuple):
    """`saved`: the share of all epochs that is not trained; `excess`: the final loss of the best variant kept over that
    of the best of all."""

    saved: float
    excess: float


def savings(study: Study, sweep: SweepTable) -> pd.DataFrame:
    """A row per way to cut and epoch of the (first) cut: `saved` and `excess`, means over the splits, and `excess_to`,
    the 97.5 % quantile. `sweep`: the variants of the study.
    """
    rows = []
    for k in study.epochs:
        if not 0 < k < sweep.epochs:
            continue
        at = study.predictions[study.predictions["epoch"] == k]
        for (name, split), part in at.groupby(["predictor", "split"], sort=False):
            order = part["row"].to_numpy()[np.argsort(-part["log_odds"].to_numpy(), kind="stable")]
            rows.append({"way": name, "epoch": k, "split": split, **single_cut(sweep, order, k)._asdict()})
    for split, test in enumerate(study.tests):
        rows.append({"way": HALVING, "epoch": 1, "split": split, **successive_halving(sweep, test)._asdict()})
        rows.append({"way": NO_CUT, "epoch": sweep.epochs, "split": split, "saved": 0.0, "excess": 1.0})
    groups = pd.DataFrame(rows).drop(columns="split").groupby(["way", "epoch"], sort=False)
    return groups.mean().assign(excess_to=groups["excess"].quantile(0.975)).reset_index()


def single_cut(sweep: SweepTable, order: Int[np.ndarray, "n"], k: int) -> Cut:
    """Keep the first of `order` after epoch k."""
    n = len(order)
    kept = max(1, round(KEPT * n))
    return Cut((n - kept) * (sweep.epochs - k) / (n * sweep.epochs), _excess(sweep.final_loss, order[:kept], order))


def successive_halving(sweep: SweepTable, test: Int[np.ndarray, "n"]) -> Cut:
    """After epochs 1, 2, 4, … the half with the larger loss is cut, as long as more than one is left."""
    left, saved, k = test, 0.0, 1
    while k < sweep.epochs and len(left) > 1:
        loss = np.nan_to_num(sweep.losses[left, k], nan=np.inf)
        kept = left[np.argsort(loss, kind="stable")[: -(-len(left) // 2)]]
        saved += (len(left) - len(kept)) * (sweep.epochs - k)
        left, k = kept, 2 * k
    return Cut(saved / (len(test) * sweep.epochs), _excess(sweep.final_loss, left, test))


def _excess(loss: Float[np.ndarray, "V"], kept: Int[np.ndarray, "k"], all_: Int[np.ndarray, "n"]) -> float:
    """Infinite where all that were kept have diverged."""
    best, of_all = (np.nan_to_num(loss[rows], nan=np.inf).min() for rows in (kept, all_))
    return float(best / of_all)
