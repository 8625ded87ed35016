"""Distributions against their definitions, conditions, seeds, and what is refused."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aelle.distributions import Distribution, parse
from aelle.errors import UserError
from aelle.hyperparameters import HYPERPARAMETERS, NOT_READ, not_read
from aelle.seeds import generator
from aelle.variants import check_space, draw

N = 4000


def draws(spec: str) -> list:
    distribution = parse("x", spec)
    return [distribution.draw(generator(0, n, "x")) for n in range(N)]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("uniform(2, 3)", stats.uniform(2, 1)),
        ("log_uniform(1e-3, 1e-1)", stats.loguniform(1e-3, 1e-1)),
        ("normal(-1, 0.5)", stats.norm(-1, 0.5)),
        ("log_normal(-7, 1)", stats.lognorm(1, scale=math.exp(-7))),
    ],
)
def test_draws_are_distributed_as_scipys(spec, expected):
    assert stats.kstest(draws(spec), expected.cdf).pvalue > 0.001


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        ("integers(3, 6)", [3, 4, 5, 6]),
        ("integers(8, 65, step=16)", [8, 24, 40, 56]),
        ("uniform(0, 0.5, step=0.1)", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        ("uniform(0.1, 0.35, step=0.1)", [0.1, 0.2, 0.3]),
        ("choice(lstm, gru, 'rnn')", ["lstm", "gru", "rnn"]),
        ("choice(0.5, 2, 1e-3)", [0.5, 2, 1e-3]),
    ],
)
def test_every_value_is_drawn_equally_often(spec, values):
    found = draws(spec)
    counts = [found.count(value) for value in values]
    assert sum(counts) == N
    assert stats.chisquare(counts).pvalue > 0.001
    assert {type(value) for value in found} == {type(value) for value in values}


def test_other_distributions_are_rounded_to_a_step():
    logs = draws("log_uniform(10, 100, step=16)")
    assert set(logs) == {16, 32, 48, 64, 80, 96} and all(type(value) is int for value in logs)
    assert logs.count(16) > logs.count(96)
    assert set(draws("normal(0, 1, step=0.5)")) >= {-1.5, -1, -0.5, 0, 0.5, 1, 1.5}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("uniform(1, 2, 3)", "not a distribution"),
        ("uniform(1, 2, steps=0.1)", "not a distribution"),
        ("uniform(1, 2, step=0)", "step must be above 0"),
        ("uniform(1, 2, step=-0.1)", "step must be above 0"),
        ("uniform(0, inf)", "not a distribution"),
        ("integers(1.5, 3)", "must be whole"),
        ("integers(1, 3, step=0.5)", "must be whole"),
        ("log_uniform(3, 4, step=16)", "no multiple of 16"),
        ("normal(0, 0)", "standard deviation"),
        ("log_normal(0, -1)", "standard deviation"),
        ("choice()", "give choice"),
        ("choice(a, b(1))", "give choice"),
        ("uniform(0.05", "is missing; within braces, quote a distribution"),
        ("nothing(1, 2)", "not a distribution"),
    ],
)
def test_what_is_no_distribution_is_refused_in_one_line(spec, says):
    with pytest.raises(UserError, match=says) as refused:
        parse("x", spec)
    assert str(refused.value).startswith("x=") and "\n" not in str(refused.value)


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused(text):
    try:
        assert isinstance(parse("x", f"uniform({text})"), Distribution)
    except UserError as refused:
        assert "\n" not in str(refused).replace(repr(text)[1:-1], "").replace(text, "")


CONDITIONAL = {
    "optimizer": ["adam", "sgd"],
    "learning_rate": {"optimizer": {"adam": 0.001, "sgd": [0.1, 1.0]}},
    "momentum": {"optimizer": {"sgd": "uniform(0.5, 0.9)"}},
    "beta1": 0.8,
}


def test_a_condition_chooses_and_what_is_not_read_is_empty():
    check_space(CONDITIONAL)
    for n in range(12):
        chosen = draw(CONDITIONAL, 0, n).hyperparameters
        if n % 2 == 0:
            assert chosen["learning_rate"] == 0.001 and chosen["beta1"] == 0.8 and not_read(chosen["momentum"])
        else:
            assert chosen["learning_rate"] == [0.1, 1.0][n // 2 % 2] and 0.5 <= chosen["momentum"] <= 0.9
            assert not_read(chosen["beta1"])


def test_a_condition_on_a_number_and_an_order_that_needs_sorting():
    space = {"p": {"hidden_size": {32: 0.1, 64: "uniform(1, 2)"}}, "hidden_size": [32, 64]}
    check_space(space)
    first, second = (draw(space, 0, n) for n in (0, 1))
    assert first.hyperparameters == {"p": 0.1, "hidden_size": 32} and 1 <= second.hyperparameters["p"] <= 2
    assert list(second.hyperparameters) == ["p", "hidden_size"]


def test_a_value_that_a_condition_does_not_name_has_its_default():
    space = {"optimizer": ["adam", "sgd", "rmsprop"], "learning_rate": {"optimizer": {"sgd": 0.1}}, "momentum": None}
    check_space(space)
    rates = [draw(space, 0, n).value("learning_rate") for n in range(3)]
    assert rates == [HYPERPARAMETERS["learning_rate"].default, 0.1, HYPERPARAMETERS["learning_rate"].default]
    assert draw(space, 0, 2).hyperparameters["momentum"] == 0 and not_read(
        draw(space, 0, 0).hyperparameters["momentum"]
    )


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({"optimizer": "adam", "momentum": 0.9}, "read only where optimizer is sgd or rmsprop, and here it is adam"),
        ({"momentum": 0.9}, "here it is adam"),
        ({"init": "orthogonal", "p": "uniform(1, 2)"}, "p is read only where init is uniform"),
        ({"cell": ["rnn"], "forget_bias": 1}, "forget_bias is read only where cell is lstm or gru"),
        ({"learning_rate": {"optimiser": {"sgd": 1}}, "optimizer": "sgd"}, "did you mean optimizer"),
        ({"learning_rate": {"optimizer": {"sdg": 1}}, "optimizer": "sgd"}, "optimizer=sdg, but optimizer is sgd"),
        ({"learning_rate": {"p": {"0.1": 1}}, "p": "uniform(1, 2)"}, "give p as a value, a list or choice"),
        ({"learning_rate": {"optimizer": 1}, "optimizer": "sgd"}, "one hyperparameter and its values"),
        ({"learning_rate": {}, "optimizer": "sgd"}, "one hyperparameter and its values"),
        ({"learning_rate": {"optimizer": {"sgd": {"p": {"1": 1}}}}, "optimizer": "sgd", "p": 1}, "within another"),
        ({"learning_rate": {"optimizer": {"sgd": -1}}, "optimizer": "sgd"}, "learning_rate=-1"),
        ({"p": {"gain": {"1": 1}}, "gain": {"p": {"1": 1}}}, "depend on each other"),
        ({"p": {"p": {"1": 1}}}, "depend on each other"),
        ({"optimizer": "choice(adam, sgdd)"}, "optimizer=sgdd: give one of"),
        ({"schedule": "uniform(0, 1)"}, "choice"),
        ({"layers": "choice(1, 5)"}, "layers=5"),
        ({"layers": "uniform(1, 4, step=0.5)"}, "must be a whole number"),
        ({"gradient_clip": 0}, "gradient_clip=0: give a number above 0"),
        ({"warmup": 1}, "warmup=1"),
        ({"learning_rate": True}, "not a finite number"),
    ],
)
def test_conditions_and_values_that_are_wrong_are_refused_in_one_line(space, says):
    with pytest.raises(UserError, match=says) as refused:
        check_space(space)
    assert "\n" not in str(refused.value)


def test_a_draw_that_is_not_allowed_is_named():
    with pytest.raises(UserError, match=r"dropout=normal\(0, 1\) drew a value for variant \d+ that is not allowed"):
        for n in range(20):
            draw({"dropout": "normal(0, 1)"}, 0, n)


def test_repeats_differ_in_their_seeds_alone():
    space = {"p": "uniform(1, 2)", "hidden_size": [8, 16]}
    variants = [draw(space, 0, n, repeats=5) for n in range(20)]
    for start in range(0, 20, 5):
        group = variants[start : start + 5]
        assert len({tuple(v.hyperparameters.items()) for v in group}) == 1
    assert len({v.hyperparameters["p"] for v in variants}) == 4
    assert len({v.seeds["init"] for v in variants}) == len({v.seeds["shuffle"] for v in variants}) == 20
    assert [v.hyperparameters["hidden_size"] for v in variants[::5]] == [8, 16, 8, 16]
    assert [draw(space, 0, n).hyperparameters for n in range(4)] == [v.hyperparameters for v in variants[::5]]


def test_a_variants_seed_can_be_fixed_and_swept():
    fixed = [draw({"p": "uniform(1, 2)", "variant_seed": 7}, seed, n) for seed in (0, 1) for n in range(3)]
    assert len({tuple(v.seeds.items()) for v in fixed}) == 1 and len({v.hyperparameters["p"] for v in fixed}) == 6
    swept = [draw({"p": 1.0, "variant_seed": [0, 1, 2]}, 0, n) for n in range(6)]
    assert swept[0].seeds == swept[3].seeds and len({v.seeds["init"] for v in swept}) == 3
    own = [draw({"p": 1.0, "variant_seed": None}, 0, n) for n in range(3)]
    assert [v.seeds for v in own] == [draw({"p": 1.0}, 0, n).seeds for n in range(3)]


def test_only_floats_of_unknown_names_share_a_pack():
    shapes = {draw({"dt": value}, 0, 0).shape for value in (0.1, 0.2)}
    assert len(shapes) == 1
    assert len({draw({"order": value}, 0, 0).shape for value in (1, 2, "a")}) == 3
    assert draw({"dt": {"cell": {"lem": 0.5}}, "cell": ["lem", "lstm"]}, 0, 1).hyperparameters["dt"] is NOT_READ


def test_a_space_is_drawn_without_pytorch():
    """`--help` and the status of a sweep would wait for seconds."""
    import subprocess

    code = "import sys, aelle.variants; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert np.isnan(NOT_READ)
