"""The classifiers on the plane, where their answer is known."""

import numpy as np
import pytest

from aelle.model.estimator import AeLLE
from aelle.model.regions import CLASSIFIERS, ellipse, hyperplane, threshold


def cloud(seed: int = 0, n: int = 400) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 2)) * [3, 1]


def test_a_threshold_is_found_on_pc1_alone():
    points = cloud()
    region = threshold(points, points[:, 0] > 0.7)
    assert -region.intercept / region.linear[0] == pytest.approx(0.7, abs=0.1) and region.linear[1] == 0


def test_a_hyperplane_is_found_in_any_direction():
    points = cloud()
    low = points @ [1.0, -2.0] > 0.5
    region = hyperplane(points, low)
    assert region.linear[1] / region.linear[0] == pytest.approx(-2, abs=0.15)
    assert ((region.log_odds(points) > 0) == low).mean() > 0.98
    assert ((threshold(points, low).log_odds(points) > 0) == low).mean() < 0.95


def test_an_ellipse_is_found_where_no_line_separates():
    points = cloud()
    low = ((points - [1.0, 0.3]) ** 2 / [4.0, 0.25]).sum(1) < 1
    region = ellipse(points, low)
    assert ((region.log_odds(points) > 0) == low).mean() > 0.95
    assert ((hyperplane(points, low).log_odds(points) > 0) == low).mean() < 0.9
    assert np.linalg.eigvalsh(region.quadratic).max() < 0
    far = region.log_odds(np.array([[1e3, 0.0], [0.0, -1e3]]))
    assert (far < 0).all()


def test_an_ellipse_around_what_lies_outside_is_none():
    points = cloud()
    region = ellipse(points, (points**2).sum(1) > 9)
    assert (region.quadratic == 0).all() and np.isfinite(region.log_odds(points)).all()


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("degenerate", ["one of each", "on a line", "one component", "all in one place"])
def test_few_and_degenerate_points_give_finite_odds(name, degenerate):
    points = cloud(n=30)
    if degenerate == "one of each":
        points = points[:2]
    elif degenerate == "on a line":
        points[:, 1] = 2 * points[:, 0]
    elif degenerate == "one component":
        points = points[:, :1]
    else:
        points = np.ones((30, 2))
    low = np.arange(len(points)) % 2 == 0
    assert np.isfinite(CLASSIFIERS[name](points, low).log_odds(points)).all()


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_aelle_with_each_classifier_learns_saves_and_loads(name, n_components, tmp_path):
    depth = np.random.default_rng(0).uniform(1, 6, 120)
    spectra, losses = -depth[:, None] * np.linspace(0, 1, 16), np.exp(depth - 3.5) * 0.5
    model = AeLLE(0.5, epochs=60, classifier=name, n_components=n_components).fit(spectra, losses)
    assert model.score(spectra, losses) > 0.8
    model.save(tmp_path)
    np.testing.assert_array_equal(AeLLE.load(tmp_path).predict_proba(spectra), model.predict_proba(spectra))
