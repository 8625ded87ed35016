"""Target signals."""

import torch

from aelle.data.sines import FourSines
from aelle.variants import Variant


def variant(number: int, g: float = 1.5, **changes) -> Variant:
    return Variant(
        number, {"hidden_size": 33, "g": g, "target": "random", **changes}, {"init": 7 + number, "shuffle": 0}
    )


def test_targets_span_minus_one_to_one_and_are_each_variants_own():
    random = FourSines().of([variant(n) for n in range(5)])
    assert random.shape == (5, 1200) and (random.amin(1) == -1).all() and (random.amax(1) == 1).all()
    assert torch.equal(FourSines().of([variant(3)])[0], random[3]) and not torch.equal(random[0], random[1])
    fixed = FourSines().of([variant(n, target="fixed") for n in range(2)])
    assert torch.equal(fixed[0], fixed[1])
