"""All that an analysis has found."""

from dataclasses import dataclass

from aelle.analysis.early import Study
from aelle.analysis.embeddings import Comparison
from aelle.analysis.examples import Example
from aelle.analysis.features import Correlation
from aelle.analysis.generalisation import Transfer
from aelle.analysis.plane import TrainedPlane
from aelle.analysis.shares import Group
from aelle.sweep.table import SweepTable


@dataclass(frozen=True)
class Findings:
    """`ended`: the variants of `sweep` whose training is over; `correlations` and `shares` of
    those; `plane`, with the `comparison` of embeddings, and `early` are None where there is no classification, for the
    `reason` or `no_plane` given. `parts`: the shares of training, validation and test variants; `elsewhere`: how AeLLE
    ranks other inputs, networks, tasks."""

    sweep: SweepTable
    ended: SweepTable
    shares: dict[str, list[Group]]
    correlations: list[Correlation]
    examples: list[Example]
    plane: TrainedPlane | None
    comparison: Comparison | None
    no_plane: str
    early: Study | None
    reason: str
    elsewhere: list[Transfer]
    parts: list[float]
    settings: str
