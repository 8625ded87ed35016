"""The pruner and the callback in objectives of one's own, with real Optuna studies and real trainings of a moment."""

import inspect
import sys
import threading
import warnings
from importlib import import_module

import numpy as np
import optuna
import pytest
import pytorch_lightning as pl
import torch
from optuna.trial import TrialState
from pytorch_lightning.callbacks import ModelCheckpoint
from scipy.special import logit

from aelle.errors import UserError
from aelle.integrations.optuna import AeLLEPruner
from aelle.model.estimator import AeLLE
from aelle.predictor.early_predictor import EarlyPredictor
from aelle.predictor.prediction import Prediction
from aelle.tasks.initialization import Initialization
from aelle.tasks.population import Population
from aelle.training.lyapunov_callback import LyapunovCallback
from aelle.training.prediction_callback import PredictionCallback
from sweeps import KilledError, synthetic
from trainings import Logged, trainer

KNOWN = synthetic()
LOSSES = [1.15, 0.83, 0.6]
TRAIN, VAL = torch.ones(2, 6, 2), torch.ones(1, 6, 2)

optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture(scope="module")
def early() -> EarlyPredictor:
    return EarlyPredictor(0.5, aelle={"epochs": 10}).fit(KNOWN.losses, KNOWN.spectra, {"p": KNOWN.variants["p"]})


class Told(EarlyPredictor):
    """Predicts the chances that it is given, by epoch; where it is given a word, the network is outside."""

    def __init__(self, fitted: EarlyPredictor, told: dict[int, float | str]):
        vars(self).update(vars(fitted))
        self.told = told

    def predict(self, given) -> Prediction:
        said = self.told.get(given.epoch, np.nan)
        outside = said if isinstance(said, str) else ""
        return Prediction(np.array([logit(0.01 if outside else said)]), [outside])


def measured(every=1) -> LyapunovCallback:
    return LyapunovCallback("rnn", torch.full((3, 6, 2), 0.5), every_n_epochs=every)


def objective(pruner: AeLLEPruner, losses=LOSSES, epochs: int = 3, callbacks=(), start=None, **options):
    """Optuna's: trains a network that logs these losses."""

    def run(trial) -> float:
        trial.suggest_float("p", 0.1, 0.9)
        module = Logged(losses)
        own = [pruner.lyapunov_callback, pruner.callback(trial, "loss", **options), *callbacks]
        made = pl.Trainer(
            accelerator="cpu", callbacks=own, max_epochs=epochs, logger=False, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=bool(callbacks),
        )  # fmt: skip
        made.fit(module, TRAIN, VAL, ckpt_path=start, weights_only=None if start is None else True)
        return made.callback_metrics["loss"].item()

    return run


def study_of(pruner, **options) -> optuna.Study:
    return optuna.create_study(pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0), **options)


