"""The callback that predicts, in a LightningModule that has nothing of ours in it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from aelle.errors import UserError
from aelle.model.chances import fit_to_all
from aelle.model.estimator import AeLLE
from aelle.predictor.early_predictor import EarlyPredictor
from aelle.predictor.observed import so_far
from aelle.tasks.initialization import Initialization
from aelle.tasks.population import Population
from aelle.training.lyapunov_callback import LyapunovCallback
from aelle.training.prediction_callback import PredictionCallback
from sweeps import synthetic
from trainings import Logged, trainer


@pytest.mark.parametrize("committee", [True, False])
def test_any_module_with_a_recurrent_network_is_told_its_chance(committee):
    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.rnn = torch.nn.GRU(2, 5)

        def training_step(self, batch, _):
            return self.rnn(batch)[0].square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    fitted = fit_to_all(synthetic(), AeLLE(0.5, epochs=10, committee=committee))
    lyapunov = LyapunovCallback("rnn", torch.randn(3, 6, 2), every_n_epochs=2)
    prediction = PredictionCallback(fitted, lyapunov)
    trainer([lyapunov, prediction], max_epochs=3).fit(Module(), torch.randn(2, 6, 2))
    spectra = np.stack([lyapunov.spectra[e].resample(8).numpy() for e in (0, 2, 3)])
    table = synthetic(V=1, E=3)
    table.spectra[0, 1], table.spectra[0, [0, 2, 3]] = np.nan, spectra
    table = replace(table, exponents=np.array([5]))
    for epoch in (0, 2, 3):
        expected = fitted.predict_proba(table.seen(epoch))[:, 1]
        np.testing.assert_allclose(prediction.chances[epoch], expected, rtol=1e-9)


@pytest.mark.parametrize("metrics", [torch.nn.ModuleDict(), [], {"chance": 1}])
def test_a_training_of_ones_own_goes_on_from_its_checkpoint(tmp_path, metrics):
    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.rnn, self.metrics = torch.nn.GRU(2, 5), metrics

        def training_step(self, batch, _):
            return self.rnn(batch)[0].square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=1.0)

    fitted = fit_to_all(synthetic(), AeLLE(0.5, epochs=10))
    other = fit_to_all(synthetic(seed=1), AeLLE(0.5, epochs=10))
    probe, batches = torch.randn(3, 6, 2), torch.randn(2, 6, 2)

    def fit(epochs: int, start: Path | None = None) -> tuple[pl.Trainer, PredictionCallback]:
        lyapunov = LyapunovCallback("rnn", probe)
        callbacks = [lyapunov, PredictionCallback(fitted, lyapunov), PredictionCallback(other, lyapunov)]
        made = trainer(callbacks, max_epochs=epochs)
        made.fit(Module(), torch.utils.data.DataLoader(batches, batch_size=1), ckpt_path=start, weights_only=True)
        return made, callbacks[1]

    whole = fit(4)[1]
    stopped, before = fit(2)
    stopped.save_checkpoint(tmp_path / "x.ckpt")
    resumed = fit(4, tmp_path / "x.ckpt")[1]
    assert resumed.chances == {**before.chances, 3: whole.chances[3], 4: whole.chances[4]}
    assert len(metrics) == ("chance" in metrics)


KNOWN = synthetic()
LOSSES = [1.5, 1.15, 0.83, 0.6]


@pytest.fixture(scope="module")
def early() -> EarlyPredictor:
    """Knows losses before training, too."""
    return EarlyPredictor(0.5, aelle={"epochs": 10}).fit(KNOWN.losses, KNOWN.spectra, {"p": KNOWN.variants["p"]})


def fit(predictor, epochs: int = 3, start: Path | None = None, **options) -> tuple[pl.Trainer, PredictionCallback]:
    lyapunov = LyapunovCallback("rnn", torch.full((3, 6, 2), 0.5), every_n_epochs=options.pop("every", 1))
    prediction = PredictionCallback(predictor, lyapunov, **options)
    made = trainer([lyapunov, prediction], max_epochs=epochs)
    made.fit(Logged(LOSSES[1:]), torch.ones(2, 6, 2), torch.ones(1, 6, 2), ckpt_path=start, weights_only=True)
    return made, prediction


def test_losses_that_the_module_logs_and_its_hyperparameters_are_used(early):
    """The loss before training is unknown; at epochs without a spectrum, losses and hyperparameters predict."""
    prediction = fit(early, every=[0, 2], hyperparameters={"p": 0.4}, monitor="loss")[1]
    assert set(prediction.chances) == {0, 1, 2, 3} and prediction.outside[1] == ""
    losses = np.array([[np.nan, *LOSSES[1:]]], dtype=np.float32)
    assert prediction.chances[1] == early.predict(so_far(losses, None, {"p": [0.4]}, 1, 3)).chance
    typical = losses.astype(float)
    typical[0, 0] = np.median(KNOWN.losses[:, 0])
    assert prediction.chances[1] == early.predict(so_far(typical, None, {"p": [0.4]}, 1, 3)).chance
    assert prediction.chances[3] < 1e-9
    assert all(isinstance(chance, float) for chance in prediction.chances.values())


def test_a_measured_loss_that_is_not_a_number_is_divergence(early):
    """Also of a single network, of which the others cannot say that the loss was measured."""
    lyapunov = LyapunovCallback("rnn", torch.full((3, 6, 2), 0.5))
    prediction = PredictionCallback(early, lyapunov, {"p": 0.4}, monitor="loss")
    logged = Logged([LOSSES[1], np.nan, np.nan])
    trainer([lyapunov, prediction], max_epochs=3).fit(logged, torch.ones(2, 6, 2), torch.ones(1, 6, 2))
    assert np.isfinite(prediction.chances[1]) and np.isnan(prediction.chances[2])


def test_a_loss_counts_for_the_epoch_that_it_was_logged_in_alone(early):
    """Validated after every second epoch, and before training, by the trainer's sanity check."""
    lyapunov = LyapunovCallback("rnn", torch.full((3, 6, 2), 0.5), every_n_epochs=[0])
    prediction = PredictionCallback(early, lyapunov, {"p": 0.4}, monitor="loss")
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    made = pl.Trainer(callbacks=[lyapunov, prediction], max_epochs=5, check_val_every_n_epoch=2, **options)
    made.fit(Logged([*LOSSES, 0.5]), torch.ones(2, 6, 2), torch.ones(1, 6, 2))
    assert {epoch: losses.tolist() for epoch, losses in prediction.losses.items()} == {
        epoch: [pytest.approx(LOSSES[epoch - 1])] for epoch in (2, 4)
    }
    without = so_far(None, None, {"p": [0.4]}, 3, 5)
    assert prediction.chances[3] == early.predict(without).chance and prediction.outside[3] == ""


