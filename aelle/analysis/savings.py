"""What pruning would save: the share of epochs, and the final loss of the best variant kept.

Of a split's test variants, all but the best `KEPT_SHARE` by a predictor are pruned after epoch k; the others are
trained to the end. Compared with successive halving (Jamieson and Talwalkar 2016), which prunes by the loss repeatedly.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from aelle.analysis.early import Study
from aelle.sweep.table import SweepTable

KEPT_SHARE = 0.25
"""Share of the variants that a single cut keeps."""

HALVING = "successive halving"
NO_CUT = "no pruning"


class Cut(NamedTuple):
    """`saved`: the share of all epochs that is not trained; `loss_ratio`: the final loss of the best variant kept,
    divided by that of the best of all."""

    saved: float
    loss_ratio: float


def savings(study: Study, sweep: SweepTable) -> pd.DataFrame:
    """A row per predictor (or other `rule` of pruning) and epoch of the first cut: the means over the splits of `saved`
    and `loss_ratio`, and `loss_ratio_high`, its 97.5 % quantile. `sweep`: the variants of the study.
    """
    rows = []
    for k in study.epochs:
        if not 0 < k < sweep.epochs:
            continue
        at = study.predictions[study.predictions["epoch"] == k]
        for (name, split), part in at.groupby(["predictor", "split"], sort=False):
            order = part["row"].to_numpy()[np.argsort(-part["log_odds"].to_numpy(), kind="stable")]
            rows.append({"rule": name, "epoch": k, "split": split, **single_cut(sweep, order, k)._asdict()})
    for split, test in enumerate(study.tests):
        rows.append({"rule": HALVING, "epoch": 1, "split": split, **successive_halving(sweep, test)._asdict()})
        rows.append({"rule": NO_CUT, "epoch": sweep.epochs, "split": split, "saved": 0.0, "loss_ratio": 1.0})
    groups = pd.DataFrame(rows).drop(columns="split").groupby(["rule", "epoch"], sort=False)
    return groups.mean().assign(loss_ratio_high=groups["loss_ratio"].quantile(0.975)).reset_index()


def single_cut(sweep: SweepTable, order: Int[np.ndarray, "n"], k: int) -> Cut:
    """Keep the first `KEPT_SHARE` of `order` after epoch k."""
    n = len(order)
    kept = max(1, round(KEPT_SHARE * n))
    return Cut((n - kept) * (sweep.epochs - k) / (n * sweep.epochs), _loss_ratio(sweep.final_loss, order[:kept], order))


def successive_halving(sweep: SweepTable, test: Int[np.ndarray, "n"]) -> Cut:
    """After epochs 1, 2, 4, … prune the half with the larger loss, until one variant is left."""
    left, saved, k = test, 0.0, 1
    while k < sweep.epochs and len(left) > 1:
        loss = np.nan_to_num(sweep.losses[left, k], nan=np.inf)
        kept = left[np.argsort(loss, kind="stable")[: -(-len(left) // 2)]]
        saved += (len(left) - len(kept)) * (sweep.epochs - k)
        left, k = kept, 2 * k
    return Cut(saved / (len(test) * sweep.epochs), _loss_ratio(sweep.final_loss, left, test))


def _loss_ratio(loss: Float[np.ndarray, "V"], kept: Int[np.ndarray, "k"], all_: Int[np.ndarray, "n"]) -> float:
    """Infinite where all variants kept have diverged."""
    best, of_all = (np.nan_to_num(loss[rows], nan=np.inf).min() for rows in (kept, all_))
    return float(best / of_all)