@pytest.mark.parametrize(
    ("told", "after", "last"),
    [
        ({0: 0.9, 1: 0.5, 2: 0.09}, 1, 2),
        ({0: 0.9, 1: 0.09, 2: 0.5}, 1, 1),
        ({0: 0.9, 1: 0.11, 2: 0.11}, 1, None),
        ({0: 0.01, 1: 0.5, 2: 0.5}, 1, None),
        ({0: 0.01, 1: 0.5, 2: 0.5}, 0, 0),
        ({0: 0.01, 1: 0.01, 2: 0.5}, 2, None),
        ({0: 0.01, 1: 0.01, 2: 0.05}, 2, 2),
        ({0: 0.9, 1: 0.9, 2: 0.9, 3: 0.01}, 1, None),
        ({0: 0.9, 1: "p=7", 2: "p=7"}, 0, None),
        ({0: 0.9, 1: "p=7", 2: 0.05}, 0, 2),
    ],
)
def test_a_trial_is_pruned_where_its_chance_is_below_the_cut(early, tmp_path, told, after, last):
    """After that epoch, whose checkpoint is written, and neither before `after` nor after the last."""
    pruner = AeLLEPruner(Told(early, told), measured(), below=0.1, after=after)
    study = study_of(pruner)
    study.optimize(objective(pruner, callbacks=[ModelCheckpoint(tmp_path, save_last=True)]), n_trials=1)
    (trial,) = study.trials
    assert trial.state == (TrialState.COMPLETE if last is None else TrialState.PRUNED)
    reached = 3 if last is None else last
    assert trial.intermediate_values == {e: pytest.approx(LOSSES[e]) for e in range(reached)}
    if reached:
        assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == reached - 1
    expected = {str(e): pytest.approx(0.01 if told[e] == "p=7" else told[e]) for e in range(min(reached, 2) + 1)}
    assert trial.user_attrs["aelle:chance by epoch"] == expected
    assert trial.user_attrs["aelle:chance"] == expected[str(min(reached, 2))]
    assert trial.user_attrs["aelle:outside"] == (said if isinstance(said := told[min(reached, 2)], str) else "")
    spectrum = pruner.lyapunov_callback.spectra[reached]
    assert trial.user_attrs["aelle:largest exponent"] == float(spectrum.exponents.max())
    assert trial.user_attrs["aelle:Kaplan-Yorke dimension"] == float(spectrum.kaplan_yorke_dimension)


def test_chances_are_those_of_prediction_callback_and_the_cut_is_the_predictors(early, tmp_path):
    """Also read from a file by another process, which has only the study."""
    pruner = AeLLEPruner(early, measured())
    assert pruner.below == early.cut(0.05, after=1)
    assert AeLLEPruner(early, measured(), may_lose=0.2, after=2).below == early.cut(0.2, after=2)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study_of(pruner, storage=url, study_name="s").optimize(objective(pruner), n_trials=2)
    study = optuna.load_study(storage=url, study_name="s", pruner=pruner)
    for trial in study.trials:
        prediction = PredictionCallback(early, lyapunov := measured(), trial.params, "loss")
        trainer([lyapunov, prediction], max_epochs=3).fit(Logged(LOSSES), TRAIN, VAL)
        kept = {int(epoch): chance for epoch, chance in trial.user_attrs["aelle:chance by epoch"].items()}
        assert kept == {epoch: chance for epoch, chance in prediction.chances.items() if epoch in kept}
        pruned = kept[max(kept)] < pruner.below and not trial.user_attrs["aelle:outside"]
        assert (trial.state == TrialState.PRUNED) == pruned == pruner.prune(study, trial)
    assert not pruner.prune(study, optuna.create_trial(value=1.0)), "nothing is known of it"