@pytest.mark.parametrize("hook", ["training_step", "on_train_epoch_end"])
def test_a_loss_that_is_logged_when_the_epoch_is_over_is_not_that_of_the_next(early, hook):
    """What training steps log is there in time; what the module logs at the very end comes after the callbacks."""

    class Late(Logged):
        def training_step(self, batch, _):
            if hook == "training_step":
                self.log("late", self.val_losses[self.current_epoch], on_step=False, on_epoch=True)
            return super().training_step(batch, _)

        def on_train_epoch_end(self):
            if hook == "on_train_epoch_end":
                self.log("late", self.val_losses[self.current_epoch])

    lyapunov = LyapunovCallback("rnn", torch.full((3, 6, 2), 0.5))
    prediction = PredictionCallback(early, lyapunov, {"p": 0.4}, monitor="late")
    trainer([lyapunov, prediction], max_epochs=3).fit(Late(LOSSES[1:]), torch.ones(2, 6, 2))
    expected = {epoch: pytest.approx(LOSSES[epoch]) for epoch in (1, 2, 3)} if hook == "training_step" else {}
    assert {epoch: float(loss[0]) for epoch, loss in prediction.losses.items()} == expected


def test_without_losses_and_hyperparameters_spectra_alone_predict(early):
    prediction = fit(early, every=[0, 2])[1]
    assert set(prediction.chances) == {0, 2, 3} and not prediction.losses
    spectra = np.full((1, 4, 5), np.nan)
    for epoch, spectrum in prediction.lyapunov.spectra.items():
        spectra[0, epoch] = spectrum.exponents.numpy()
    given = so_far(None, spectra, None, 2, 3)
    assert [prediction.outside[2]] == early.predict(given).outside
    assert fit(early, hyperparameters={"p": 40.0})[1].outside[1] == "p=40: known is 0.00274 to 0.997"


