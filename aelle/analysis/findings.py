"""The results of an analysis, as the report takes them."""

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
    """`complete`: the variants of `sweep` whose training is over; `shares` (of low error) and `correlations` are
    computed from those. `early` is None for the `reason` given; `plane`, with the `comparison` of embeddings, is None
    for that in `no_plane`. `split_shares`: of training, validation and test variants. `elsewhere`: how AeLLE ranks
    variants for other inputs, networks and tasks. `settings`: AeLLE's parameters that are not the
    defaults, in words."""

    sweep: SweepTable
    complete: SweepTable
    shares: dict[str, list[Group]]
    correlations: list[Correlation]
    examples: list[Example]
    plane: TrainedPlane | None
    comparison: Comparison | None
    no_plane: str
    early: Study | None
    reason: str
    elsewhere: list[Transfer]
    split_shares: list[float]
    settings: str
