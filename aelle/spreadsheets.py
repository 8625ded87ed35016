"""Tables as CSV files, in which a spreadsheet finds numbers and words but no formulas."""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from aelle.errors import printable
from aelle.files import replace_atomically

FORMULA = re.compile(r"\s*[=+\-−@＝＋－＠]|[\t\r\n]")
"""The beginning of a text that a spreadsheet may take for a formula; blanks before it are skipped by some."""

LATER = re.compile(r";(?=\s*[=+\-−@＝＋－＠])")
"""Where a spreadsheet for which ; separates cells would find the beginning of another."""


def write_csv(path: Path, table: pd.DataFrame, float_format: str | None = None) -> None:
    """Replace the file. Names and words may come from a foreign sweep: an apostrophe before one makes it text where it
    would be a formula, and control characters are escaped but for the newlines of errors. Numbers are not changed."""
    words = [name for name, kind in table.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)]
    table = table.assign(**{str(name): table[name].astype(object).map(_text) for name in words})
    table = table.set_axis([_text(str(name)) for name in table.columns], axis=1)
    replace_atomically(path, lambda file: table.to_csv(file, index=False, float_format=float_format))


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = "\n".join(map(printable, value.split("\n")))
    text = LATER.sub(";'", text)
    return f"'{text}" if FORMULA.match(value) and not _is_number(value) else text


def _is_number(text: str) -> bool:
    """Seeds are words, which would lose digits as numbers."""
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()
