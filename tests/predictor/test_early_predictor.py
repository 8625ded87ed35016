"""The recommended predictor: as good as its members, honest about what it does not know, the same after saving."""

import json
from copy import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit
from sklearn.exceptions import NotFittedError

from aelle import AeLLE, EarlyPredictor
from aelle.analysis.scores import roc_auc
from aelle.errors import TooFewError, UserError
from aelle.predictor.low_chances import LowChances
from aelle.predictor.observed import check_epoch, observed, so_far
from aelle.predictor.outside import neighbourhood
from aelle.sweep.arrays import table_of
from aelle.sweep.table import SweepTable
from sweeps import synthetic

QUICK = {"epochs": 10}


def of_rates(V: int = 120, seed: int = 0) -> SweepTable:
    """Rates from 1e-3 to 1e-1: the larger the rate, the lower the loss; the spectrum says how deep it ends."""
    rng = np.random.default_rng(seed)
    rate, depth = 10 ** rng.uniform(-3, -1, V), rng.uniform(1, 2, V)
    share, final = np.linspace(0, 1, 6), 0.3 * depth * (0.03 / rate) ** 0.3
    losses = 2.3 * (1 - share) + share * final[:, None] + 0.01 * rng.standard_normal((V, 6))
    spectra = -depth[:, None, None] * np.linspace(0, 1, 8) + 0.02 * rng.standard_normal((V, 6, 8))
    columns = {"variant": np.arange(V), "run": "r", "state": "complete", "error": None, "complete": True}
    variants = pd.DataFrame({**columns, "learning_rate": rate})
    return SweepTable("s", "t", 0.45, V, ["learning_rate"], variants, losses, spectra, [])


@pytest.fixture(scope="module")
def fitted() -> EarlyPredictor:
    sweep = of_rates()
    return EarlyPredictor(sweep.threshold, aelle=QUICK).fit(sweep)


def test_it_ranks_new_variants(fitted):
    new = of_rates(seed=1)
    for k in range(5):
        assert roc_auc(new.low_error, fitted.predict_proba(new, epoch=k)[:, 1]) > 0.9
    chances = fitted.predict_proba(new, epoch=5)[:, 1]
    assert ((chances > 0.999) == new.low_error).all()


def test_arrays_are_as_good_as_a_table(fitted):
    new = of_rates(seed=1)
    rates = {"learning_rate": new.variants["learning_rate"]}
    of_arrays = fitted.predict_proba(new.losses, new.spectra, rates, 2)
    np.testing.assert_array_equal(of_arrays, fitted.predict_proba(new, epoch=2))
    np.testing.assert_allclose(of_arrays.sum(1), 1)
    np.testing.assert_array_equal(of_arrays, fitted.predict_proba(new.losses[:, :3], new.spectra[:, :3], rates, 2))
    sweep = of_rates()
    again = EarlyPredictor(0.45, aelle=QUICK).fit(
        sweep.losses, sweep.spectra, {"learning_rate": sweep.variants["learning_rate"]}
    )
    np.testing.assert_array_equal(again.predict_proba(new, epoch=2), fitted.predict_proba(new, epoch=2))


@pytest.mark.parametrize("names", [range(6), np.linspace(0, 1, 6), [f"epoch {k}" for k in range(6)]])
def test_epochs_of_a_frame_in_another_order_are_refused(names, tmp_path):
    """They moved chances in silence."""
    sweep, new = of_rates(), of_rates(seed=1)
    predictor = EarlyPredictor(0.45, aelle=QUICK).fit(pd.DataFrame(sweep.losses, columns=names))
    predictor.save(tmp_path)
    frame = pd.DataFrame(new.losses, columns=names)
    for one in (predictor, EarlyPredictor.load(tmp_path)):
        expected = one.predict_proba(new.losses, epoch=2)
        for given in (frame, frame.iloc[:, :3], frame.assign(later=0.0)):
            np.testing.assert_array_equal(one.predict_proba(given, epoch=2), expected)
        for wrong in (frame.iloc[:, ::-1], frame.iloc[:, [1, 0, 2]]):
            with pytest.raises(ValueError, match=r"column 0 of losses is .*, and was .*0 in the fit: give the columns"):
                one.predict_proba(wrong, epoch=2)


def test_it_sees_nothing_of_later_epochs(fitted):
    new = of_rates(seed=1)
    hidden = replace(new, losses=new.losses.copy(), spectra=new.spectra.copy())
    hidden.losses[:, 3:], hidden.spectra[:, 3:] = np.nan, np.nan
    np.testing.assert_array_equal(fitted.predict_proba(hidden, epoch=2), fitted.predict_proba(new, epoch=2))