@pytest.mark.parametrize("inherits", [False, True])
def test_a_killed_trial_goes_on_as_another_that_has_all_of_its_epochs(early, tmp_path, inherits):
    """Nothing is reported twice, of which Optuna warns, where the new trial begins with the old one's values."""

    class Killed(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 2:
                raise KilledError

    pruner = AeLLEPruner(Told(early, {0: 0.9, 1: 0.8, 2: 0.7}), measured(), below=0.1)
    keeping = ModelCheckpoint(tmp_path, save_last=True)
    whole = study_of(pruner)
    whole.optimize(objective(pruner), n_trials=1)
    study = study_of(pruner)
    with pytest.raises(KilledError):
        study.optimize(objective(pruner, callbacks=[keeping, Killed()]), n_trials=1)
    values = study.trials[0].intermediate_values if inherits else {}
    retried = optuna.create_trial(
        state=TrialState.WAITING, intermediate_values=values, system_attrs={"fixed_params": study.trials[0].params}
    )
    study.add_trial(retried)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*already reported.*")
        study.optimize(objective(pruner, start=tmp_path / "last.ckpt"), n_trials=1)
    for trial in study.trials[1:]:
        assert trial.intermediate_values == whole.trials[0].intermediate_values
        assert trial.user_attrs == whole.trials[0].user_attrs and trial.value == whole.trials[0].value


def test_a_resumed_trial_is_pruned_by_what_its_checkpoint_says(early, tmp_path):
    told = Told(early, {0: 0.9, 1: 0.5, 2: 0.5})
    high, low = (AeLLEPruner(told, measured(), below=below) for below in (0.1, 0.6))
    study_of(high).optimize(objective(high, epochs=3, callbacks=[ModelCheckpoint(tmp_path, save_top_k=-1)]), 1)
    study = study_of(low)
    study.optimize(objective(low, start=next(tmp_path.glob("epoch=1*"))), 1)
    assert study.trials[0].state == TrialState.PRUNED
    assert study.trials[0].intermediate_values == {0: pytest.approx(1.15), 1: pytest.approx(0.83)}


def test_a_network_that_has_diverged_is_pruned(early):
    pruner = AeLLEPruner(early, measured(), below=1e-9)
    study = study_of(pruner)
    study.optimize(objective(pruner, losses=[1.15, float("inf"), 0.6]), 1)
    assert study.trials[0].state == TrialState.PRUNED
    assert study.trials[0].intermediate_values == {0: pytest.approx(1.15), 1: float("inf")}
    assert study.trials[0].user_attrs["aelle:chance"] == 0


class Slow(Logged):
    """Trains until another thread has had its turn."""

    def __init__(self, turn: threading.Event):
        super().__init__(LOSSES)
        self.turn = [turn]

    def on_train_start(self):
        assert self.turn[0].wait(60)


def test_threads_that_share_a_callback_are_refused_and_the_others_train_on(early):
    pruner, refused, said = AeLLEPruner(early, measured(), below=1e-9), threading.Event(), []

    def run(trial) -> float:
        trial.suggest_float("p", 0.1, 0.9)
        try:
            trainer([pruner.lyapunov_callback, pruner.callback(trial, "loss")], max_epochs=3).fit(
                Slow(refused), TRAIN, VAL
            )
        except UserError as error:
            said.append(str(error))
            refused.set()
            raise
        return 0.0

    study = study_of(pruner)
    study.optimize(run, n_trials=2, n_jobs=2)
    (line,) = said
    assert line.startswith("LyapunovCallback of 'rnn' is in use by another training") and line.endswith("n_jobs")
    assert sorted(trial.state for trial in study.trials) == [TrialState.COMPLETE, TrialState.FAIL]
    assert set(pruner.lyapunov_callback.spectra) == {0, 1, 2, 3}


def test_threads_with_a_callback_each_have_the_chances_of_trials_one_by_one(early):
    pruner, both = AeLLEPruner(early, measured(), below=1e-9), threading.Barrier(2)

    def run(trial, lyapunov=None) -> float:
        module = Logged(LOSSES)
        p = trial.suggest_float("p", 0.1, 0.9)
        with torch.no_grad():
            for weights in module.parameters():
                weights.copy_(torch.linspace(-p, p, weights.numel()).reshape(weights.shape))
        own = lyapunov or pruner.lyapunov_callback
        trainer([own, pruner.callback(trial, "loss", lyapunov_callback=lyapunov)], max_epochs=3).fit(module, TRAIN, VAL)
        return p

    def in_threads(trial) -> float:
        both.wait(60)
        return run(trial, measured())

    study, alone = study_of(pruner), study_of(pruner)
    study.optimize(in_threads, n_trials=4, n_jobs=2)
    for trial in study.trials:
        alone.enqueue_trial(trial.params)
    alone.optimize(run, n_trials=4)
    assert [t.user_attrs for t in study.trials] == [t.user_attrs for t in alone.trials]
    assert len({t.user_attrs["aelle:largest exponent"] for t in study.trials}) == 4


@pytest.mark.parametrize("storage", ["memory", "file"])
def test_processes_that_are_spawned_are_refused_before_they_start(early, tmp_path, storage):
    url = f"sqlite:///{tmp_path / 's.db'}" if storage == "file" else None
    pruner = AeLLEPruner(early, measured(), below=0.1)
    study = study_of(pruner, storage=url)

    def run(trial):
        callbacks = [pruner.lyapunov_callback, pruner.callback(trial, "loss")]
        trainer(callbacks, max_epochs=1, strategy="ddp_spawn", devices=2).fit(Logged(LOSSES), TRAIN, VAL)

    with pytest.raises(UserError, match=r"strategy=ddp_spawn.*: give Trainer\(devices=1\)"):
        study.optimize(run, 1)


@pytest.mark.parametrize(
    ("strategy", "devices", "words"),
    [("ddp", 2, "DDPStrategy trains in 2 processes"), ("ddp_fork", 1, "DDPStrategy trains in another process")],
)
def test_trials_in_several_processes_are_refused(early, strategy, devices, words):
    made = trainer(max_epochs=1, strategy=strategy, devices=devices)
    callback = AeLLEPruner(early, measured(), below=0.1).callback(optuna.trial.FixedTrial({}))
    with pytest.raises(UserError, match=rf"^{words}, and a trial lives in the one that made it: give Trainer\(dev"):
        callback.setup(made, Logged(LOSSES), "fit")


def test_a_distributed_trial_is_refused_by_name(early):
    class TorchDistributedTrial(optuna.trial.BaseTrial):
        __abstractmethods__ = frozenset()

    TorchDistributedTrial.__abstractmethods__ = frozenset()
    with pytest.raises(UserError, match=r"trial is of type TorchDistributedTrial: give Trial or .* are not served$"):
        AeLLEPruner(early, measured(), below=0.1).callback(TorchDistributedTrial())


def test_a_trial_outside_of_a_study_is_trained_to_its_end(early):
    told = Told(early, {0: 0.9, 1: 0.05, 2: 0.05})
    pruner, fixed = AeLLEPruner(told, measured(), below=0.1), optuna.trial.FixedTrial({"p": 0.4})
    assert objective(pruner)(fixed) == pytest.approx(0.6)
    assert set(fixed.user_attrs["aelle:chance by epoch"]) == {"0", "1", "2"}
    study = study_of(pruner)
    study.optimize(objective(pruner), 1)
    frozen = optuna.create_trial(value=1.0, params=fixed.params, distributions=study.trials[0].distributions)
    assert study.trials[0].state == TrialState.PRUNED and objective(pruner)(frozen) == pytest.approx(0.6)


def test_other_pruners_around_it_and_in_its_place(early):
    told = Told(early, dict.fromkeys(range(6), 0.01))
    pruner = AeLLEPruner(told, measured(), below=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        patient = study_of(optuna.pruners.PatientPruner(pruner, patience=1))
    patient.optimize(objective(pruner, losses=[1.0, 0.9, 0.95, 0.96, 0.97, 0.98], epochs=6), 1)
    assert max(patient.trials[0].intermediate_values) == 3, "two epochs without a better loss, and a low chance"
    with pytest.warns(UserWarning, match="the study's pruner is ThresholdPruner, which does not know chances"):
        other = study_of(optuna.pruners.ThresholdPruner(upper=1.0))
        other.optimize(objective(pruner, losses=[0.9, 1.1, 0.6]), 1)
    assert max(other.trials[0].intermediate_values) == 1


@pytest.mark.parametrize(("direction", "words"), [("maximize", "maximises"), (None, "has 2 objectives")])
def test_studies_of_other_aims_are_refused(early, direction, words):
    aims = {"direction": direction} if direction else {"directions": ["minimize", "minimize"]}
    pruner = AeLLEPruner(early, measured(), below=0.1)
    study = study_of(pruner, **aims)
    with pytest.raises(UserError, match=f"^the study {words}"):
        study.optimize(objective(pruner), 1)
    with pytest.raises(UserError, match=f"^the study {words}"):
        pruner.prune(study, optuna.create_trial(value=1.0))


def test_a_misspelt_monitor_is_said_with_what_was_logged(early):
    pruner = AeLLEPruner(early, measured(), below=0.1)

    def run(trial, **options):
        callbacks = [pruner.lyapunov_callback, pruner.callback(trial, "los", {"p": 0.4})]
        made = pl.Trainer(
            accelerator="cpu", callbacks=callbacks, max_epochs=3, logger=False, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, **options,
        )  # fmt: skip
        made.fit(Logged(LOSSES), TRAIN, VAL)

    line = r"^monitor='los' was not logged in epoch {}, or only after its callbacks; logged is loss, lyapunov/chance, "
    with pytest.raises(UserError, match=line.format(1)):
        study_of(pruner).optimize(run, 1)
    with pytest.raises(UserError, match=line.format(2)):
        study_of(pruner).optimize(lambda trial: run(trial, check_val_every_n_epoch=2), 1)
    with pytest.raises(UserError, match=r"logged is lyapunov/chance, lyapunov/maximum"):
        study_of(pruner).optimize(lambda trial: run(trial, limit_val_batches=0), 1)


def test_epochs_without_a_validation_report_nothing_and_are_judged_by_what_there_is(early):
    """Here by hyperparameters: spectra are measured before training only, and after the last epoch."""
    pruner = AeLLEPruner(early, measured(every=[0]), below=1e-9)
    study = study_of(pruner)

    def run(trial):
        callbacks = [pruner.lyapunov_callback, pruner.callback(trial, "loss", {"p": 0.4})]
        made = trainer(callbacks, max_epochs=3, check_val_every_n_epoch=2)
        made.fit(Logged(LOSSES), TRAIN, VAL)
        return 1.0

    study.optimize(run, 1)
    assert study.trials[0].intermediate_values == {1: pytest.approx(0.83)}
    expected = early.predict_proba(None, None, {"p": [0.4]}, 1)[0, 1]
    assert study.trials[0].user_attrs["aelle:chance by epoch"]["1"] == pytest.approx(expected)
    assert set(study.trials[0].user_attrs["aelle:chance by epoch"]) == {"0", "1", "2"}


def test_hyperparameters_of_other_names_are_refused_or_given(early):
    cut = AeLLEPruner(early, measured())

    def run(trial, **options):
        trial.suggest_float("rate", 0.1, 0.9)
        callbacks = [cut.lyapunov_callback, cut.callback(trial, "loss", **options)]
        trainer(callbacks, max_epochs=options.pop("epochs", 3)).fit(Logged(LOSSES), TRAIN, VAL)
        return 1.0

    with pytest.raises(UserError, match=r"^hyperparameters contain rate and no p: the predictor knows p; rename"):
        study_of(cut).optimize(run, 1)
    study = study_of(cut)
    study.optimize(lambda trial: run(trial, hyperparameters={"p": 0.4}), 1)
    assert study.trials[0].user_attrs["aelle:chance by epoch"]
    with pytest.raises(UserError, match=r"^hyperparameters contain q and no p"):
        cut.callback(optuna.trial.FixedTrial({}), hyperparameters={"q": 0.4})


def test_the_predictors_cut_is_refused_for_trials_unlike_the_known(early):
    for pruner, words in ((AeLLEPruner(early, measured()), True), (AeLLEPruner(early, measured(), below=1e-9), False)):
        for epochs, given, why in ((2, {"p": 0.4}, "3-epoch runs; this trial has 2"), (3, {}, "p, which this trial")):
            run = objective(pruner, epochs=epochs, hyperparameters=given)
            if words:
                with pytest.raises(UserError, match=rf"^below=None: .*{why}.*promised then: give AeLLEPruner a chance"):
                    study_of(pruner).optimize(run, 1)
            else:
                study_of(pruner).optimize(run, 1)


def test_a_hyperparameter_that_some_known_trainings_lacked_may_be_missing():
    """As in a search space with conditions."""
    p = KNOWN.variants["p"].to_numpy()
    rate = np.where(np.arange(len(p)) % 2 == 0, p, np.nan)
    kind = np.array(["a", None], dtype=object)[np.arange(len(p)) % 2]
    known = EarlyPredictor(0.5).fit(KNOWN.losses, None, {"p": p, "rate": rate, "kind": kind})
    pruner = AeLLEPruner(known, measured())
    study = study_of(pruner)
    study.optimize(objective(pruner), 1)
    trial = study.trials[0]
    expected = known.predict_proba(None, None, {"p": [trial.params["p"]], "rate": [None], "kind": [None]}, 0)[0, 1]
    assert trial.user_attrs["aelle:chance by epoch"]["0"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"below": 0}, r"^below=0: give a chance between 0 and 1, or None"),
        ({"below": 1.5}, r"^below=1.5: give a chance"),
        ({"below": "0.1"}, r"^below='0.1': give a chance"),
        ({"may_lose": 0.0}, r"^below=None: may_lose=0.0: give a share"),
        ({"may_lose": 0.001}, r"^below=None: .* are too few to promise"),
        ({"after": -1}, r"^after=-1: give a whole number"),
        ({"after": 3}, r"^below=None: after=3: give one from 0"),
        ({"lyapunov_callback": "rnn"}, r"^lyapunov_callback is of type str: give LyapunovCallback"),
        ({"predictor": "model"}, r"^predictor is of type str: give EarlyPredictor or AeLLE; fit or load one"),
        ({"predictor": EarlyPredictor(0.5)}, "not fitted"),
        ({"predictor": AeLLE(0.5)}, "not fitted"),
    ],
)
def test_wrong_options_are_said_in_one_line(early, options, words):
    """Types are checked at run time here, but not where people use it."""
    given = {"predictor": early, "lyapunov_callback": measured(), **options}
    with pytest.raises(ValueError, match=words):
        inspect.unwrap(AeLLEPruner.__init__)(object.__new__(AeLLEPruner), **given)


