"""Early prediction: each predictor sees only what it may, and finds what it can know."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from aelle.analysis.baselines import TunedLoss
from aelle.analysis.early import SPLIT_SHARES, Study, study
from aelle.analysis.predictor import Predictor
from aelle.analysis.predictors import RECOMMENDED, WITHOUT_SPECTRA, Heard, Plane, predictors
from aelle.analysis.scores import METRICS
from aelle.analysis.verdict import verdict
from aelle.model.estimator import AeLLE
from aelle.model.samples import stratified_parts, sweep_sample
from aelle.predictor.early_predictor import EarlyPredictor
from aelle.predictor.observed import observed
from aelle.sweep.table import SweepTable
from sweeps import synthetic


def candidates(sweep: SweepTable, epochs: int = 4) -> tuple[list[Predictor], SweepTable]:
    """The predictors of the first split, and its test variants."""
    train, validation, test = stratified_parts(sweep.low_error, SPLIT_SHARES, 0)
    known = sweep.take(np.union1d(train, validation))
    sample = sweep_sample(known, np.arange(len(known.losses)))
    model = AeLLE(0.5, epochs=epochs).fit(sample.spectra, sample.losses, groups=sample.groups)
    fitted = EarlyPredictor(sweep.threshold).fit_to(known, model, known.measured_epochs)
    return predictors(known, Heard(fitted)), sweep.take(test)


def test_the_study_sees_nothing_of_a_test_variant_beyond_the_epoch():
    """Scores up to epoch k stay the same when all that comes later is overwritten."""
    sweep = synthetic()
    found, scored = candidates(sweep)
    for predictor in found:
        for k in range(3):
            hidden = replace(scored, losses=scored.losses.copy(), spectra=scored.spectra.copy())
            hidden.losses[:, k + 1 :] = np.nan
            hidden.spectra[:, k + 1 :] = np.nan
            np.testing.assert_array_equal(predictor.score(hidden, k), predictor.score(scored, k))


def test_a_predictor_says_nothing_of_a_variant_by_others_that_are_scored_with_it():
    found, scored = candidates(synthetic())
    for predictor in found:
        alone = np.concatenate([predictor.score(scored.take(np.array([v])), 1) for v in range(5)])
        np.testing.assert_allclose(alone, predictor.score(scored, 1)[:5], rtol=1e-4)


def test_the_study_finds_what_each_predictor_can_know():
    found = study(synthetic(), AeLLE(0.5, epochs=40), splits=3)
    at = found.summary.set_index(["predictor", "epoch"])
    assert at.loc[("AeLLE, plane", 0), "auc"] > 0.9 and at.loc[("spectrum, linear", 0), "auc"] > 0.9
    assert at.loc[(RECOMMENDED, 0), "auc"] > 0.9
    assert at.loc[("loss < final threshold", 0), "auc"] < 0.75
    assert at.loc[("loss < final threshold", 3), "f1"] == 1
    assert at.loc[("hyperparameters only", 0), "auc"] > 0.9
    every = at.loc[("all variants", 0)]
    assert every["recall"] == 1 and every["auc"] == 0.5


def test_a_chance_comes_from_splits_that_have_not_learned_from_the_variant():
    sweep = synthetic()
    found = study(sweep, AeLLE(0.5, epochs=4), splits=2)
    chances = found.chances(sweep, sweep).mean
    held_out = sum(np.isin(np.arange(60), test).astype(int) for test in found.tests)
    assert (np.isnan(chances[:, 0]) == (held_out == 0)).all()
    once = np.flatnonzero((held_out == 1) & np.isin(np.arange(60), found.tests[1]))[0]
    alone = found.recommended[1].predict(observed(sweep.take(np.array([once])), 2)).chance[0]
    assert chances[once, 2] == pytest.approx(alone)


def test_a_rare_class_is_kept_for_fits_and_has_its_share_in_scores(monkeypatch):
    monkeypatch.setattr("aelle.analysis.early.MAX_KNOWN", 60)
    monkeypatch.setattr("aelle.analysis.early.MAX_TESTED", 60)
    sweep = synthetic(600)
    sweep = replace(sweep, threshold=float(np.nanquantile(sweep.final_loss, 0.02)))
    share = sweep.low_error.mean()
    found = study(sweep, AeLLE(sweep.threshold, epochs=4), splits=1)
    known, tested = (sweep.low_error[rows[0]] for rows in (found.known, found.tests))
    assert known.mean() > 3 * share and tested.mean() == pytest.approx(share, abs=0.005) and len(tested) <= 61
    fitted = found.recommended[0]
    assert fitted.base_rate_ == pytest.approx(share, abs=0.005)
    shift = np.log(fitted.base_rate_ / (1 - fitted.base_rate_)) - np.log(known.mean() / (1 - known.mean()))
    assert fitted.prior_shift_ == pytest.approx(shift)
    every = found.scores.set_index(["predictor", "epoch"]).loc[("all variants", 0)]
    assert every["precision"] == pytest.approx(tested.mean())


def test_a_variant_whose_spectrum_is_not_finite_is_kept_in_the_study_and_ranked_last():
    sweep = synthetic()
    diverged = np.flatnonzero(sweep.variants["state"] == "diverged")
    sweep.spectra[diverged, 1:] = np.nan
    assert len(sweep.complete().losses) == 60 and sweep.measured_epochs == [0, 1, 2, 3]
    found = study(sweep, AeLLE(0.5, epochs=4), splits=3)
    tested = sum(len(test) for test in found.tests)
    assert tested == 3 * 36 and found.scores["auc"].notna().all()
    scores = Plane(found.models[0]).score(sweep, 2)
    assert (scores[diverged] == -np.inf).all() and np.isfinite(np.delete(scores, diverged)).all()


def test_equal_spectra_leave_the_other_members_to_the_study():
    """All that is known of them is that they were measured."""
    sweep = synthetic()
    found = study(replace(sweep, spectra=np.full_like(sweep.spectra, -1.0)), AeLLE(0.5, epochs=4), splits=3)
    assert found.models == [] and Plane.name not in set(found.scores["predictor"])
    at = found.summary.set_index(["predictor", "epoch"])["auc"]
    assert at["hyperparameters only", 0] > 0.9 and at[RECOMMENDED, 2] > 0.9
    assert verdict(found, 60, 60).startswith("3 splits are too few")


def scores_of(rows: list[tuple[str, int, int, float]]) -> Study:
    frame = pd.DataFrame(rows, columns=["predictor", "epoch", "split", "auc"])
    for metric in METRICS:
        frame[metric] = frame["auc"]
    return Study(
        scores=frame,
        predictions=pd.DataFrame(),
        epochs=[0, 1, 2],
        end=3,
        models=[],
        known=[np.arange(40)],
        tests=[np.arange(40, 100)],
        recommended=[],
        without_spectra=["b", "c"],
        outside=[np.zeros((3, 60), bool)],
    )


def test_means_intervals_and_paired_gains_over_the_splits():
    a, b = np.linspace(0.8, 0.9, 41), np.linspace(0.6, 0.9, 41)
    rows = [(name, 0, s, v) for name, values in (("a", a), ("b", b)) for s, v in enumerate(values)]
    found = scores_of([*rows, *[("c", 0, s, 0.5) for s in range(41)]])
    at = found.summary.set_index("predictor").loc["a"]
    assert (
        at["auc"] == pytest.approx(0.85)
        and at["auc_low"] == pytest.approx(0.8025)
        and at["auc_high"] == pytest.approx(0.8975)
    )
    assert found.best_without_spectra(0) == "b" and found.splits == 41
    mean, low, high = found.gain(0, "a", "b")
    # Nadeau and Bengio: the variance over 41 splits times 1/41 + 60/40.
    half = t.ppf(0.975, 40) * (a - b).std(ddof=1) * (1 / 41 + 1.5) ** 0.5
    assert (mean, low, high) == pytest.approx((0.1, 0.1 - half, 0.1 + half))
    assert scores_of(rows[:1] + rows[41:42]).gain(0, "a", "b")[1:] == (-np.inf, np.inf)


def test_the_study_is_reproducible():
    one, two = (study(synthetic(), AeLLE(0.5, epochs=4), splits=2).scores for _ in range(2))
    pd.testing.assert_frame_equal(one, two)


def test_from_when_on_spectra_add_nothing():
    areas = {"a": [0.9, 0.9, 0.9, 0.9], "b": [0.5, 0.95, 0.8, 1.0], "c": [0.4, 0.5, 0.9, 0.2]}
    rows = [(name, k, 0, value) for name, values in areas.items() for k, value in enumerate(values)]
    # After epoch 1 b is ahead, after 2 c is level, and the last epoch does not count.
    assert scores_of(rows).overtaken("a") == 1
    level = {"a": areas["a"], "b": areas["b"], "c": [0.4, 0.5, 0.8, 0.2]}
    rows = [(name, k, 0, value) for name, values in level.items() for k, value in enumerate(values)]
    assert scores_of(rows).overtaken("a") is None


def test_a_hyperparameter_that_is_constant_among_the_known_changes_no_name():
    sweep = synthetic()
    sweep.variants["q"] = (np.arange(60) == 7).astype(float)
    sweep.hyperparameters.append("q")
    scores = study(sweep, AeLLE(0.5, epochs=4), splits=4).scores
    assert "hyperparameters only" in set(scores["predictor"])
    assert (scores.groupby("predictor").size() == 4 * 4).all()


def test_shares_are_those_asked_for():
    tests = study(synthetic(), AeLLE(0.5, epochs=4), splits=2, split_shares=(0.6, 0.2, 0.2)).tests
    assert [len(test) for test in tests] == [12, 12]


def of_means(**means: list[float]) -> Study:
    """Ten splits with a spread of .005 around the mean ROC AUC of each epoch."""
    names = {"ours": RECOMMENDED, "without": WITHOUT_SPECTRA, "loss": TunedLoss.name}
    rows = [
        (names[name], k, s, mean + 0.001 * ((7 * s + 3 * i) % 10))
        for i, (name, of_epochs) in enumerate(means.items())
        for k, mean in enumerate(of_epochs)
        for s in range(10)
    ]
    return scores_of(rows)


def test_the_verdict_says_from_when_on_the_loss_is_enough_and_what_spectra_add_before():
    found = of_means(ours=[0.9, 0.92, 0.95], without=[0.85, 0.87, 0.95], loss=[0.5, 0.8, 0.945])
    said = verdict(found, 100, 100)
    assert said.startswith("Here the last loss is enough from epoch 2 on; before that, spectra add 0.050 (0.0")
    assert said.endswith("to the ROC AUC of losses and hyperparameters.")


def test_the_verdict_says_where_spectra_add_nothing():
    level = of_means(ours=[0.9, 0.92, 0.95], without=[0.9, 0.92, 0.95], loss=[0.5, 0.8, 0.945])
    assert verdict(level, 100, 100).startswith("Here spectra add nothing beyond noise (0.000 in ROC AUC, -0.0")
    # 0.1 above in one split and below in the next: too noisy to say.
    noisy = of_means(ours=[0.9, 0.92, 0.95], without=[0.9, 0.92, 0.95], loss=[0.5, 0.8, 0.945])
    ours = noisy.scores["predictor"] == RECOMMENDED
    noisy.scores.loc[ours, "auc"] += 0.1 * (-1.0) ** noisy.scores["split"][ours]
    assert verdict(noisy, 100, 100).startswith(
        "Whether spectra add anything here cannot be told (0.000 in ROC AUC, -0."
    )
    late = of_means(ours=[0.9, 0.92, 0.95], without=[0.9, 0.92, 0.95], loss=[0.9, 0.92, 0.95])
    assert verdict(late, 100, 100) == "Here the last loss is enough from epoch 0 on; spectra add nothing."


def test_the_verdict_says_when_there_is_none():
    found = of_means(ours=[0.9, 0.92, 0.95], without=[0.85, 0.87, 0.95], loss=[0.5, 0.8, 0.945])
    assert verdict(found, 29, 29).startswith("Only 29 variants: these numbers mean little. Here ")
    few = replace(found, scores=found.scores[found.scores["split"] < 3])
    late = of_means(ours=[0.9, 0.92, 0.95], without=[0.9, 0.92, 0.95], loss=[0.9, 0.92, 0.95])
    assert "too few to say" in verdict(replace(late, scores=late.scores[late.scores["split"] < 3]), 100, 100)
    assert verdict(few, 100, 100) == "3 splits are too few to say whether spectra help here: use splits=20."
    assert verdict(None, 9, 100, "one class only").endswith("mean little. No classification: one class only.")
    assert "after the last epoch only" in verdict(replace(found, epochs=[3]), 100, 100)


def test_an_ended_variant_has_a_chance_at_its_epochs_only():
    """A pruned variant, which no split tests, has one by a predictor that has not learned from it."""
    sweep = synthetic()
    found = study(sweep, AeLLE(0.5, epochs=4), splits=2)
    stopped = replace(sweep, losses=sweep.losses.copy(), variants=sweep.variants.assign(variant=np.arange(60) + 100))
    stopped.losses[:, 2:] = np.nan
    both = replace(
        sweep,
        variants=pd.concat([sweep.variants, stopped.variants], ignore_index=True),
        losses=np.concatenate([sweep.losses, stopped.losses]),
        spectra=np.concatenate([sweep.spectra, stopped.spectra]),
    )
    chances = found.chances(sweep, both).mean
    assert np.isfinite(chances[60:, :2]).all() and np.isnan(chances[60:, 2:]).all()