@pytest.mark.parametrize("lacking", [("losses",), ("spectra",), ("hyperparameters",), ("losses", "hyperparameters")])
def test_it_uses_the_members_that_have_their_inputs(fitted, lacking):
    new = of_rates(seed=1)
    given = {"losses": new.losses, "spectra": new.spectra, "hyperparameters": new.variants[["learning_rate"]]}
    chances = fitted.predict_proba(**{**given, **dict.fromkeys(lacking)}, epoch=3)[:, 1]
    assert np.isfinite(chances).all() and roc_auc(new.low_error, chances) > 0.6
    assert (chances != fitted.predict_proba(**given, epoch=3)[:, 1]).any()


def test_some_variants_may_lack_a_spectrum(fitted):
    new = of_rates(seed=1)
    gap = replace(new, spectra=new.spectra.copy())
    gap.spectra[:7, 2] = np.nan
    found = fitted.predict_proba(gap, epoch=2)
    np.testing.assert_allclose(found[7:], fitted.predict_proba(new, epoch=2)[7:], rtol=1e-9)
    without = fitted.predict_proba(new.losses, None, new.variants[["learning_rate"]], 2)
    np.testing.assert_allclose(found[:7], without[:7], rtol=1e-9)


def test_on_another_grid_losses_are_not_used(fitted):
    """After half of a training twice as long, spectra and hyperparameters speak."""
    new = of_rates(seed=1)
    given = {"spectra": new.spectra, "hyperparameters": new.variants[["learning_rate"]], "epoch": 4, "epochs": 10}
    found = fitted.predict_proba(losses=new.losses, **given)
    np.testing.assert_array_equal(found, fitted.predict_proba(**given))
    assert roc_auc(new.low_error, found[:, 1]) > 0.9


def test_a_rate_that_nobody_knows_is_outside_and_gets_the_base_rate(fitted):
    """Networks with learning_rate=1e-5, whose loss stays at 2.3 and whose spectra look like those of good ones."""
    new = of_rates(seed=1)
    strange = replace(new, losses=np.full_like(new.losses, 2.3), variants=new.variants.assign(learning_rate=1e-5))
    for k in range(1, 5):
        found = fitted.predict(observed(strange, k))
        np.testing.assert_allclose(found.chance, fitted.base_rate_)
        assert all(said.startswith("learning_rate=1e-05: known is 0.001") for said in found.outside)
    unnamed = replace(strange, hyperparameters=[])
    found = fitted.predict(observed(unnamed, 4))
    assert set(found.outside) == {"its learning curve is unlike all known ones"}
    np.testing.assert_allclose(found.chance, fitted.base_rate_)


def test_a_rare_class_is_overrepresented_in_the_fit_but_not_in_the_chances(monkeypatch):
    """1200 variants of which 1 % are low-error; 10 of the 200 that are learned from."""
    sweep = of_rates(1200)
    threshold = float(np.quantile(sweep.final_loss, 0.01))
    monkeypatch.setattr("aelle.predictor.early_predictor.MAX_VARIANTS", 200)
    rates = {"learning_rate": sweep.variants["learning_rate"].to_numpy()}
    fitted = EarlyPredictor(threshold).fit(sweep.losses, None, rates)
    assert fitted.base_rate_ == pytest.approx(0.01, abs=1e-3)
    new = of_rates(1200, seed=1)
    strange = fitted.predict_proba(None, None, {"learning_rate": [1e-9]}, 0)[0, 1]
    assert strange == pytest.approx(fitted.base_rate_)
    chance = fitted.predict_proba(None, None, {"learning_rate": new.variants["learning_rate"].to_numpy()}, 0)[:, 1]
    assert chance.mean() < 0.02


def test_hyperparameters_of_which_some_are_missing_may_still_lie_outside():
    sweep = of_rates()
    columns = {"learning_rate": sweep.variants["learning_rate"], "p": np.linspace(2, 3, 120)}
    fitted = EarlyPredictor(0.45).fit(sweep.losses, None, columns)
    given = so_far(None, None, {"learning_rate": [1e-5, 1e-2]}, 0, 5)
    found = fitted.predict(given)
    assert found.outside[0].startswith("learning_rate=1e-05: known is") and found.outside[1] == ""
    assert found.chance[0] == pytest.approx(fitted.base_rate_) and np.isnan(found.chance[1])
    with_losses = so_far(sweep.losses, None, {"learning_rate": np.full(120, 1e-5)}, 3, 5)
    assert all(fitted.predict(with_losses).outside)


