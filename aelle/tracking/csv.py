"""One `metrics.csv` per pack, for spreadsheets."""

from collections.abc import Sequence

import pandas as pd

from aelle.spreadsheets import write_csv
from aelle.tracking.tracker import TIME, Outcome, Pack, Row


class CsvFile:
    """A row per variant and epoch with the variant's hyperparameters, replaced whole after each epoch.

    Lightning's CSVLogger would drop the rows written before a stop, and create a folder per variant.
    """

    def start(self, pack: Pack) -> None:
        self.path = pack.folder / "metrics.csv"
        self.hyperparameters = [pack.hyperparameters(variant) for variant in pack.variants]
        self.rows: list[Row] = []

    def epoch(self, rows: Sequence[Row]) -> None:
        self.rows += [{name: value for name, value in row.items() if name != TIME} for row in rows]
        self._write(["running"] * len(self.hyperparameters))

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        self._write([outcome["state"] for outcome in outcomes])

    def _write(self, states: Sequence[str]) -> None:
        if not self.rows:
            return
        variants = pd.DataFrame(self.hyperparameters).assign(state=list(states))
        table = pd.DataFrame(self.rows).astype({"variant": int, "epoch": int}).merge(variants, on="variant")
        write_csv(self.path, table)
