"""A forest of extremely randomised trees, each grown on two thirds of the variants: the others judge it. Variants that
share a draw of the hyperparameters stay together.

Grown by scikit-learn, kept as arrays, so that it can be saved without pickle.

Axes: t tree, N node, n row, F column.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.tree import ExtraTreeRegressor

from aelle.model.samples import blocks

TREES = 64

SHARE = 2 / 3
"""Of the variants of each class, which a tree is grown on."""

MIN_LEAF = 3
"""Rows in a leaf, at least."""


class Forest(NamedTuple):
    """Nodes of all trees one after the other; `left`, `right`: the children, a leaf's are itself; `roots` [t]."""

    roots: Int[np.ndarray, "t"]
    column: Int[np.ndarray, "N"]
    cut: Float[np.ndarray, "N"]
    left: Int[np.ndarray, "N"]
    right: Int[np.ndarray, "N"]
    value: Float[np.ndarray, "N"]

    def of_trees(self, columns: Float[np.ndarray, "n F"]) -> Float[np.ndarray, "t n"]:
        """The share of low error in the leaf of each row, by each tree."""
        t, n = len(self.roots), len(columns)
        return self.at(columns, np.repeat(np.arange(t), n), np.tile(np.arange(n), t)).reshape(t, n)

    def at(
        self, columns: Float[np.ndarray, "n F"], tree: Int[np.ndarray, "p"], row: Int[np.ndarray, "p"]
    ) -> Float[np.ndarray, "p"]:
        """The share of low error in the leaf of some rows, by a tree each."""
        values, F = columns.astype(np.float32).ravel(), columns.shape[1]
        leaf, going = np.empty(len(tree), dtype=int), np.arange(len(tree))
        node, first = self.roots[tree], row * F
        while len(going):
            below = np.where(values[first + self.column[node]] <= self.cut[node], self.left[node], self.right[node])
            leaf[going] = below
            rest = np.flatnonzero(below != node)
            going, node, first = going[rest], below[rest], first[rest]
        return self.value[leaf]


def grow(
    columns: Float[np.ndarray, "n F"],
    group: Int[np.ndarray, "n"],
    low: Bool[np.ndarray, "groups"],
    seed: int,
    draws: Int[np.ndarray, "groups"] | None = None,
) -> tuple[Forest, Bool[np.ndarray, "t groups"]]:
    """`group`: which variant a row belongs to; `low`: whether a variant is low-error; `draws`: which variants stay
    together. Also returns which variants each tree was grown on."""
    random, of = np.random.default_rng(seed), blocks(low, draws)
    grown_on = np.zeros((TREES, len(of.rich)), bool)
    for tree in range(TREES):
        for _, members in of.kinds:
            grown_on[tree, random.permutation(members)[: max(1, round(SHARE * len(members)))]] = True
    grown_on = grown_on[:, of.of_row]
    given, target = columns.astype(np.float32), low[group].astype(float)
    parts, roots, end = [], [], 0
    for tree, chosen in enumerate(grown_on):
        rows = chosen[group]
        regressor = ExtraTreeRegressor(min_samples_leaf=MIN_LEAF, max_features=1.0, random_state=(seed + tree) % 2**32)
        nodes = regressor.fit(given[rows], target[rows]).tree_
        itself, leaf = np.arange(nodes.node_count), nodes.children_left < 0
        left, right = (np.where(leaf, itself, side) + end for side in (nodes.children_left, nodes.children_right))
        parts.append((np.maximum(nodes.feature, 0), nodes.threshold, left, right, nodes.value[:, 0, 0]))
        roots.append(end)
        end += nodes.node_count
    return Forest(np.array(roots), *(np.concatenate(part) for part in zip(*parts, strict=True))), grown_on