def test_a_spectrum_unlike_all_is_outside_and_few_usual_ones_are(fitted):
    new = of_rates(seed=1)
    assert sum(map(bool, fitted.predict(observed(new, 2)).outside)) <= 4
    strange = replace(new, spectra=new.spectra + 3)
    assert fitted.predict(observed(strange, 2)).outside.count("its spectrum is unlike all known ones") > 110


def test_a_diverged_network_is_high_error(fitted):
    new = of_rates(seed=1)
    new.losses[:3, 2:], new.variants.loc[:2, "state"] = np.nan, "diverged"
    rates, losses = new.variants[["learning_rate"]], new.losses.copy()
    losses[:3, 2] = np.inf
    for found in (fitted.predict_proba(new, epoch=2), fitted.predict_proba(losses, None, rates, 2)):
        assert (found[:3, 1] < 1e-9).all() and (found[3:, 1] > 1e-9).all()
    new.losses[:, 2] = np.inf
    assert (fitted.predict_proba(new.losses, None, rates, 2)[:, 1] < 1e-9).all()


def test_a_network_that_has_not_come_so_far_has_no_chance(fitted):
    """Running or pruned after epoch 1; one has diverged then, and one has its spectrum, but no loss."""
    new, whole = of_rates(seed=1), of_rates(seed=1)
    new.losses[:6, 2:], new.spectra[:5, 2:] = np.nan, np.nan
    new.variants.loc[:5, ["state", "complete"]] = ["running", False]
    new.variants.loc[:1, "state"], new.variants.loc[2, "state"] = "pruned", "diverged"
    for k in range(2, 6):
        found, expected = fitted.predict(observed(new, k)), fitted.predict(observed(whole, k))
        assert np.isnan(found.log_odds[[0, 1, 3, 4]]).all() and found.chance[2] < 1e-9
        assert np.isfinite(found.log_odds[5]) and set(found.outside[:5]) == {""}
        np.testing.assert_allclose(found.log_odds[6:], expected.log_odds[6:], rtol=1e-9)
    np.testing.assert_allclose(fitted.predict_proba(new, epoch=1), fitted.predict_proba(whole, epoch=1), rtol=1e-9)
    assert np.isnan(fitted.predict_proba(new.take(np.arange(5)), epoch=2)).all()


def test_on_another_grid_the_final_loss_decides_and_divergence_counts(fitted):
    new = of_rates(seed=1)
    rates, losses = new.variants[["learning_rate"]], np.linspace(2.3, 0.1, 31) * np.ones((120, 1))
    losses[:7, 30], losses[7:9, 20:] = 0.9, np.inf
    chances = fitted.predict_proba(losses, None, rates, 30, epochs=30)[:, 1]
    np.testing.assert_allclose(chances, np.arange(120) >= 9, atol=1e-9)
    halfway = fitted.predict_proba(losses, None, rates, 20, epochs=30)[:, 1]
    expected = fitted.predict_proba(None, None, rates, 20, epochs=30)[:, 1]
    np.testing.assert_allclose(halfway, np.where(np.isinf(losses[:, 20]), 0, expected), atol=1e-9)
    longer = replace(new, losses=np.where(np.isinf(losses), np.nan, losses), spectra=np.full((120, 31, 8), np.nan))
    longer.variants.loc[7:8, "state"] = "diverged"
    np.testing.assert_array_equal(fitted.predict_proba(longer, epoch=20)[:, 1], halfway)


def test_losses_that_nobody_measured_are_no_divergence(fitted):
    """Nor is a gap in the losses of a variant that is complete."""
    new = of_rates(seed=1)
    rates = new.variants[["learning_rate"]]
    gap = new.losses.copy()
    gap[:, 2] = np.nan
    expected = fitted.predict_proba(None, new.spectra, rates, 2)
    np.testing.assert_array_equal(fitted.predict_proba(gap, new.spectra, rates, 2), expected)
    np.testing.assert_array_equal(fitted.predict_proba(replace(new, losses=gap), epoch=2), expected)
    new.losses[:3, 2] = np.nan
    np.testing.assert_allclose(fitted.predict_proba(new, epoch=2)[:3], expected[:3], rtol=1e-9)


