import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aelle.errors import UserError
from aelle.seeds import generator
from aelle.sweep.plan import cut_into_packs, parse_numbers
from aelle.variants import Variant, check_space, draw

SPACE = {"hidden_size": [32, 64, 128, 256], "p": "uniform(2.0, 3.0)", "learning_rate": 0.01}


def test_a_variant_depends_on_the_sweep_seed_and_its_number_alone():
    forwards = [draw(SPACE, 7, n) for n in range(50)]
    backwards = [draw(SPACE, 7, n) for n in reversed(range(50))]
    assert forwards == backwards[::-1]
    assert draw(SPACE, 8, 3) != forwards[3]


def test_adding_a_hyperparameter_leaves_the_other_draws_alone():
    wider = {"clip": "log_uniform(0.1, 10)", **SPACE}
    assert draw(wider, 0, 5).hyperparameters["p"] == draw(SPACE, 0, 5).hyperparameters["p"]


def test_known_draws_stay_as_they_are():
    # A published sweep must be drawn alike by every later version.
    variant = draw(SPACE, 0, 17)
    assert variant.hyperparameters == pytest.approx({"hidden_size": 64, "p": 2.9315041428435635, "learning_rate": 0.01})


def test_lists_are_dealt_out_in_turn_and_several_in_all_combinations():
    sizes = [draw(SPACE, 0, n).hyperparameters["hidden_size"] for n in range(1200)]
    assert [sizes.count(size) for size in SPACE["hidden_size"]] == [300] * 4
    both = {"a": [1, 2], "b": [10, 20, 30]}
    assert len({tuple(draw(both, 0, n).hyperparameters.values()) for n in range(6)}) == 6


def test_draws_have_the_distribution_they_are_named_for():
    uniform = np.array([draw({"p": "uniform(2, 3)"}, 0, n).hyperparameters["p"] for n in range(2000)])
    assert uniform.min() >= 2 and uniform.max() < 3
    # The mean of 2000 draws has a standard deviation of 0.0065, their variance one of 0.0017.
    assert uniform.mean() == pytest.approx(2.5, abs=0.03) and uniform.var() == pytest.approx(1 / 12, abs=0.008)
    log = np.log10([draw({"r": "log_uniform(1e-4, 1e-2)"}, 0, n).hyperparameters["r"] for n in range(2000)])
    assert log.mean() == pytest.approx(-3, abs=0.06) and log.min() >= -4 and log.max() <= -2
    whole = [draw({"k": "integers(1, 3)"}, 0, n).hyperparameters["k"] for n in range(300)]
    assert set(whole) == {1, 2, 3} and all(type(k) is int for k in whole)


def test_keys_do_not_collide():
    assert generator(1, 23).integers(2**60) != generator(12, 3).integers(2**60)


def test_packs_hold_one_shape_each_in_the_order_of_shape_and_number():
    cut = cut_into_packs([draw(SPACE, 0, n) for n in range(50)], 5)
    assert all(len({v.shape for v in pack}) == 1 and len(pack) <= 5 for pack in cut)
    order = [(v.hyperparameters["hidden_size"], v.number) for pack in cut for v in pack]
    assert order == sorted(order) and len(order) == 50


def test_only_the_initial_scale_may_differ_inside_a_pack():
    pair = [Variant(0, {"hidden_size": 8, "p": 2.0}, {}), Variant(1, {"hidden_size": 8, "p": 3.0}, {})]
    assert len(cut_into_packs(pair, 5)) == 1
    pair[1] = Variant(1, {"hidden_size": 16, "p": 3.0}, {})
    assert len(cut_into_packs(pair, 5)) == 2


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({}, "empty"),
        ({"p": []}, "empty list"),
        ({"p": "uniform(3, 2)"}, "lower bound"),
        ({"p": "uniform(2, 2)"}, "lower bound"),
        ({"p": "gamma(0, 1)"}, "not a distribution"),
        ({"p": "uniform(1)"}, "not a distribution"),
        ({"p": "uniform(1e, 2)"}, "not a distribution"),
        ({"r": "log_uniform(0, 1)"}, "positive"),
        ({"p": float("nan")}, "finite"),
        ({"p": float("inf")}, "finite"),
        ({"own": float("inf")}, "finite"),
        ({"p": -1.0}, "above 0"),
        ({"hidden_size": 0}, "at least 1"),
        ({"hidden_size": [8, -8]}, "at least 1"),
        ({"hidden_size": 8.5}, "whole number"),
        ({"learning_rate": "uniform(-1, 1)"}, "above 0"),
    ],
)
def test_a_space_that_cannot_be_drawn_from_is_refused_in_one_line(space, says):
    with pytest.raises(UserError, match=says) as refused:
        check_space(space)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("text", "numbers"), [(17, [17]), ("0-3", [0, 1, 2, 3]), ([5, 3, 5], [3, 5]), ("7-7", [7])])
def test_numbers_are_parsed(text, numbers):
    assert parse_numbers(text, 20) == numbers


@given(st.one_of(st.integers(max_value=-1), st.text(), st.floats(), st.booleans(), st.lists(st.text(), min_size=1)))
def test_anything_else_is_refused(text):
    try:
        assert all(0 <= n < 20 for n in parse_numbers(text, 20))
    except UserError as refused:
        assert "0 to 19" in str(refused)


@pytest.mark.parametrize("text", [20, "5-3", [], "18-20", [-1, 2]])
def test_numbers_outside_the_sweep_are_refused(text):
    with pytest.raises(UserError, match="0 to 19"):
        parse_numbers(text, 20)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("keep", 0),
        ("keep", 1.5),
        ("keep", "uniform(0.5, 2)"),
        ("dropout", 1),
        ("dropout", -0.1),
        ("g", 0),
        ("target", "odd"),
    ],
)
def test_shares_and_words_have_their_bounds(name, value):
    with pytest.raises(UserError, match=f"{name}="):
        check_space({name: value})
    check_space({"keep": 1, "dropout": 0, "g": 1.5, "target": ["fixed", "random"]})


def test_a_pack_mixes_scales_and_targets():
    space = {"g": "uniform(1.0, 1.8)", "target": ["fixed", "random"]}
    cut = cut_into_packs([draw(space, 0, n) for n in range(8)], 25)
    assert [len(pack) for pack in cut] == [8]
