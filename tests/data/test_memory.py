"""The tasks of memory against their definitions, and against the baselines that their thresholds follow from."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from aelle.data import Part, Sequences, adding, copy, copy_threshold, flip_flop, flip_flop_threshold, recall
from aelle.data.memory import check_whole
from aelle.errors import UserError
from aelle.sweep.table import load_sweep

SIZES = {"train": 3000, "val": 200, "test": 100}
MAKERS = {
    "recall": lambda **options: recall(**{"steps": 12, "noise": 0.2, **SIZES, **options}),
    "adding": lambda **options: adding(**{"steps": 12, **SIZES, **options}),
    "copy": lambda **options: copy(**{"delay": 5, **SIZES, **options}),
    "flipflop": lambda **options: flip_flop(**{"steps": 30, "bits": 3, "pulses": 0.2, **SIZES, **options}),
}


def parts(data: Sequences) -> list[Part]:
    return [data.train, data.val, data.test]


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_seed_gives_the_same_data_and_another_seed_others(name):
    make = MAKERS[name]
    one, other = make(), make(seed=1)
    for maker in (recall, adding, copy, flip_flop):
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
    for name, part in (("val", data.val), ("test", data.test)):
        probe = data.probe(7, name)
        assert probe.shape == (7, part.x.shape[1], data.inputs) and probe.dtype == torch.float32
        assert torch.equal(probe.argmax(-1) if data.symbols else probe, part.x[:7])


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


@pytest.mark.parametrize(("delay", "length"), [(1, 10), (5, 10), (7, 2)])
def test_the_copy_is_of_the_first_symbols_after_the_mark(delay, length):
    data = copy(delay, length, **SIZES)
    assert data.classes == 9 and data.inputs == 10
    for x, y in zip(data.train.x.tolist(), data.train.y.tolist(), strict=True):
        symbols, blank, mark = x[:length], 8, 9
        assert set(symbols) <= set(range(8))
        assert x == symbols + [blank] * (delay - 1) + [mark] + [blank] * length
        assert y == [blank] * (delay + length) + symbols
    often = torch.bincount(data.train.x[:, :length].flatten(), minlength=8) / (3000 * length)
    assert (often - 1 / 8).abs().max() < 0.02


@pytest.mark.parametrize("delay", [1, 20])
def test_guessing_the_copy_costs_ten_ln_8_over_all_steps(delay):
    """Who answers blank until the mark, and any of the eight symbols after it."""
    y = copy(delay, **SIZES).train.y
    answer = torch.full((*y.shape, 9), -torch.inf)
    answer[:, :-10, 8] = 0
    answer[:, -10:, :8] = 0
    loss = F.cross_entropy(answer.flatten(0, 1), y.flatten())
    assert loss.item() == pytest.approx(10 * math.log(8) / (delay + 20), rel=1e-5)


def test_each_bit_is_the_sign_of_its_last_pulse():
    data = flip_flop(30, 3, 0.2, **SIZES)
    for x, y in parts(data):
        state = torch.zeros(len(x), 3)
        for t in range(30):
            state = torch.where(x[:, t] == 0, state, x[:, t])
            assert torch.equal(y[:, t], state)
        assert set(x.flatten().tolist()) == {-1, 0, 1} and set(y.flatten().tolist()) == {-1, 1}
    x = data.train.x
    assert (x[:, 1:] != 0).float().mean() == pytest.approx(0.2, abs=0.005) and x.mean().abs() < 0.005
    assert torch.corrcoef(x[:, 1:].flatten(0, 1).T).fill_diagonal_(0).abs().max() < 0.02


def test_a_flip_flop_without_memory_has_the_error_of_its_silent_steps():
    x, y = flip_flop(30, 3, 0.2, **SIZES).train
    assert y.square().mean() == 1
    assert (x - y).square().mean().item() == pytest.approx(0.8 * 29 / 30, abs=0.005)


WRONG = [
    (recall, {"steps": 1, "noise": 0.2}, r"task\.data\.steps=1: give a whole number of at least 2"),
    (recall, {"steps": 9, "noise": -0.1}, r"task\.data\.noise=-0\.1: give a number of at least 0"),
    (recall, {"steps": 9, "noise": math.nan}, r"task\.data\.noise=nan: give a number of at least 0"),
    (adding, {"steps": 0}, r"task\.data\.steps=0: give a whole number of at least 2"),
    (copy, {"delay": 0}, r"task\.data\.delay=0: give a whole number of at least 1"),
    (copy, {"delay": -4}, r"task\.data\.delay=-4: give a whole number of at least 1"),
    (copy, {"delay": 4, "length": 0}, r"task\.data\.length=0: give a whole number of at least 1"),
    (flip_flop, {"steps": 0, "bits": 3, "pulses": 0.1}, r"task\.data\.steps=0: give a whole number of at least 2"),
    (flip_flop, {"steps": 9, "bits": 0, "pulses": 0.1}, r"task\.data\.bits=0: give a whole number of at least 1"),
    (flip_flop, {"steps": 9, "bits": 3, "pulses": 1.5}, r"task\.data\.pulses=1\.5: give a number from 0 to 1"),
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
    "copy": ["task.data.delay=1"],
    "flipflop": ["task.data.steps=6"],
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
        ("copy", "task.data.delay=-1"),
        ("flipflop", "task.data.bits=0"),
    ],
)
def test_a_wrong_option_is_one_line_before_anything_is_trained(name, wrong, main, tmp_path):
    code, _, err = main("train.py", "-m", f"experiment={name}", wrong)
    assert code and len(err.strip().splitlines()) == 1 and wrong.split("=")[0].split(".")[-1] in err
    assert not list((tmp_path / "outputs").rglob("*.parquet"))


@pytest.mark.parametrize("bits", [1, 3, 12])
@pytest.mark.parametrize("pulses", [0, 0.1, 0.95])
@pytest.mark.parametrize("steps", [2, 40])
def test_below_the_threshold_of_the_flip_flop_every_bit_is_remembered(steps, bits, pulses):
    """It is below the error of whoever knows all bits but one, and that one only while it is pulsed."""
    x, y = flip_flop(steps, bits, pulses, train=4000, val=1, test=1).train
    one_lost = y.clone()
    one_lost[..., 0] = x[..., 0]
    error = (y - one_lost).square().mean().item()
    assert 0.2 * error < flip_flop_threshold(steps, bits, pulses) < 0.5 * error


def test_a_flip_flop_of_pulses_alone_has_no_threshold():
    with pytest.raises(UserError, match=r"task\.data\.pulses=1: nothing is left to remember; give a share below 1"):
        flip_flop_threshold(40, 3, 1)
    for options in ((1, 3, 0.1), (40, 0, 0.1), (40, 3, -0.1), (40, 3, math.nan)):
        with pytest.raises(UserError, match=r"^task\.data\.(steps|bits|pulses)=.*: give a "):
            flip_flop_threshold(*options)


def test_the_threshold_of_copying_is_a_tenth_of_guessing_at_any_length():
    for delay, length in ((3, 3), (20, 10), (500, 10)):
        guessing = length * math.log(8) / (delay + 2 * length)
        assert copy_threshold(delay, length) == pytest.approx(guessing / 10, rel=0.05)
