"""The report's tables, as in its CSV files."""

import numpy as np
import pandas as pd

from aelle.analysis.early import Chances, Study
from aelle.analysis.embeddings import Agreement, Comparison
from aelle.analysis.features import Correlation
from aelle.analysis.findings import Findings
from aelle.analysis.generalisation import as_table
from aelle.analysis.shares import Group
from aelle.sweep.table import SweepTable


def tables(found: Findings, worth: pd.DataFrame | None, chances: Chances | None) -> dict[str, pd.DataFrame | None]:
    """By the names of the CSV files; None for a table that this report lacks."""
    early = found.early
    return {
        "early_prediction": early.summary if early else None,
        "savings": worth,
        "generalisation": as_table(found.elsewhere) if found.elsewhere else None,
        "left_out": found.left_out.table if found.left_out else None,
        "embeddings": agreements_table(found.comparison) if found.comparison else None,
        "variants": variants_table(found.sweep, early, chances),
        "shares": shares_table(found.shares),
        "features": features_table(found.correlations),
        "problems": problems_table(found.sweep),
    }


def variants_table(sweep: SweepTable, early: Study | None, chances: Chances | None) -> pd.DataFrame:
    """A row per variant: hyperparameters, state, final loss, the predicted chance of low error after each epoch, and
    whether the variant was unlike all known ones after the first, where its chance says nothing."""
    table = sweep.variants[["variant", "run", "state", *sweep.hyperparameters]].copy()
    table["final_loss"] = np.where(sweep.variants["complete"], sweep.final_loss, np.nan)
    table["low_error"] = pd.Series(sweep.low_error, dtype="boolean").where(sweep.variants["complete"])
    if early is not None and chances is not None:
        for k in early.epochs:
            table[f"chance_epoch_{k}"] = chances.mean[:, k]
        table["outside"] = chances.outside[:, early.first_epoch]
    return table


def shares_table(shares: dict[str, list[Group]]) -> pd.DataFrame:
    """A row per value or interval of each hyperparameter: the number of variants, and how many are low-error."""
    columns = ["hyperparameter", "value", "variants", "low_error", "share_low_error", "median_loss"]
    rows = [
        (name, group.label, group.variants, group.low, group.low / group.variants, group.median_loss)
        for name, groups in shares.items()
        for group in groups
    ]
    return pd.DataFrame(rows, columns=columns)


def features_table(correlations: list[Correlation]) -> pd.DataFrame:
    """A row per scalar feature: rank correlation with the final loss, ROC AUC, and the number of variants."""
    return pd.DataFrame(correlations, columns=list(Correlation._fields))


def agreements_table(comparison: Comparison) -> pd.DataFrame:
    """A row per embedding: nearest-neighbour accuracy of its test variants, the level of random neighbours, and the
    number of variants; then the same of the variants whose weights are shown (`…_with_weights`)."""
    rows = [
        (shown.title, *of_all, *with_weights)
        for shown, (of_all, with_weights) in zip(comparison.embeddings, comparison.agreements, strict=True)
    ]
    names = Agreement._fields
    return pd.DataFrame(rows, columns=["embedding", *names, *(f"{name}_with_weights" for name in names)])


def problems_table(sweep: SweepTable) -> pd.DataFrame:
    """A row per variant that was not trained to the last epoch, with its error; per file, array or value that could not
    be used ("damaged"); and per variant of which something looks wrong ("anomaly")."""
    errors = sweep.variants.set_index("variant")["error"]
    rows = [(row["state"], number, errors.get(number)) for row in unfinished(sweep) for number in row["numbers"]]
    rows += [("damaged", None, problem) for problem in sweep.problems]
    rows += [("anomaly", *row) for one in sweep.anomalies for row in one.rows]
    table = pd.DataFrame(rows, columns=["state", "variant", "error"])
    return table.astype({"variant": "Int64"})


def unfinished(sweep: SweepTable) -> list[dict]:
    """The variants of the sweep that were not trained to the last epoch, by state."""
    variants = sweep.variants
    rows = []
    for state in ("running", "failed", "diverged", "pruned"):
        numbers = variants["variant"][variants["state"] == state].tolist()
        if numbers:
            errors = variants["error"][variants["state"] == state].dropna()
            last = errors.iloc[0].strip().splitlines()[-1] if len(errors) else ""
            rows.append({"state": state, "numbers": numbers, "error": last})
    missing = sorted(set(range(sweep.size)) - set(variants["variant"]))
    if missing and len(variants) < sweep.size:
        rows.append({"state": "missing", "numbers": missing, "error": ""})
    return rows
