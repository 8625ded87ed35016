"""The embeddings that the report compares."""

import importlib.util

import numpy as np
import pytest
from sklearn.decomposition import PCA

import aelle.analysis.embeddings
from aelle.analysis.embeddings import PICTURES, agreement, check_pictures, picture, principal_components
from aelle.errors import UserError


def test_principal_components_are_those_of_the_whole_matrix():
    values = np.random.default_rng(0).standard_normal((30, 7)) @ np.diag([9, 5, 1, 1, 1, 1, 0.1]) + 1000
    found = principal_components(np.split(values, [3, 4], axis=1))
    expected = PCA(2).fit_transform(values)
    np.testing.assert_allclose(found * np.sign((found * expected).sum(0)), expected, rtol=1e-8, atol=1e-9)
    wide = np.random.default_rng(1).standard_normal((5, 400))
    found, expected = principal_components([wide]), PCA(2).fit_transform(wide)
    np.testing.assert_allclose(found * np.sign((found * expected).sum(0)), expected, rtol=1e-8, atol=1e-9)


def test_agreement_counts_nearest_neighbours_of_the_same_class():
    line = np.array([[0.0], [1.0], [3.0], [3.5], [9.0]])
    low = np.array([True, True, False, True, True])
    every = np.ones(5, dtype=bool)
    found = agreement(line, low, every)
    # Neighbours are 1, 0, 3, 2, 3, the chances of one of its own class 3/4 four times, and 0 for the one high-error.
    assert found == pytest.approx((3 / 5, (4 * 3 / 4) / 5, 5))
    assert agreement(line, low, np.array([False, False, True, False, True])) == pytest.approx((1 / 2, 3 / 8, 2))
    alike = agreement(np.zeros((5, 2)), low, every)
    assert alike.accuracy == pytest.approx(alike.chance_level)
    assert agreement(line, low, ~every).n == 0 and np.isnan(agreement(line[:1], low[:1], every[:1]).accuracy)
    assert agreement(line, ~np.zeros(5, dtype=bool), every)[:2] == (1, 1)


WORDS = [word for word in PICTURES if word != "umap"]
if importlib.util.find_spec("umap"):
    # It is compiled for half a minute when it is first used.
    WORDS.append(pytest.param("umap", marks=pytest.mark.long))


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.filterwarnings("ignore:.*approximate k-NN.*")
def test_pictures_keep_clusters_and_follow_from_the_seed(word):
    rng = np.random.default_rng(0)
    latent = np.concatenate([rng.normal(0, 1, (20, 3)), rng.normal(30, 1, (20, 3))])
    latent[39] = latent[38]
    points = picture(word, latent, 1)
    assert points.shape == (40, 2) and np.isfinite(points).all()
    np.testing.assert_array_equal(points, picture(word, latent, 1))
    assert (points[39] == points[38]).all()
    assert agreement(points, np.arange(40) < 20, np.ones(40, dtype=bool)).accuracy == 1


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize(("n", "L"), [(1, 1), (1, 3), (2, 1), (3, 3), (4, 1), (5, 3), (9, 1)])
def test_pictures_of_very_few_variants(word, n, L):
    points = picture(word, np.random.default_rng(0).standard_normal((n, L)), 0)
    assert points.shape[0] == n and np.isfinite(points).all()
    same = picture(word, np.ones((n, L)), 0)
    assert (same == same[0]).all() and np.isfinite(same).all()


def test_pictures_are_chosen_by_a_word_or_several(monkeypatch):
    assert check_pictures("tsne") == check_pictures(["tsne", "tsne"]) == ["tsne"] and check_pictures([]) == []
    for wrong in ("pca", None, 3, ["tsne", "lda"], [["tsne"]]):
        with pytest.raises(UserError, match=r"choose tsne, umap"):
            check_pictures(wrong)
    monkeypatch.setattr(aelle.analysis.embeddings, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install umap-learn"):
        check_pictures("umap")


def test_other_embeddings_than_pca_are_pictures(main):
    for override in ("aelle.embedding=tsne", "pictures=pca"):
        code, _, err = main("analyze.py", "sweep=nowhere", override)
        assert code == 2 and err.count("\n") == 1 and ("pictures=[tsne,umap]" in err or "choose tsne, umap" in err)
