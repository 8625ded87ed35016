"""The plan of a sweep whose variants a study proposes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from aelle.runs.reader import DamagedRunError
from aelle.sweep.plan import Plan
from aelle.variants import Variant


@dataclass(frozen=True)
class SearchedPlan(Plan):
    """Its variants are those of the trials that this job has taken."""

    taken: dict[int, Variant] = field(default_factory=dict)

    def take(self, variants: Sequence[Variant]) -> None:
        self.taken.clear()
        self.taken.update({variant.number: variant for variant in variants})

    def variant(self, number: int) -> Variant:
        if number not in self.taken:
            raise DamagedRunError(f"variant {number} is not one of those that this job trains")
        return self.taken[number]
