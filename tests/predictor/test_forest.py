"""The forest's arrays against scikit-learn's trees, and what its trees have not seen."""

import numpy as np
from sklearn.tree import ExtraTreeRegressor

from aelle.predictor.forest import MIN_LEAF, TREES, grow


def rows(variants: int = 30, epochs: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    columns = rng.standard_normal((epochs * variants, 4))
    low = columns[:variants, 0] + 0.3 * rng.standard_normal(variants) > 0
    return columns, np.tile(np.arange(variants), epochs), low


def test_its_arrays_are_scikit_learns_trees():
    columns, group, low = rows()
    forest, grown_on = grow(columns, group, low, seed=5)
    new = np.random.default_rng(1).standard_normal((50, 4))
    found = forest.of_trees(new)
    assert found.shape == (TREES, 50)
    for tree in (0, 7, TREES - 1):
        chosen = grown_on[tree][group]
        theirs = ExtraTreeRegressor(min_samples_leaf=MIN_LEAF, max_features=1.0, random_state=5 + tree)
        theirs.fit(columns[chosen].astype(np.float32), low[group][chosen].astype(float))
        np.testing.assert_array_equal(found[tree], theirs.predict(new.astype(np.float32)))


def test_a_tree_knows_nothing_of_a_variant_that_it_was_not_grown_on():
    """Neither its class nor its columns change the tree."""
    columns, group, low = rows()
    forest, grown_on = grow(columns, group, low, seed=0)
    v = int(np.flatnonzero(~grown_on[0])[0])
    changed = np.where((group == v)[:, None], 100.0, columns)
    again, _ = grow(changed, group, low, seed=0)
    np.testing.assert_array_equal(forest.of_trees(columns)[0], again.of_trees(columns)[0])
    assert all(0.4 < share < 0.9 for share in grown_on.mean(0))


def test_variants_of_one_draw_stay_together():
    """Draws of three variants, whose classes differ within a draw."""
    columns, group, low = rows()
    draws = np.arange(30) // 3
    _, grown_on = grow(columns, group, low, seed=0, draws=draws)
    of_draws = grown_on.reshape(TREES, 10, 3)
    assert (of_draws == of_draws[:, :, :1]).all() and all(0.4 < share < 0.9 for share in grown_on.mean(0))


def test_a_class_of_one_variant_is_in_every_tree():
    columns, group, low = rows()
    low[:] = False
    low[3] = True
    forest, grown_on = grow(columns, group, low, seed=0)
    assert grown_on[:, 3].all() and forest.of_trees(columns).max() <= 1