def test_a_chance_does_not_depend_on_the_company(fitted):
    """Three networks whose loss was not measured then, and three that have diverged, one an epoch before."""
    new = of_rates(seed=1)
    losses, rates = new.losses.copy(), new.variants[["learning_rate"]]
    losses[:3, 2], losses[3:5, 2], losses[5, 1:3] = np.nan, [np.inf, -np.inf], [np.inf, np.nan]
    together = fitted.predict_proba(losses, new.spectra, rates, 2)[:, 1]
    alone = [fitted.predict_proba(losses[[v]], new.spectra[[v]], rates.iloc[[v]], 2)[0, 1] for v in range(8)]
    np.testing.assert_allclose(together[:8], alone, rtol=1e-9)
    unmeasured = fitted.predict_proba(None, new.spectra[:3], rates[:3], 2)[:, 1]
    np.testing.assert_allclose(together[:3], unmeasured, rtol=1e-9)
    assert (together[3:6] < 1e-9).all() and (together[6:] > 1e-9).all()


def test_an_ignorant_member_does_not_halve_the_certainty_of_one_that_knows():
    """Spectra say little, loss and p nearly all (in the mean of log odds, recall fell from 84 to 59 %)."""
    rng = np.random.default_rng(0)
    V, E = 300, 8
    p = rng.uniform(2, 3, V)
    sorted_ = -np.sort(-rng.gamma(1.5, 1.5, (V, 12)) * p[:, None] / 2.2, axis=1)
    spectra = sorted_[:, None] + 0.05 * rng.standard_normal((V, E + 1, 12))
    final, t = rng.lognormal(0, 0.25, V) * 0.2 * p**1.3, np.arange(E + 1) * 20 / E
    losses = 2.3 * np.exp(-t / 6) + final[:, None] * (1 - np.exp(-t / 4)) + 0.01 * rng.standard_normal((V, E + 1))
    known, new = np.arange(150), np.arange(150, 300)
    fitted = EarlyPredictor(0.6, aelle=QUICK).fit(losses[known], spectra[known], {"p": p[known]})
    low = losses[new, -1] < 0.6
    chances = [fitted.predict_proba(losses[new], given, {"p": p[new]}, 3)[:, 1] for given in (spectra[new], None)]
    recall = [(low & (chance > 0.5)).sum() / low.sum() for chance in chances]
    assert recall[0] > recall[1] - 0.05
    assert roc_auc(low, chances[0]) > roc_auc(low, chances[1]) - 0.02
    weights = fitted.weights().loc[3]
    seeing = weights[["AeLLE, loss head", "spectrum features, linear"]]
    assert seeing.sum() / weights.sum() < 0.8 * len(seeing) / len(weights)


def test_saved_and_loaded_it_says_the_same(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "aelle.json",
        "arrays.npz",
        "predictor.json",
        "predictor.npz",
    }
    again, new = EarlyPredictor.load(tmp_path / "model"), of_rates(seed=1)
    for k in range(6):
        one, other = (predictor.predict(observed(new, k)) for predictor in (fitted, again))
        np.testing.assert_array_equal(one.log_odds, other.log_odds)
        assert one.outside == other.outside
    assert again.cut(0.1, 1) == fitted.cut(0.1, 1) and again.learned_from_ == fitted.learned_from_
    pd.testing.assert_frame_equal(again.weights(), fitted.weights())


@pytest.mark.parametrize("name", ["aelle.json", "arrays.npz", "predictor.json", "predictor.npz"])
def test_files_that_do_not_belong_together_are_refused(fitted, tmp_path, name):
    fitted.save(tmp_path / "a")
    EarlyPredictor(0.45, aelle=QUICK, seed=1).fit(of_rates(seed=2)).save(tmp_path / "b")
    (tmp_path / "a" / name).write_bytes((tmp_path / "b" / name).read_bytes())
    with pytest.raises(ValueError, match="contains no complete predictor"):
        EarlyPredictor.load(tmp_path / "a")


def test_a_predictor_without_spectra_leaves_no_aelle_of_another(fitted, tmp_path):
    fitted.save(tmp_path)
    EarlyPredictor(0.45).fit(of_rates().losses).save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"predictor.json", "predictor.npz"}
    assert EarlyPredictor.load(tmp_path).model_ is None
    with pytest.raises(ValueError, match="contains no complete AeLLE model"):
        AeLLE.load(tmp_path)


