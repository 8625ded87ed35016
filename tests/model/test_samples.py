"""The parts that a sample is divided into."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aelle.errors import TooFewError, UserError
from aelle.model.samples import class_sample, stratified_parts, sweep_sample
from sweeps import synthetic


@given(st.integers(3, 60), st.integers(3, 60), st.integers(0, 5))
def test_parts_are_disjoint_complete_and_hold_both_classes(low, high, seed):
    labels = np.arange(low + high) < low
    parts = stratified_parts(labels, (0.32, 0.08, 0.6), seed)
    assert sorted(np.concatenate(parts)) == list(range(low + high))
    for part, share in zip(parts, (0.32, 0.08, 0.6), strict=True):
        assert {True, False} == set(labels[part])
        assert abs(labels[part].sum() - share * low) <= 2 and abs((~labels[part]).sum() - share * high) <= 2
    again = stratified_parts(labels, (0.32, 0.08, 0.6), seed)
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))


def test_too_few_of_a_class_is_refused():
    with pytest.raises(UserError, match="2 of 12 variants are low-error, too few for 3 parts"):
        stratified_parts(np.arange(12) < 2, (0.3, 0.1, 0.6), 0)


@given(st.integers(6, 30), st.integers(1, 6), st.integers(0, 99))
def test_groups_are_in_one_part_and_every_part_has_both_classes(draws, repeats, seed):
    """Whatever the classes in a group are."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(rng.permutation(draws), repeats))
    low = rng.random(draws)[groups] + 0.3 * rng.standard_normal(len(groups)) > 0.5
    try:
        parts = stratified_parts(low, (0.5, 0.5), seed, groups)
    except TooFewError as error:
        assert "too few for 2 parts" in str(error)
        return
    assert sorted(np.concatenate(parts)) == list(range(len(groups)))
    assert set(groups[parts[0]]).isdisjoint(groups[parts[1]])
    assert all({True, False} == set(low[part]) for part in parts)


def test_groups_of_one_are_no_groups_and_too_few_are_refused():
    low = np.arange(40) % 3 == 0
    for one, other in zip(
        stratified_parts(low, (0.5, 0.5), 3), stratified_parts(low, (0.5, 0.5), 3, np.arange(40)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    halves = np.arange(40) // 20
    with pytest.raises(TooFewError, match="1 of 2 draws of hyperparameters end low-error more often than the others, "):
        stratified_parts(np.arange(40) % 20 < 5 * (1 + halves), (0.5, 0.5), 0, halves)
    with pytest.raises(TooFewError, match="1 of 2 draws of hyperparameters end low-error more often than the others, "):
        stratified_parts(np.arange(40) < 20, (0.5, 0.5), 0, halves)
    alike = stratified_parts(np.arange(40) % 2 == 0, (0.5, 0.5), 0, np.arange(40) // 10)
    assert [len(part) for part in alike] == [20, 20]


def test_a_sample_keeps_the_shares_of_the_classes_and_no_class_is_lost():
    low = np.arange(20000) < 5000
    some = class_sample(low, 400, 0)
    assert len(some) == 400 and low[some].sum() == 100 and (np.diff(some) > 0).all()
    rare = np.arange(20000) < 6
    some = class_sample(rare, 400, 0)
    assert rare[some].sum() == 6 and len(some) == pytest.approx(400, abs=6)
    plain = class_sample(rare, 400, 0, least=1)
    assert rare[plain].sum() == 1 and len(plain) == pytest.approx(400, abs=1)
    words = np.array(["a", "b", "c"])[np.arange(3000) % 3]
    assert np.unique(words[class_sample(words, 300, 0)], return_counts=True)[1].tolist() == [100, 100, 100]


def test_all_of_few_are_taken_without_a_draw(monkeypatch):
    monkeypatch.setattr("aelle.model.samples.sample", None)
    np.testing.assert_array_equal(class_sample(np.arange(300) < 5, 300, 0), np.arange(300))


def test_a_sample_of_variants_without_spectra_is_refused():
    sweep = synthetic()
    sweep.spectra[:30] = np.nan
    assert len(sweep_sample(sweep, np.arange(31)).losses) == 4
    with pytest.raises(TooFewError, match="30 variants have 0 finite spectra"):
        sweep_sample(sweep, np.arange(30))
