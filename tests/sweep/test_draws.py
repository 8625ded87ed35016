"""Which variants share a draw of the hyperparameters: by the configuration, or by numbers that chance repeats never."""

import numpy as np
import pandas as pd
import pytest

from aelle.runs.writer import RunFolder
from aelle.sweep.arrays import table_of
from aelle.sweep.draws import repeated_draws
from aelle.sweep.plan import Plan
from aelle.sweep.table import load_sweep
from run_files import CONFIG, epoch_rows

TENS = np.repeat(np.arange(20), 10)
"""20 draws, ten variants each."""


def draws_of(repeats: int | None = None, **columns) -> np.ndarray | None:
    frame = pd.DataFrame(columns)
    return repeated_draws(frame.assign(number=np.arange(len(frame))), list(columns), repeats)


def same_groups(found: np.ndarray | None, expected: np.ndarray) -> bool:
    return found is not None and len(set(zip(found.tolist(), expected.tolist(), strict=True))) == len(set(expected))


def rates(n: int = 20, seed: int = 0) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).uniform(-7, -2, n))


def test_the_configuration_says_how_many_variants_in_a_row_share_a_draw(tmp_path):
    config = {**CONFIG, "size": 6, "repeats": 2}
    run = RunFolder(tmp_path / "pack-0000", config)
    run.begin([Plan(config, tmp_path).variant(n) for n in range(6)])
    run.write_epochs(epoch_rows(epochs=2, variants=6))
    run.write_status("complete", epoch=2, device="cpu")
    found = load_sweep(tmp_path).draws
    assert found is not None and found.tolist() == [0, 0, 1, 1, 2, 2]
    assert load_sweep(tmp_path).take(np.array([5, 0])).draws.tolist() == [2, 0]


def test_of_a_grid_the_configuration_alone_says_so():
    """Three values, assigned in turn to 60 variants: with repeats=1 each is a draw of its own."""
    grid = np.arange(60) % 3
    assert draws_of(1, hidden_size=grid) is None
    assert same_groups(draws_of(5, hidden_size=np.arange(60) // 5 % 3), np.arange(60) // 5)


def test_runs_started_one_by_one_share_a_draw_only_with_equal_hyperparameters():
    """Each run numbers its variants from 0."""
    frame = pd.DataFrame({"number": [0, 1, 0, 1], "cell": ["gru", "gru", "lstm", "lstm"]})
    assert same_groups(repeated_draws(frame, ["cell"], 2), np.array([0, 0, 1, 1]))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, object])
def test_equal_drawn_numbers_are_one_draw(dtype):
    columns = {"rate": rates()[TENS].astype(dtype), "cell": np.array(["gru", "lstm"])[TENS % 2]}
    assert same_groups(draws_of(None, **columns), TENS)
    seeded = {**columns, "variant_seed": np.arange(200)}
    assert same_groups(draws_of(None, **seeded), TENS)


@pytest.mark.parametrize(
    "columns",
    [
        {"size": np.arange(200) % 3 * 16},
        {"rate": np.geomspace(1e-3, 1e-1, 5)[np.arange(200) % 5]},
        {"rate": np.linspace(0, 1, 21)[np.arange(200) % 21]},
        {"rate": np.linspace(0, 1, 21, dtype=np.float32)[np.arange(200) % 21]},
        {"units": np.random.default_rng(0).integers(8, 64, 200)},
        {"cell": np.array(["gru", "lstm"])[np.arange(200) % 2], "variant_seed": np.arange(200)},
        {"rate": rates(200)},
        {"rate": np.full(200, 0.123456789)},
        {"rate": np.full(200, np.nan)},
        {"variant_seed": np.arange(200) // 10},
        {},
    ],
)
def test_grids_single_draws_and_seeds_alone_are_no_repetition(columns):
    assert draws_of(None, **columns) is None


def test_what_does_not_read_the_drawn_number_is_not_grouped():
    """A bias drawn for the LSTMs only: GRUs agree in the values of a grid."""
    lstm = TENS < 10
    bias = np.where(lstm, rates()[TENS], np.nan)
    found = draws_of(None, bias=bias, cell=np.where(lstm, "lstm", "gru"))
    assert same_groups(found, np.where(lstm, TENS, 1000 + np.arange(200)))


def test_one_draw_of_all_variants_gives_no_groups():
    assert draws_of(10, rate=np.full(10, 0.1234567)) is None
    assert repeated_draws(pd.DataFrame({"number": np.arange(10)}), [], 10) is None
    assert same_groups(repeated_draws(pd.DataFrame({"number": np.arange(10)}), [], 5), np.arange(10) // 5)


@pytest.mark.parametrize("V", [0, 1])
def test_no_variant_and_one_have_no_draws(V):
    assert draws_of(None, rate=rates(V)) is None and draws_of(3, rate=rates(V)) is None


def test_arrays_have_the_draws_of_their_hyperparameters():
    table = table_of(np.ones((200, 3)), None, {"rate": rates()[TENS]})
    assert same_groups(table.draws, TENS)
    assert table_of(np.ones((200, 3)), None, {"rate": rates(200)}).draws is None