def test_a_predictor_for_some_inputs_alone_can_neither_cut_nor_be_saved(tmp_path):
    sweep = of_rates()
    fitted = EarlyPredictor(0.45).fit_to(sweep, None, [0, 2], subsets=[("losses", "hyperparameters")])
    with pytest.raises(UserError, match=r"without the chances that cut needs: call fit, or fit_to without subsets$"):
        fitted.cut()
    with pytest.raises(UserError, match="without the chances that save needs"):
        fitted.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_folder_without_a_predictor_is_refused(fitted, tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        EarlyPredictor.load(tmp_path / "none")
    fitted.save(tmp_path / "model")
    with pytest.raises(ValueError, match="did you mean"):
        EarlyPredictor.load(tmp_path)
    path = tmp_path / "model" / "predictor.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(ValueError, match="its format is 99"):
        EarlyPredictor.load(tmp_path / "model")


def test_the_cut_loses_at_most_the_share_that_it_may_on_average(fitted):
    """Of chances that known and new variants draw alike; and the fit's own chances of variants left out are like those
    of new ones."""
    rng, lost = np.random.default_rng(0), []
    drawn = copy(fitted)
    for _ in range(2000):
        chances = rng.uniform(size=(40, 5)) ** 0.2
        drawn.low_chances_ = LowChances(np.arange(5), chances[:39], np.arange(39))
        lost.append(chances[39, 1:].min() < drawn.cut(0.1, 1))
    assert 0.075 < np.mean(lost) < 0.115
    assert fitted.cut(0.05, 1) <= fitted.cut(0.2, 1) and fitted.cut(0.1, 0) <= fitted.cut(0.1, 3)
    new = [of_rates(seed=seed) for seed in range(1, 6)]
    of_new = np.concatenate([fitted.predict_proba(sweep, epoch=2)[sweep.low_error, 1] for sweep in new])
    assert fitted.low_chances_.chances[:, 2].mean() == pytest.approx(of_new.mean(), abs=0.12)


def test_few_low_error_variants_promise_nothing(fitted):
    with pytest.raises(TooFewError, match=r"at most 0\.5 % are lost: at least 199 are needed"):
        fitted.cut(0.005)


def test_the_cut_of_repeated_draws_is_that_of_new_draws():
    """All variants of a draw have about the same chance; some draws have many, some one."""
    rng, lost = np.random.default_rng(0), []
    sizes = np.array([1, 2, 10, 20] * 10)
    draws = np.repeat(np.arange(40), sizes)
    for _ in range(2000):
        level = rng.uniform(size=41)
        chances = level[draws, None] + 0.01 * rng.standard_normal((len(draws), 3))
        new = level[40] + 0.01 * rng.standard_normal(3)
        lost.append(new.min() < LowChances(np.arange(3), chances, draws).cut(0.1, 0))
    assert 0.07 < np.mean(lost) < 0.115
    few = LowChances(np.arange(3), chances[draws < 18], draws[draws < 18])
    with pytest.raises(TooFewError, match="18 draws with low-error variants are too few to promise that at most 5 %"):
        few.cut(0.05, 0)


def repeated(seed: int, draws: int = 20, repeats: int = 10) -> SweepTable:
    """Draws whose final loss is their own affair: neither losses, spectra nor hyperparameters say it of a new one."""
    rng, of = np.random.default_rng(seed), np.repeat(np.arange(draws), repeats)
    V, share = len(of), np.linspace(0, 1, 5)
    rate, final = (
        10 ** rng.uniform(-3, -1, draws)[of],
        np.exp(rng.standard_normal(draws)[of] + 0.2 * rng.standard_normal(V)),
    )
    losses = 3 * (1 - share) + share * final[:, None] + 0.1 * rng.random((V, 5))
    losses[:, :-1] = 3 + rng.random((V, 4))
    losses[:, -1] = final
    spectra = np.sort(rng.standard_normal((V, 5, 6)))[..., ::-1].copy()
    return table_of(losses, spectra, {"rate": rate})


def test_variants_of_one_draw_say_nothing_of_new_draws():
    """The same hyperparameters, other seeds: their chances were those of the draw, which is known; now they are those
    of new draws."""
    sweep, new = repeated(1), repeated(2)
    fitted = EarlyPredictor(1.0, aelle=QUICK).fit(sweep.losses, sweep.spectra, sweep.variants[["rate"]])
    low = new.losses[:, -1] < 1
    chance = fitted.predict(observed(new, 0)).chance
    assert np.mean((chance - low) ** 2) < low.mean() * (1 - low.mean()) + 0.03
    promised = EarlyPredictor(1.0).fit(repeated(3, draws=60, repeats=5))
    cut, lost = promised.cut(0.05, 0), []
    for seed in range(4, 10):
        other = repeated(seed, draws=60, repeats=5)
        said = [promised.predict(observed(other, k)) for k in range(4)]
        stopped = np.any([(one.chance < cut) & (np.array(one.outside) == "") for one in said], axis=0)
        lost.append(stopped[other.final_loss < 1].mean())
    assert np.mean(lost) < 0.08


def test_a_new_draw_is_not_outside_for_the_repetitions_of_the_known_ones():
    """Twenty variants in one place are no measure of how far draws are apart."""
    rng = np.random.default_rng(0)
    places = rng.standard_normal((40, 3))
    known, groups = np.repeat(places, 10, axis=0) + 1e-3 * rng.standard_normal((400, 3)), np.repeat(np.arange(40), 10)
    new = rng.standard_normal((200, 3))
    grouped = neighbourhood(known, groups)
    assert grouped is not None and grouped.outside(new).mean() < 0.05
    assert neighbourhood(known).outside(new).mean() > 0.9
    assert neighbourhood(known[:12], groups[:12]) is None and neighbourhood(known[:13], np.arange(13) // 10) is not None


def test_spectra_that_are_all_equal_are_no_obstacle(tmp_path):
    sweep, new = of_rates(), of_rates(seed=1)
    fitted = EarlyPredictor(0.45, aelle=QUICK).fit(replace(sweep, spectra=np.full_like(sweep.spectra, -1.0)))
    assert fitted.model_ is None
    equal = replace(new, spectra=np.full_like(new.spectra, -1.0))
    assert roc_auc(new.low_error, fitted.predict_proba(equal, epoch=2)[:, 1]) > 0.8
    fitted.save(tmp_path)
    again = EarlyPredictor.load(tmp_path)
    np.testing.assert_array_equal(again.predict_proba(equal, epoch=2), fitted.predict_proba(equal, epoch=2))


@pytest.mark.parametrize("lacking", ["spectra", "hyperparameters", "both"])
def test_it_can_be_fitted_without(lacking):
    sweep = of_rates()
    spectra = None if lacking in ("spectra", "both") else sweep.spectra
    rates = None if lacking in ("hyperparameters", "both") else sweep.variants[["learning_rate"]]
    fitted, new = EarlyPredictor(0.45, aelle=QUICK).fit(sweep.losses, spectra, rates), of_rates(seed=1)
    assert roc_auc(new.low_error, fitted.predict_proba(new, epoch=4)[:, 1]) > 0.9
    assert fitted.predict(observed(new, 2)).outside.count("") > 110


def test_diverged_variants_are_learned_as_high_error():
    sweep = synthetic()
    fitted = EarlyPredictor(0.5, aelle=QUICK).fit(sweep)
    assert roc_auc(sweep.low_error, fitted.predict_proba(sweep, epoch=1)[:, 1]) > 0.9


def test_bad_inputs_are_named(fitted):
    new = of_rates(seed=1)
    with pytest.raises(NotFittedError, match="call fit first"):
        EarlyPredictor(0.5).predict_proba(new, epoch=0)
    with pytest.raises(ValueError, match="all None"):
        fitted.predict_proba(epoch=0)
    with pytest.raises(ValueError, match=r"epoch=9: give one from 0 \(before training\) to 5"):
        fitted.predict_proba(new.losses, epoch=9)
    with pytest.raises(ValueError, match=r"losses of shape \[120, 6\]|epochs 0 to 3"):
        fitted.predict_proba(new.losses[:, :2], epoch=3)
    with pytest.raises(ValueError, match="give the same networks"):
        fitted.predict_proba(new.losses, new.spectra[:5], epoch=1)
    with pytest.raises(ValueError, match="train more variants, or choose another threshold"):
        EarlyPredictor(1e9, aelle=QUICK).fit(new)
    with pytest.raises(ValueError, match="needs both classes"):
        EarlyPredictor(1e9, aelle=QUICK).fit(new.losses)
    with pytest.raises(ValueError, match="must be above 0"):
        EarlyPredictor(0.5, aelle=QUICK).fit(-new.losses, new.spectra)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": 1.5}, "seed=1.5: give a whole number of at least 0"),
        ({"seed": -1}, "seed=-1: give a whole number of at least 0"),
        ({"seed": "a"}, "seed=a: give a whole number"),
        ({"seed": None}, "seed=None: give a whole number"),
        ({"seed": True}, "seed=True: give a whole number"),
        (
            {"aelle": {"foo": 1}},
            r"aelle=\{'foo': 1\}: give None, or a mapping with some of AeLLE's alphas, batch_size, ",
        ),
        ({"aelle": {"threshold": 1.0}}, r"aelle=\{'threshold': 1.0\}: give None, or a mapping"),
        ({"aelle": {1: 1}}, r"aelle=\{1: 1\}: give None"),
        ({"aelle": 3}, "aelle=3: give None, or a mapping"),
        ({"aelle": "epochs"}, "aelle='epochs': give None, or a mapping"),
        ({"aelle": {"epochs": 0}}, "epochs=0: give a whole number of at least 1"),
    ],
)
def test_a_parameter_that_no_fit_could_use_is_one_line(options, words):
    """Also where there are no spectra, and nothing to do with it."""
    sweep = of_rates()
    predictor = EarlyPredictor(0.45)
    vars(predictor).update(options)
    for given in (sweep, sweep.losses):
        with pytest.raises(UserError, match=f"^{words}[^\n]*$"):
            predictor.fit(given)