def test_an_aelle_prunes_below_a_given_chance_only(early):
    with pytest.raises(UserError, match=r"^below=None: an AeLLE has no cut of its own; give a chance"):
        AeLLEPruner(early.model_, measured())
    pruner = AeLLEPruner(early.model_, measured(), below=1 - 1e-9)
    study = study_of(pruner)
    study.optimize(objective(pruner), 1)
    assert max(study.trials[0].intermediate_values) == 0 and study.trials[0].state == TrialState.PRUNED


def test_a_callback_before_its_spectra_is_refused(early):
    pruner = AeLLEPruner(early, measured(), below=0.1)
    callback = pruner.callback(optuna.trial.FixedTrial({}), "loss")
    with pytest.raises(UserError, match=r"^AeLLEPruningCallback among the trainer's callbacks: its LyapunovCallback"):
        trainer([callback, pruner.lyapunov_callback]).fit(Logged(LOSSES), TRAIN, VAL)


def test_a_population_is_no_trial(early):
    module = Logged(LOSSES)
    module.rnn = Population("rnn", 2, 5, 1, [Initialization(p=0.5)] * 3, range(3))
    pruner = AeLLEPruner(early, measured(), below=0.1)
    callback = pruner.callback(optuna.trial.FixedTrial({}), "loss", {"p": 0.4})
    with pytest.raises(UserError, match=r"^'rnn' is a population of 3: give each network a trial of its own$"):
        trainer([pruner.lyapunov_callback, callback]).fit(module, TRAIN, VAL)


def test_without_optuna_there_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "aelle.integrations.optuna")
    with pytest.raises(
        UserError, match=r"^aelle.integrations.optuna needs Optuna, which is not installed: run pip inst"
    ):
        import_module("aelle.integrations.optuna")
