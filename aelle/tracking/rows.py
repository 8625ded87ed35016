"""The rows of `epochs.parquet` as a dashboard shows them: numbers only, spectra by their summaries."""

import numpy as np
import pyarrow as pa
import torch

from aelle.lyapunov.spectrum import entropy_rate, kaplan_yorke_dimension
from aelle.tracking.tracker import Row


def rows_of(table: pa.Table) -> list[Row]:
    """A row per row of the table: every number in it, and the summary of its spectra in nats per step."""
    numbers = [field.name for field in table.schema if _is_number(field.type)]
    rows = [
        {name: value for name, value in row.items() if value is not None} for row in table.select(numbers).to_pylist()
    ]
    for prefix in ("", "test_"):
        if f"{prefix}spectrum" in table.column_names:
            for row, spectrum in zip(rows, table[f"{prefix}spectrum"].to_pylist(), strict=True):
                if spectrum:
                    row |= {f"{prefix}lyapunov/{name}": value for name, value in summary(spectrum).items()}
    return rows


def summary(spectrum: list[float]) -> dict[str, float]:
    """Of exponents in descending order; all NaN where the network has diverged."""
    exponents = torch.from_numpy(np.array(spectrum, dtype=np.float64))
    above_zero = (exponents > 0).double().mean().masked_fill(exponents.isnan().any(), torch.nan)
    return {
        "maximum": float(exponents[0]),
        "mean": float(exponents.mean()),
        "share_above_zero": float(above_zero),
        "kaplan_yorke_dimension": float(kaplan_yorke_dimension(exponents)),
        "entropy_rate": float(entropy_rate(exponents)),
    }


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