def test_any_whole_number_from_0_on_is_a_seed():
    for seed in (0, 2**32 - 1, 2**40):
        assert EarlyPredictor(0.45, seed=seed).fit(of_rates().losses, None, {"p": np.arange(120)}).stacks_


@pytest.mark.parametrize("names", [["a", "a"], ["1", 1], ["a", "b", "a"]])
def test_hyperparameters_of_one_name_are_refused(fitted, names):
    frame = pd.DataFrame(np.random.default_rng(0).standard_normal((120, len(names))), columns=names)
    words = (
        rf"^hyperparameters: several are named {names[0]}; give a mapping or frame of names to values \[V\], [^\n]*$"
    )
    with pytest.raises(UserError, match=words):
        EarlyPredictor(0.45).fit(of_rates().losses, None, frame)
    with pytest.raises(UserError, match=words):
        fitted.predict_proba(of_rates().losses, None, frame, 1)


def test_a_table_is_given_alone(fitted):
    sweep = of_rates()
    for name, value in (("spectra", sweep.spectra), ("hyperparameters", {"p": np.ones(120)})):
        words = f"^a sweep's table and {name}: the table has its own; leave {name} out, or give arrays$"
        with pytest.raises(UserError, match=words):
            EarlyPredictor(0.45).fit(sweep, **{name: value})
        with pytest.raises(UserError, match=words):
            fitted.predict_proba(sweep, **{name: value}, epoch=1)
    with pytest.raises(UserError, match=r"^a sweep's table and epochs: "):
        fitted.predict_proba(sweep, epoch=1, epochs=5)


