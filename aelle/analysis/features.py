"""Scalar features of a spectrum and their correlation with the final loss (Vogt et al. 2022, Fig. 2).

Axes: n variant, M point of the common-length spectrum, over index fractions from 0 to 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from aelle.analysis.scores import roc_auc
from aelle.sweep.table import SweepTable

SLOPE_SHARE = 0.1
"""Share of the points, at either end of the spectrum, over which its slope is taken."""


def _slope(spectra: Float[np.ndarray, "n M"], last: bool) -> Float[np.ndarray, "n"]:
    """Nats per step per unit of index fraction, over the first or the last tenth of the points."""
    M = spectra.shape[1]
    if M == 1:
        return np.zeros(len(spectra))
    points = max(1, round(SLOPE_SHARE * (M - 1)))
    part = spectra[:, -1 - points :] if last else spectra[:, : points + 1]
    return (part[:, -1] - part[:, 0]) / (points / (M - 1))


FEATURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "largest exponent": lambda spectra: spectra[:, 0],
    "share above zero": lambda spectra: (spectra > 0).mean(1),
    "initial slope": lambda spectra: _slope(spectra, last=False),
    "final slope": lambda spectra: _slope(spectra, last=True),
    "mean": lambda spectra: spectra.mean(1),
    "variance": lambda spectra: spectra.var(1),
}


def features(sweep: SweepTable) -> pd.DataFrame:
    """A row per variant; a column per feature of its final spectrum and per numeric hyperparameter that varies."""
    spectra = sweep.spectra[:, -1]
    columns = {name: feature(spectra) for name, feature in FEATURES.items()}
    numbers = [name for name in sweep.varied if pd.api.types.is_numeric_dtype(sweep.variants[name])]
    return pd.DataFrame(columns | {name: sweep.variants[name].to_numpy(float) for name in numbers})


class Correlation(NamedTuple):
    """Of a feature with the final loss, over the `n` variants that have it: Spearman's rank correlation `rho`, and
    `auc`, the ROC AUC of the feature as a predictor of low error, in the better direction. NaN where undefined."""

    feature: str
    rho: float
    auc: float
    n: int


def correlations(sweep: SweepTable) -> list[Correlation]:
    """Of each feature, over the variants with a final spectrum. A diverged variant ranks as the largest loss."""
    sweep = sweep.measured_at_the_end()
    return (
        [_correlation(sweep, str(name), column) for name, column in features(sweep).items()]
        if sweep.losses.size
        else []
    )


def _correlation(sweep: SweepTable, name: str, column: pd.Series) -> Correlation:
    rows = np.flatnonzero(np.isfinite(column))
    values, sweep = column.iloc[rows], sweep.take(rows)
    loss, low = pd.Series(np.nan_to_num(sweep.final_loss, nan=np.inf)), sweep.low_error
    varies = values.nunique() > 1 and loss.nunique() > 1
    rho = values.reset_index(drop=True).rank().corr(loss.rank()) if varies else np.nan
    one_way = roc_auc(low, values.to_numpy())
    return Correlation(name, rho, max(one_way, 1 - one_way), len(rows))
