"""The tasks of memory against their definitions, and against the baselines that their thresholds follow from."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from aelle.data import Part, Sequences, adding, recall
from aelle.data.memory import check_whole
from aelle.errors import UserError
from aelle.sweep.table import load_sweep

SIZES = {"train": 3000, "val": 200, "test": 100}
MAKERS = {
    "recall": lambda **options: recall(**{"steps": 12, "noise": 0.2, **SIZES, **options}),
    "adding": lambda **options: adding(**{"steps": 12, **SIZES, **options}),
}


def parts(data: Sequences) -> list[Part]:
    return [data.train, data.val, data.test]


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_seed_gives_the_same_data_and_another_seed_others(name):
    make = MAKERS[name]
    one, other = make(), make(seed=1)
    for maker in (recall, adding):
        maker.cache_clear()
    again = make()
    for a, b, c in zip(parts(one), parts(again), parts(other), strict=True):
        assert a.x is not b.x and torch.equal(a.x, b.x) and torch.equal(a.y, b.y) and not torch.equal(a.x, c.x)


@pytest.mark.parametrize("name", MAKERS)
def test_the_parts_have_their_sizes_and_no_sequence_in_common(name):
    data = MAKERS[name]()
    assert [len(part.x) for part in parts(data)] == [len(part.y) for part in parts(data)] == list(SIZES.values())
    sequences = [x.numpy().tobytes() for part in parts(data) for x in part.x]
    assert len(set(sequences)) == len(sequences)
    assert torch.equal(data.probe(7), data.val.x[:7]) and torch.equal(data.probe(7, "test"), data.test.x[:7])


@pytest.mark.parametrize("name", MAKERS)
def test_more_sequences_of_one_part_leave_the_others_as_they_are(name):
    one, longer = MAKERS[name](), MAKERS[name](train=3001)
    assert torch.equal(one.val.x, longer.val.x) and torch.equal(one.test.y, longer.test.y)


def test_the_symbol_to_recall_is_the_first_input_and_all_else_is_noise():
    data = recall(12, 0.5, **SIZES)
    x, y = data.train
    assert data.classes == 8 and x.shape == (3000, 12, 8) and x.dtype == torch.float32
    assert torch.equal(x[:, 0], F.one_hot(y, 8).float())
    noise = x[:, 1:]
    assert noise.mean().abs() < 0.01 and noise.std() == pytest.approx(0.5, rel=0.01)
    # Nothing else tells the symbol: the noise has the same mean for each of them.
    assert all(noise[y == symbol].mean((0, 1)).abs().max() < 0.05 for symbol in range(8))


def test_guessing_the_symbol_costs_ln_8():
    y = recall(12, 0.2, **SIZES).train.y
    uniform = F.cross_entropy(torch.zeros(len(y), 8), y)
    shares = torch.bincount(y, minlength=8) / len(y)
    assert uniform.item() == pytest.approx(math.log(8))
    assert -(shares * shares.log()).sum() == pytest.approx(math.log(8), abs=0.01)


@pytest.mark.parametrize("steps", [2, 5, 12])
def test_the_sum_is_that_of_the_two_marked_numbers(steps):
    data = adding(steps, **SIZES)
    for x, y in parts(data):
        assert x.shape[1:] == (steps, 2) and y.shape == (len(x), 1) and x.dtype == y.dtype == torch.float32
        for sequence, answer in zip(x.tolist(), y.tolist(), strict=True):
            marked = [t for t, (_, marker) in enumerate(sequence) if marker]
            assert len(marked) == 2 and marked[0] < steps // 2 <= marked[1]
            assert answer[0] == pytest.approx(sum(sequence[t][0] for t in marked), abs=1e-6)
    x = data.train.x
    assert x[..., 0].min() >= 0 and x[..., 0].max() < 1 and ((x[..., 1] == 0) | (x[..., 1] == 1)).all()
    # Every step is marked as often as any other of its half.
    often = x[..., 1].sum(0)
    halves = (often[: steps // 2] * (steps // 2), often[steps // 2 :] * (steps - steps // 2))
    assert all((half / 3000 - 1).abs().max() < 0.25 for half in halves)


def test_the_constant_answer_1_has_an_error_of_a_sixth():
    y = adding(12, **SIZES).train.y
    error = (y - 1).square()
    standard_error = error.std() / len(y) ** 0.5
    assert abs(error.mean() - 1 / 6) < 4 * standard_error and standard_error < 0.005


WRONG = [
    (recall, {"steps": 1, "noise": 0.2}, r"task\.data\.steps=1: give a whole number of at least 2"),
    (recall, {"steps": 9, "noise": -0.1}, r"task\.data\.noise=-0\.1: give a number of at least 0"),
    (recall, {"steps": 9, "noise": math.nan}, r"task\.data\.noise=nan: give a number of at least 0"),
    (adding, {"steps": 0}, r"task\.data\.steps=0: give a whole number of at least 2"),
    (partial(check_whole, "steps"), {"value": 2.5, "least": 2}, r"task\.data\.steps=2\.5: give a whole number"),
    (partial(check_whole, "steps"), {"value": "many", "least": 2}, r"task\.data\.steps=many: give a whole number"),
    (adding, {"steps": 9, "train": 0}, r"task\.data\.train=0: give a whole number of at least 1"),
    (adding, {"steps": 9, "seed": -1}, r"task\.data\.seed=-1: give a whole number of at least 0"),
]


@pytest.mark.parametrize(("maker", "options", "says"), WRONG)
def test_a_wrong_option_is_one_clear_error(maker, options, says):
    with pytest.raises(UserError, match=says):
        maker(**options)


TINY = ["size=3", "hidden_size=4", "epochs=2", "lyapunov.sequences=2"]
FEW = ["task.data.train=40", "task.data.val=8", "task.data.test=8", "batch_size=20"]
SWEEPS = {
    "recall": ["task.data.steps=6", "cell=gru"],
    "adding": ["task.data.steps=6"],
}


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_is_trained_and_measured(name, main):
    code, out, err = main("train.py", "-m", f"experiment={name}", *TINY, *FEW, *SWEEPS[name])
    assert code == 0 and "3 of 3 variants complete" in out, err
    table = load_sweep(f"outputs/{name}")
    assert np.isfinite(table.losses).all() and np.isfinite(table.spectra).all()


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("recall", "task.data.steps=0"),
        ("recall", "task.data.noise=[1]"),
        ("adding", "task.data.steps=-3"),
        ("adding", "task.data.delay=3"),
    ],
)
def test_a_wrong_option_is_one_line_before_anything_is_trained(name, wrong, main, tmp_path):
    code, _, err = main("train.py", "-m", f"experiment={name}", wrong)
    assert code and len(err.strip().splitlines()) == 1 and wrong.split("=")[0].split(".")[-1] in err
    assert not list((tmp_path / "outputs").rglob("*.parquet"))