def test_where_nothing_is_known_before_the_end_nothing_can_be_learned():
    sweep = of_rates()
    only, spectra = np.full_like(sweep.losses, np.nan), np.full_like(sweep.spectra, np.nan)
    only[:, -1], spectra[:, -1] = sweep.losses[:, -1], sweep.spectra[:, -1]
    words = (
        "^too little is known before the last epoch to predict from: give losses or spectra of earlier epochs[^\n]*$"
    )
    for given in ({}, {"hyperparameters": {"p": np.ones(120)}}, {"spectra": spectra}):
        with pytest.raises(TooFewError, match=words):
            EarlyPredictor(0.45, aelle=QUICK).fit(only, **given)
    two = [int(np.flatnonzero(sweep.low_error)[0]), int(np.flatnonzero(~sweep.low_error)[0])]
    with pytest.raises(TooFewError, match=words):
        EarlyPredictor(0.45).fit(sweep.losses[two])
    for given in ({"hyperparameters": sweep.variants[["learning_rate"]]}, {"spectra": sweep.spectra}):
        fitted = EarlyPredictor(0.45, aelle=QUICK).fit(only, **given)
        chance = fitted.predict_proba(None, **{"spectra": None, **given}, epoch=2)[:, 1]
        assert roc_auc(sweep.low_error, chance) > 0.6 and len(fitted.weights())


@pytest.mark.parametrize("epoch", [6, 99, -1])
def test_an_epoch_that_there_is_not_is_named(fitted, epoch):
    new = of_rates(seed=1)
    for given in (new, new.losses):
        with pytest.raises(
            UserError, match=rf"epoch={epoch}: give one from 0 \(before training\) to 5, a whole number$"
        ):
            fitted.predict_proba(given, epoch=epoch)


@pytest.mark.parametrize("epoch", [2.0, True, None, "2"])
def test_an_epoch_is_a_whole_number(epoch):
    with pytest.raises(UserError, match=f"after={epoch}: give one from 0"):
        check_epoch("after", epoch, 5)
    check_epoch("after", np.int64(5), 5)


@pytest.mark.parametrize("may_lose", [0.0, 1.0, -1.0, 2.0, np.nan])
def test_a_share_that_is_none_is_named(fitted, may_lose):
    with pytest.raises(
        UserError, match=f"may_lose={may_lose}: give a share of the low-error variants, between 0 and 1"
    ):
        fitted.cut(may_lose)
    with pytest.raises(UserError, match="after=5: give one from 0"):
        fitted.cut(0.5, after=5)
    assert fitted.cut(1 - 1e-15) >= fitted.cut(0.9)


