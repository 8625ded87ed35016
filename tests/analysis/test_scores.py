import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.special import expit
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from aelle.analysis.scores import PRECISION, score

LABELS = npst.arrays(bool, st.integers(2, 30))


@settings(deadline=None)
@given(LABELS, st.data())
def test_scores_agree_with_scikit_learn(low, data):
    kept = data.draw(npst.arrays(bool, len(low)))
    log_odds = data.draw(npst.arrays(float, len(low), elements=st.floats(-20, 20)))
    found = score(low, log_odds, kept, chances=True)
    for name, reference in (("recall", recall_score), ("precision", precision_score), ("f1", f1_score)):
        expected = reference(low, kept, zero_division=np.nan)
        np.testing.assert_allclose(getattr(found, name), expected)
    np.testing.assert_allclose(found.brier, brier_score_loss(low, expit(log_odds), labels=[False, True]), atol=1e-12)
    if 0 < low.sum() < len(low):
        np.testing.assert_allclose(found.auc, roc_auc_score(low, log_odds))
        np.testing.assert_allclose(found.average_precision, average_precision_score(low, log_odds))
        best = max(
            (recall for recall, precision in cuts(low, log_odds) if precision >= PRECISION),
            default=0,
        )
        assert found.recall_at_precision == pytest.approx(best)


def cuts(low, scores):
    """Recall and precision of what is kept, by every cut of the scores."""
    for cut in scores:
        kept = scores >= cut
        yield (low & kept).sum() / low.sum(), (low & kept).sum() / kept.sum()


def test_what_has_no_value_is_not_a_number():
    found = score(np.array([True, True]), np.zeros(2), np.zeros(2, bool))
    assert np.isnan([found.auc, found.average_precision, found.recall_at_precision, found.precision, found.brier]).all()
    assert found.recall == 0 and found.f1 == 0


def test_the_area_is_the_chance_to_rank_a_pair_rightly():
    low, scores = np.array([True, False, True, False]), np.array([3.0, 2.0, 1.0, 1.0])
    pairs = [(3 > 2), (3 > 1), 0 * (1 > 2), 0.5]
    assert score(low, scores, low).auc == pytest.approx(sum(pairs) / 4)
