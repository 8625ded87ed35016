"""The table of chances that is printed while a pack trains."""

import re

import numpy as np
import pytest

from aelle.training.chance_report import chance_table


@pytest.mark.parametrize("V", [1, 2, 25, 1003])
def test_the_table_is_whole_and_eighty_columns_wide(V):
    rng = np.random.default_rng(V)
    chance = rng.uniform(size=V)
    chance[V // 2] = np.nan
    lines = chance_table(list(range(7, V + 7)), chance)
    assert max(map(len, lines)) <= 80
    numbers = [int(number) for number in re.findall(r"(\d+) +(?:\d+|–) %", "\n".join(lines))]
    assert numbers == [7 + row for row in np.argsort(-np.nan_to_num(chance, nan=-1))]