def test_a_training_of_ones_own_resumes_with_its_losses(early, tmp_path):
    options = {"hyperparameters": {"p": 0.4}, "monitor": "loss"}
    whole = fit(early, **options)[1]
    stopped, before = fit(early, 1, **options)
    stopped.save_checkpoint(tmp_path / "x.ckpt")
    resumed = fit(early, 3, tmp_path / "x.ckpt", **options)[1]
    assert resumed.chances == {**before.chances, 2: whole.chances[2], 3: whole.chances[3]}
    assert resumed.losses == whole.losses and set(whole.losses) == {1, 2, 3}


def test_predictors_side_by_side_keep_their_own_states(early):
    """Two without spectra and of one threshold, and one with its own AeLLE."""
    lossy = [
        EarlyPredictor(0.5).fit(known.losses, None, {"p": known.variants["p"]}) for known in (KNOWN, synthetic(seed=1))
    ]
    lyapunov = LyapunovCallback("rnn", torch.full((3, 6, 2), 0.5))
    callbacks = [PredictionCallback(one, lyapunov) for one in (*lossy, early, early.model_)]
    assert len({callback.state_key for callback in callbacks}) == 4
    assert callbacks[0].state_key == PredictionCallback(lossy[0], lyapunov).state_key
    trainer([lyapunov, *callbacks], max_epochs=1).fit(Logged(LOSSES[1:]), torch.ones(2, 6, 2))


def test_a_loaded_predictor_is_the_same_one(early, tmp_path):
    early.save(tmp_path)
    lyapunov = LyapunovCallback("rnn", torch.full((3, 6, 2), 0.5))
    again = PredictionCallback(EarlyPredictor.load(tmp_path), lyapunov)
    assert again.state_key == PredictionCallback(early, lyapunov).state_key


def test_members_of_a_population_have_arrays_and_one_network_a_number(early):
    """Also if the module is the user's own, and if the population has one member."""

    class Members(Logged):
        def __init__(self, V):
            super().__init__(LOSSES[1:])
            self.network = Population("rnn", 2, 5, 1, [Initialization(p=0.5)] * V, range(V))

    for V in (1, 3):
        lyapunov = LyapunovCallback("network", torch.full((3, 6, 2), 0.5))
        prediction = PredictionCallback(early, lyapunov)
        trainer([lyapunov, prediction], max_epochs=1).fit(Members(V), torch.ones(2, 6, 2))
        assert prediction.chances[1].shape == (V,) and len(prediction.outside[1]) == V
        assert isinstance(prediction.outside[1], list)


def test_a_prediction_comes_after_its_spectra(early):
    """Before them, it predicted without the epoch's spectrum."""
    lyapunov, other = (LyapunovCallback("rnn", torch.full((n, 6, 2), 0.5)) for n in (3, 4))
    prediction = PredictionCallback(early, lyapunov)
    for callbacks, words in (
        ([prediction, lyapunov], "comes after it"),
        ([prediction], "is not there"),
        ([other, prediction], "is not there"),
    ):
        with pytest.raises(UserError, match=rf"its LyapunovCallback of 'rnn' {words}; give callbacks=\[lyapunov, pred"):
            trainer(callbacks).fit(Logged(LOSSES[1:]), torch.ones(2, 6, 2), torch.ones(1, 6, 2))
