"""The results of an analysis, as the report takes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from aelle.analysis.architectures import ArchitectureAccuracy
from aelle.analysis.early import Chances, Study
from aelle.analysis.embeddings import Comparison
from aelle.analysis.examples import Example
from aelle.analysis.features import Correlation
from aelle.analysis.generalisation import Transfer
from aelle.analysis.importance import Importance
from aelle.analysis.left_out import LeftOut
from aelle.analysis.plane import TrainedPlane
from aelle.analysis.shares import Group
from aelle.sweep.retraining import Retraining
from aelle.sweep.table import SweepTable


@dataclass(frozen=True)
class Findings:
    """`complete`: the variants of `sweep` whose training is over; `shares` (of low error) and `correlations` are
    computed from those. `early` is None for the `reason` given; `plane`, with the `comparison` of embeddings, is None
    for that in `no_plane`. `split_shares`: of training, validation and test variants. `elsewhere`: how AeLLE ranks
    variants for other inputs, networks and tasks. `settings`: AeLLE's parameters that are not the
    defaults, in words. `verdict`: what follows for a reader, in one sentence. `outside`: of
    the variants that are not complete, those unlike all known ones, and why. `name`: of an
    analysis with another threshold or other settings than the sweep's usual one; its files are named after it.
    `importance`: of the hyperparameters, None where there is too little to tell. `architectures`: how well
    spectra predict them. `left_out`: how predictors rank variants with values of a hyperparameter that they have not
    seen. `retraining`: how variants are trained, None for arrays."""

    sweep: SweepTable
    complete: SweepTable
    shares: dict[str, list[Group]]
    correlations: list[Correlation]
    examples: list[Example]
    plane: TrainedPlane | None
    comparison: Comparison | None
    no_plane: str
    early: Study | None
    verdict: str
    reason: str
    elsewhere: list[Transfer]
    split_shares: list[float]
    settings: str
    outside: dict[int, str]
    name: str = ""
    importance: Importance | None = None
    architectures: Sequence[ArchitectureAccuracy] = ()
    left_out: LeftOut | None = None
    retraining: Retraining | None = None

    @cached_property
    def chances(self) -> Chances | None:
        """Of every variant of the sweep after each epoch; None where nothing can be classified."""
        return None if self.early is None else self.early.chances(self.complete, self.sweep)