def test_what_is_no_array_is_named(fitted):
    with pytest.raises(UserError, match=r"hyperparameter learning_rate of shape \[\]: give \[V\], a value for each"):
        fitted.predict_proba(hyperparameters={"learning_rate": 0.01}, epoch=0)
    with pytest.raises(UserError, match="hyperparameters: All arrays must be of the same length; give a mapping"):
        EarlyPredictor(0.5).fit(of_rates().losses, None, {"p": [1, 2], "q": [1, 2, 3]})
    with pytest.raises(UserError, match="losses contains 'low': give an array of numbers"):
        fitted.predict_proba([["low"]], epoch=0)


def test_tensors_are_as_good_as_arrays(fitted):
    sweep = of_rates()
    rate = sweep.variants["learning_rate"].to_numpy()
    arrays = (sweep.losses, sweep.spectra, {"learning_rate": rate})
    tensors = [torch.tensor(array, requires_grad=True) for array in (sweep.losses, sweep.spectra, rate)]
    tensors[2] = {"learning_rate": tensors[2]}
    again = EarlyPredictor(0.45, aelle=QUICK).fit(*tensors)
    np.testing.assert_array_equal(again.predict_proba(*tensors, 2), fitted.predict_proba(*arrays, 2))


def test_rows_are_networks_whatever_the_index(fitted):
    new = of_rates(seed=1)
    rates = new.variants["learning_rate"].rename(lambda row: row + 7)
    found = fitted.predict_proba(new.losses, None, {"learning_rate": rates, "other": pd.Series(np.zeros(120))}, 2)
    np.testing.assert_array_equal(found, fitted.predict_proba(new.losses, None, new.variants[["learning_rate"]], 2))


def test_numbers_of_numpys_are_saved(tmp_path):
    fitted = EarlyPredictor(0.45, aelle={"epochs": np.int64(4)}).fit(of_rates().losses)
    fitted.seed = np.int64(2)  # pyright: ignore[reportAttributeAccessIssue]
    fitted.save(tmp_path)
    again = EarlyPredictor.load(tmp_path)
    assert (again.seed, again.aelle) == (2, {"epochs": 4}) and again.cut(0.2) == fitted.cut(0.2)


def test_nothing_known_gives_no_chance(fitted):
    assert np.isnan(fitted.predict(so_far(None, None, {"other": [1.0, 2.0]}, 2, 5)).log_odds).all()


def test_chances_are_calibrated(fitted):
    chances, low = [], []
    for seed in range(1, 9):
        new = of_rates(seed=seed)
        chances.append(expit(fitted.predict(observed(new, 2)).log_odds))
        low.append(new.low_error)
    chance, low = np.concatenate(chances), np.concatenate(low)
    order = np.array_split(np.argsort(chance), 8)
    assert np.mean([abs(chance[part].mean() - low[part].mean()) for part in order]) < 0.08


@pytest.mark.parametrize("holes", [[0], [1, 3]], ids=["before training", "every second epoch"])
def test_losses_that_were_not_measured_at_some_epochs(holes):
    """What is known of an epoch without a loss is said from spectra and hyperparameters, and nothing is taken from a
    later epoch."""
    known, new = of_rates(), of_rates(seed=1)
    for sweep in (known, new):
        sweep.losses[:, holes] = np.nan
    fitted = EarlyPredictor(0.45, aelle=QUICK).fit(known)
    for k in range(known.epochs):
        chance = fitted.predict_proba(new, epoch=k)[:, 1]
        assert np.isfinite(chance).all() and roc_auc(new.low_error, chance) > 0.7, k
    # Asked with a loss at an epoch at which it knows none.
    given = so_far(np.ones((5, 1)), None, None, 0, known.epochs)
    assert len(fitted.predict(given).log_odds) == 5


def test_a_fitted_cut_stops_few_of_the_low_error_variants():
    lost, low = 0, 0
    for seed in range(3):
        fitted = EarlyPredictor(0.45, aelle=QUICK, seed=seed).fit(of_rates(seed=seed))
        cut = fitted.cut(0.05)
        for other in range(10, 14):
            new = of_rates(seed=10 * seed + other)
            least = np.min([fitted.predict_proba(new, epoch=k)[:, 1] for k in range(new.epochs)], axis=0)
            lost, low = lost + int((least < cut)[new.low_error].sum()), low + int(new.low_error.sum())
    # Three cuts, each of some 50 low-error variants: a share of 5 % has a standard error of 2 % or so.
    assert low > 400 and lost / low < 0.1
