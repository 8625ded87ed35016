"""The plan of a sweep whose variants a study proposes."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from aelle.runs.reader import DamagedRunError
from aelle.sweep.plan import Plan, Remaining
from aelle.variants import Variant, cost


@dataclass(frozen=True)
class SearchedPlan(Plan):
    """`pack`: the variants that this job trains next, or trains. `trained`: cost and seconds of its packs so far."""

    pack: list[Variant] = field(default_factory=list)
    trained: list[tuple[float, float]] = field(default_factory=list)

    def take(self, pack: Sequence[Variant]) -> None:
        self.pack[:] = pack

    def variant(self, number: int) -> Variant:
        for variant in self.pack:
            if variant.number == number:
                return variant
        raise DamagedRunError(f"variant {number} is not one of those that this job trains")

    @property
    def title(self) -> str:
        first, last, V = self.pack[0].number, self.pack[-1].number, len(self.pack)
        if V == 1:
            return f"variant {first}"
        return f"variants {first} to {last}" if last - first == V - 1 else f"{V} variants from {first} on"

    def remaining(self, besides: Collection[Variant] = ()) -> Remaining:
        """Those that have not been proposed yet are taken to cost as much as the present ones."""
        wanted, complete = self.wanted(), self.complete()
        usual = sum(map(cost, self.pack)) / len(self.pack)
        left = wanted - complete - {variant.number for variant in besides}
        return Remaining(len(wanted), len(complete & wanted), usual * len(left))

    def pace(self, cost: float, seconds: float, over: bool = False) -> float:
        """On average over this job's packs: some have a few variants only, and take nearly as long as large ones."""
        packs = [*self.trained, (cost, seconds)]
        if over:
            self.trained.append((cost, seconds))
        costs, times = zip(*packs, strict=True)
        return sum(times) / sum(costs)
