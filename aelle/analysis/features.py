"""Scalar features of a spectrum and their correlation with the final loss (Vogt et al. 2022, Fig. 2)."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from aelle.analysis.scores import roc_auc
from aelle.lyapunov.features import FEATURES
from aelle.sweep.table import SweepTable


def features(sweep: SweepTable) -> pd.DataFrame:
    """A row per variant; a column per feature of its final spectrum and per numeric hyperparameter that varies, told
    apart if it has the name of a feature."""
    spectra = sweep.spectra[:, -1]
    columns = {name: feature(spectra) for name, feature in FEATURES.items()}
    numbers = [name for name in sweep.varied if pd.api.types.is_numeric_dtype(sweep.variants[name])]
    titles = {name: f"{name} (hyperparameter)" if name in FEATURES else name for name in numbers}
    return pd.DataFrame(columns | {titles[name]: sweep.variants[name].to_numpy(float) for name in numbers})


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
