"""A search space in Optuna's terms: suggestions are of the space, and a trial's variant is always the same."""

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.stats import ks_2samp

from aelle.distributions import parse
from aelle.errors import UserError
from aelle.hyperparameters import check_value, not_read
from aelle.search.options import quiet
from aelle.search.space import check_searched, distribution_of, suggested
from aelle.variants import draw

SPACE = {
    "cell": ["lstm", "gru", None],
    "hidden_size": "integers(8, 24, step=8)",
    "layers": 1,
    "p": "uniform(0.25, 0.9, step=0.2)",
    "optimizer": "choice(sgd, adam)",
    "learning_rate": {"optimizer": {"sgd": "log_uniform(1e-2, 1)", "adam": [0.001, 0.01]}},
    "momentum": "uniform(0.5, 0.9)",
    "dropout": None,
    "gain": "log_normal(0, 0.5)",
    "batch_size": "log_uniform(10, 100, step=10)",
}


@pytest.fixture
def study():
    with quiet():
        sampler = optuna.samplers.TPESampler(seed=0, n_startup_trials=5, multivariate=True, group=True)
    return optuna.create_study(sampler=sampler)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ([32, 64, 64], CategoricalDistribution([32, 64])),
        (["lstm", None], CategoricalDistribution(["lstm", None])),
        ("choice(a, 2)", CategoricalDistribution(["a", 2])),
        ("uniform(1, 3)", FloatDistribution(1, 3)),
        ("uniform(0, 1, step=0.25)", FloatDistribution(0, 1, step=0.25)),
        ("log_uniform(1e-4, 1)", FloatDistribution(1e-4, 1, log=True)),
        ("integers(2, 8, step=3)", IntDistribution(2, 8, step=3)),
        ("uniform(0.25, 0.9, step=0.2)", FloatDistribution(0.25, 0.85, step=0.2)),
        ("integers(2, 9, step=3)", IntDistribution(2, 8, step=3)),
        ("normal(1, 0.5)", FloatDistribution(-0.5, 2.5)),
        ("log_normal(0, 1)", FloatDistribution(np.exp(-3), np.exp(3), log=True)),
    ],
)
def test_each_distribution_has_its_counterpart(spec, expected):
    assert distribution_of(parse("x", spec) if isinstance(spec, str) else spec) == expected


def test_every_suggestion_is_a_variant_of_the_space(study):
    for _ in range(60):
        trial = study.ask()
        variant = suggested(trial, SPACE, seed=3)
        values = variant.hyperparameters
        assert list(values) == list(SPACE) and variant.number == trial.number
        assert variant.seeds == draw(SPACE, 3, trial.number).seeds
        for name, value in values.items():
            if not not_read(value):
                check_value(name, value)
        assert values["cell"] in ("lstm", "gru") and values["hidden_size"] in (8, 16, 24)
        assert values["batch_size"] in range(10, 101, 10) and isinstance(values["batch_size"], int)
        assert values["p"] in (0.25, 0.45, 0.65, 0.85) and trial.params["p"] == pytest.approx(values["p"])
        assert not_read(values["momentum"]) == (values["optimizer"] == "adam")
        if values["optimizer"] == "adam":
            assert values["learning_rate"] in (0.001, 0.01)
        else:
            assert 0.01 <= values["learning_rate"] <= 1
        study.tell(trial, values["p"])
    keys = {key for trial in study.trials for key in trial.params}
    assert {"learning_rate.sgd", "learning_rate.adam"} <= keys and not keys & {"layers", "dropout", "learning_rate"}


def test_a_trial_that_was_left_half_suggested_keeps_what_it_has(study):
    trial = study.ask()
    cell = trial.suggest_categorical("cell", ["lstm", "gru", None])
    again = optuna.trial.Trial(study, trial._trial_id)
    first = suggested(again, SPACE, 0)
    assert first.hyperparameters["cell"] == (cell or "lstm")
    assert repr(suggested(optuna.trial.Trial(study, trial._trial_id), SPACE, 0)) == repr(first)
    assert repr(suggested(study.get_trials()[0], SPACE, 0)) == repr(first)


def test_what_a_user_has_enqueued_comes_first(study):
    study.enqueue_trial({"cell": "gru", "gain": 1.25})
    values = suggested(study.ask(), SPACE, 0).hyperparameters
    assert values["cell"] == "gru" and values["gain"] == 1.25


def test_random_suggestions_are_distributed_as_draws_are():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    space = {"learning_rate": "log_uniform(1e-4, 1e-1)", "p": "uniform(1, 2)"}
    found = [suggested(study.ask(), space, 0).hyperparameters for _ in range(200)]
    drawn = [draw(space, 0, n).hyperparameters for n in range(200)]
    for name in space:
        assert ks_2samp([one[name] for one in found], [one[name] for one in drawn]).pvalue > 1e-3
    assert ks_2samp([one["p"] for one in found], [one["p"] ** 2 for one in drawn]).pvalue < 1e-3


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"p": 2.0, "cell": "lstm"}, "nothing to search"),
        ({"learning_rate": "normal(0.1, 0.2)"}, "three|3 standard deviations"),
        ({"learning_rate": {"cell": {"lstm": "normal(0, 1)"}}, "cell": ["lstm", "gru"]}, "standard deviations"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(space, said):
    with pytest.raises(UserError, match=said):
        check_searched(space)
