"""A sweep from arrays, in memory or in a file: what is read, and what is refused in one line."""

import numpy as np
import pytest

from aelle import EarlyPredictor
from aelle.errors import UserError
from aelle.sweep.arrays import RESERVED, load_arrays, table_of
from sweeps import synthetic, write_arrays


@pytest.mark.parametrize("name", RESERVED)
def test_a_hyperparameter_cannot_replace_a_column_of_the_table(tmp_path, name):
    losses, column = synthetic().losses, np.arange(60)
    with pytest.raises(UserError, match=f"^hyperparameters contain {name}: .*; rename it, e.g. to {name}_$"):
        EarlyPredictor(0.5).fit(losses, None, {"p": column, name: column % 2})
    write_arrays(tmp_path / "mine.npz", **{name: column})
    table = load_arrays(tmp_path / "mine.npz")
    assert table.hyperparameters == ["p"] and len(table.complete().losses) == 60
    told = f"mine.npz: {name} is left out: the sweep's table has a column of that name; rename it, e.g. to {name}_"
    assert (told in table.problems) == (name != "variant")


def test_an_array_that_is_no_hyperparameter_is_left_out(tmp_path):
    write_arrays(tmp_path / "mine.npz", rate=np.zeros((60, 4)))
    table = load_arrays(tmp_path / "mine.npz")
    assert table.hyperparameters == ["p"] and "rate is left out: a hyperparameter is an array [60]" in " ".join(
        table.problems
    )
    assert table_of(table.losses, hyperparameters={"error_": np.arange(60)}).variants["error"].isna().all()
