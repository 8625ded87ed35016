"""Results that survive a checkpoint, end with their training, and return from worker processes."""

import copy
import csv
import os
import subprocess
import sys

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from aelle import LyapunovCallback, lyapunov_spectrum
from aelle.errors import UserError
from aelle.model.estimator import AeLLE
from aelle.predictor.early_predictor import EarlyPredictor
from aelle.training.prediction_callback import PredictionCallback
from sweeps import ROOT, synthetic
from trainings import Ordinary, probe, train, trainer

KNOWN = synthetic()


@pytest.fixture(scope="module")
def predictor() -> EarlyPredictor:
    return EarlyPredictor(0.5).fit(KNOWN.losses, None, {"p": KNOWN.variants["p"]})


def same(one: LyapunovCallback, other: LyapunovCallback) -> bool:
    for spectra, others in ((one.spectra, other.spectra), (one.test_spectra, other.test_spectra)):
        if sorted(spectra) != sorted(others):
            return False
        for epoch, spectrum in spectra.items():
            for name, value in vars(spectrum).items():
                expected = vars(others[epoch])[name]
                if not (torch.equal(value, expected) if torch.is_tensor(value) else value == expected):
                    return False
    return True


def test_a_resumed_training_has_the_spectra_of_the_whole(tmp_path):
    """From Lightning's own checkpoint, read with weights_only=True."""

    def callback() -> LyapunovCallback:
        return LyapunovCallback("encoder.rnn", probe(), test_probe=probe(6))

    whole, first, resumed = callback(), callback(), callback()
    train([whole], tmp_path / "whole", epochs=5)
    train([first, ModelCheckpoint(tmp_path)], tmp_path / "first", epochs=3)
    (saved,) = tmp_path.glob("*.ckpt")
    state = torch.load(saved, weights_only=True)["callbacks"][first.state_key]
    assert sorted(state["spectra"]) == [0, 1, 2, 3]
    train([resumed], tmp_path / "resumed", epochs=5, start=saved)
    assert sorted(resumed.spectra) == sorted(resumed.test_spectra) == [0, 1, 2, 3, 4, 5]
    assert all(torch.equal(resumed.spectra[e].exponents, whole.spectra[e].exponents) for e in range(4))
    # The same callback may resume its own training, also from an earlier epoch.
    train([resumed], tmp_path / "again", epochs=4, start=saved)
    assert sorted(resumed.spectra) == [0, 1, 2, 3, 4]


def test_a_trainer_that_goes_on_keeps_the_spectra(tmp_path):
    callback = LyapunovCallback("encoder.rnn", probe())
    model = train([callback], tmp_path, epochs=2)
    model.trainer.fit_loop.max_epochs = 4
    model.trainer.fit(model, model.trainer.train_dataloader)
    assert sorted(callback.spectra) == [0, 1, 2, 3, 4]


def test_a_trainer_that_goes_on_with_an_interrupted_first_epoch_keeps_the_spectrum_before_it(tmp_path):
    class Interrupted(Ordinary):
        interrupt = True

        def on_train_batch_start(self, batch, number):
            if number == 1 and self.interrupt:
                raise ValueError

    callback, model = LyapunovCallback("encoder.rnn", probe()), Interrupted()
    with pytest.raises(ValueError):
        train([callback], tmp_path, epochs=2, model=model)
    before, model.interrupt = callback.spectra[0], False
    model.trainer.fit(model, model.trainer.train_dataloader)
    assert sorted(callback.spectra) == [0, 1, 2] and callback.spectra[0] is before


def test_a_second_training_starts_anew(tmp_path, predictor):
    callback = LyapunovCallback("encoder.rnn", probe())
    prediction = PredictionCallback(predictor, callback, {"p": 0.4})
    train([callback, prediction], tmp_path / "first", epochs=4)
    first, chances = callback.spectra, prediction.chances
    assert sorted(first) == sorted(chances) == sorted(prediction.outside) == [0, 1, 2, 3, 4]
    train([callback, prediction], tmp_path / "second", epochs=2)
    assert sorted(callback.spectra) == sorted(prediction.chances) == sorted(prediction.outside) == [0, 1, 2]
    assert sorted(first) == sorted(chances) == [0, 1, 2, 3, 4]
    train([callback], tmp_path / "stopped", epochs=3, max_steps=4)
    assert sorted(callback.spectra) == [0, 1, 2]


class Validated(Ordinary):
    def validation_step(self, batch, _):
        self.log("val_loss", self.training_step(batch, 0))

    def val_dataloader(self):
        x = torch.randn(24, 7, 2, generator=torch.Generator().manual_seed(1))
        return DataLoader(TensorDataset(x, x.sum((1, 2))[:, None]), batch_size=8)


SAVING = [{"save_on_train_epoch_end": False}, {"every_n_train_steps": 3}, {"save_on_train_epoch_end": True}]


@pytest.mark.parametrize("when", SAVING, ids=["validation", "last batch", "epoch's end"])
@pytest.mark.parametrize("added", [False, True])
def test_a_checkpoint_of_the_moment_before_an_epoch_is_measured_loses_no_epoch(tmp_path, added, when, predictor):
    """Written after a validation or the last batch, or by a training without the callback."""

    def fit(epochs: int, callbacks: list, start=None) -> None:
        train(callbacks, tmp_path / "logs", epochs, Validated(), start)

    def callbacks() -> tuple[LyapunovCallback, PredictionCallback]:
        lyapunov = LyapunovCallback("encoder.rnn", probe())
        return lyapunov, PredictionCallback(predictor, lyapunov, {"p": 0.4})

    whole, first, resumed = callbacks(), callbacks(), callbacks()
    fit(3, [*whole])
    saves = ModelCheckpoint(tmp_path, "{epoch}", **when)
    fit(2, [*(() if added else first), saves])
    (saved,) = tmp_path.glob("*.ckpt")
    fit(3, [*resumed], saved)
    epochs = [2, 3] if added else [0, 1, 2, 3]
    assert sorted(resumed[0].spectra) == sorted(resumed[1].chances) == epochs
    for epoch in epochs[:-1]:  # After resuming, dropout draws other numbers.
        assert torch.equal(resumed[0].spectra[epoch].exponents, whole[0].spectra[epoch].exponents)


def test_a_checkpoint_in_the_middle_of_an_epoch_is_not_measured_as_its_end(tmp_path):
    saves = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=4)
    train([saves], tmp_path / "first", epochs=2, max_steps=5)
    resumed = LyapunovCallback("encoder.rnn", probe())
    train([resumed], tmp_path / "resumed", epochs=3, start=next(tmp_path.glob("*.ckpt")))
    assert sorted(resumed.spectra) == [2, 3]


def test_another_probe_keeps_the_earlier_spectra_and_is_told(tmp_path):
    first, resumed = LyapunovCallback("encoder.rnn", probe()), LyapunovCallback("encoder.rnn", probe(6))
    train([first, ModelCheckpoint(tmp_path)], tmp_path / "first", epochs=2)
    (saved,) = tmp_path.glob("*.ckpt")
    with pytest.warns(
        UserWarning, match=r"LyapunovCallback of 'encoder.rnn': that of the checkpoint had another probe"
    ):
        train([resumed], tmp_path / "resumed", epochs=3, start=saved)
    assert sorted(resumed.spectra) == [0, 1, 2, 3]
    assert torch.equal(resumed.spectra[2].exponents, first.spectra[2].exponents)
    # With two that might be meant, neither takes it.
    others = [LyapunovCallback("encoder.rnn", probe(seed)) for seed in (7, 8)]
    train(others, tmp_path / "others", epochs=3, start=saved)
    assert [sorted(one.spectra) for one in others] == [[2, 3], [2, 3]]


def test_state_keys_tell_callbacks_apart():
    def keys() -> list[str]:
        a, b = torch.zeros(2, 3, 1), torch.ones(2, 3, 1)
        made = [
            LyapunovCallback("encoder", a),
            LyapunovCallback("decoder", a),
            LyapunovCallback("encoder", b),
            LyapunovCallback("encoder", a.to(torch.bfloat16)),
            LyapunovCallback("encoder", a, test_probe=b),
            LyapunovCallback("encoder", a, over="full"),
            LyapunovCallback("encoder", a, k=1),
            LyapunovCallback("encoder", a, every_n_epochs=[2, 1]),
            LyapunovCallback("encoder", a, dtype=torch.float32),
            LyapunovCallback("encoder", lambda module: module.one(a)),
            LyapunovCallback("encoder", lambda module: module.one(b)),
            LyapunovCallback("encoder", torch.zeros(2, 3, dtype=torch.long), embedding="one"),
            LyapunovCallback("encoder", torch.zeros(2, 3, dtype=torch.long), embedding="two"),
            LyapunovCallback("encoder", None, steps=5),
        ]
        trainer(made)
        return [one.state_key for one in made]

    assert len(set(keys())) == len(keys()) and keys() == keys()


def test_equal_callbacks_are_one_line(predictor):
    one, same = LyapunovCallback("encoder", probe()), LyapunovCallback("encoder", probe())
    equal = [
        ([one, same], "LyapunovCallbacks of 'encoder', .* differ in network, probe or an option"),
        ([one, one], "LyapunovCallbacks of 'encoder'"),
        (
            [one, *(PredictionCallback(predictor, one) for _ in range(2))],
            "PredictionCallbacks of .* network, model, mon",
        ),
    ]
    for callbacks, words in equal:
        with pytest.raises(UserError, match=f"callbacks has two equal {words}") as error:
            trainer(callbacks)
        assert "\n" not in str(error.value)
    assert one.state_key == same.state_key
    trainer([one, PredictionCallback(predictor, one), LyapunovCallback("encoder", probe(), k=1)])


class Two(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.GRU(2, 6, batch_first=True), nn.RNN(6, 4, batch_first=True)

    def training_step(self, batch, _):
        loss = (self.decoder(self.encoder(batch[0])[0])[0].mean(2)[:, -1:] - batch[1]).square().mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def logged(folder) -> dict[str, list[float]]:
    """What the logger got, by name, empty cells left out."""
    (log,) = folder.rglob("metrics.csv")
    rows = list(csv.DictReader(log.open()))
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [float(row[name]) for row in rows if row.get(name)] for name in names}


def test_each_of_several_networks_logs_under_its_name(tmp_path):
    encoder = LyapunovCallback("encoder", probe())
    decoder = LyapunovCallback("decoder", torch.randn(3, 7, 6))
    train([encoder, decoder], tmp_path, epochs=2, model=Two())
    found = logged(tmp_path)
    assert "lyapunov/maximum" not in found
    for name, callback in (("encoder", encoder), ("decoder", decoder)):
        for quantity in ("maximum", "mean"):
            expected = [
                float(s.maximum if quantity == "maximum" else s.exponents.mean()) for s in callback.spectra.values()
            ]
            assert found[f"lyapunov/{name}/{quantity}"] == pytest.approx(expected, rel=1e-5)


def test_several_callbacks_of_one_network_log_apart(tmp_path, predictor):
    one, full = LyapunovCallback("encoder.rnn", probe()), LyapunovCallback("encoder.rnn", probe(6))
    predicting = [PredictionCallback(predictor, each, {"p": p}) for each, p in ((one, 0.2), (full, 0.7))]
    train([one, full, *predicting], tmp_path, epochs=1)
    found = logged(tmp_path)
    for name, callback in (("lyapunov/maximum", one), ("lyapunov/maximum-2", full)):
        assert found[name] == pytest.approx([float(s.maximum) for s in callback.spectra.values()], rel=1e-5)
    for name, callback in (("lyapunov/chance", predicting[0]), ("lyapunov/chance-2", predicting[1])):
        assert found[name] == pytest.approx(list(callback.chances.values()), rel=1e-5)


def test_epoch_0_reaches_every_logger(tmp_path, predictor):
    loggers = [pl.loggers.CSVLogger(tmp_path / name) for name in "ab"]
    callback = LyapunovCallback("encoder.rnn", probe())
    prediction = PredictionCallback(predictor, callback, {"p": 0.4})
    train([callback, prediction], tmp_path, epochs=2, logger=loggers)
    for name in "ab":
        (log,) = (tmp_path / name).rglob("metrics.csv")
        first = next(csv.DictReader(log.open()))
        assert first["step"] == "0"
        assert float(first["lyapunov/maximum"]) == pytest.approx(float(callback.spectra[0].maximum))
        found = logged(tmp_path / name)
        assert len(found["lyapunov/maximum"]) == len(found["lyapunov/mean"]) == 3
        assert found["lyapunov/chance"] == pytest.approx([prediction.chances[epoch] for epoch in range(3)])


def test_what_the_module_logs_is_the_same_with_and_without_it(tmp_path):
    watched, alone = (
        train(callbacks, tmp_path / name, model=Two(), logger=pl.loggers.CSVLogger(tmp_path / name)).trainer
        for name, callbacks in (("with", [LyapunovCallback("encoder", probe())]), ("without", []))
    )
    assert logged(tmp_path / "with")["loss"] == logged(tmp_path / "without")["loss"]
    assert watched.callback_metrics["loss"] == alone.callback_metrics["loss"]


def test_copies_and_pickles_are_callbacks_of_their_own(tmp_path):
    callback = LyapunovCallback("encoder.rnn", probe())
    train([callback], tmp_path / "one", epochs=1)
    other = copy.deepcopy(callback)
    train([other], tmp_path / "other", epochs=2)
    assert sorted(callback.spectra) == [0, 1] and sorted(other.spectra) == [0, 1, 2]


WORKERS = """
import sys
import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn
import aelle


class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.GRU(2, 6, batch_first=True)

    def training_step(self, batch, _):
        return self.rnn(batch)[0].square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    p = np.linspace(0.1, 0.9, 30)
    predictor = aelle.EarlyPredictor(0.5).fit(np.stack([p, p, p], 1), None, {"p": p})
    lyapunov = aelle.LyapunovCallback("rnn", torch.randn(4, 9, 2), test_probe=torch.randn(4, 5, 2))
    prediction = aelle.PredictionCallback(predictor, lyapunov, {"p": 0.4})
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    made = pl.Trainer(max_epochs=2, accelerator="cpu", devices=2, strategy=sys.argv[1],
                      callbacks=[lyapunov, prediction], **options)
    module = Module()
    made.fit(module, torch.utils.data.DataLoader(torch.randn(16, 7, 2), batch_size=4))
    assert [*lyapunov.spectra] == [*lyapunov.test_spectra] == [*prediction.chances] == [0, 1, 2]
    assert isinstance(prediction.chances[2], float) and prediction.outside[2] == ""
    now = aelle.lyapunov_spectrum(module.rnn, lyapunov.probe)
    assert torch.equal(lyapunov.spectra[2].exponents, now.exponents)
    print(lyapunov.state_key)
"""


@pytest.mark.parametrize("strategy", ["ddp_fork", "ddp_spawn"])
def test_results_of_worker_processes_are_there_afterwards(strategy, tmp_path):
    (tmp_path / "train.py").write_text(WORKERS)
    (tmp_path / "temporary").mkdir()
    own = {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "temporary"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "train.py", strategy],
        cwd=tmp_path,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "temporary").glob("aelle-*")) == []


def test_results_that_nobody_asks_for_leave_no_file(tmp_path):
    callback = LyapunovCallback("encoder.rnn", probe())
    worker = copy.deepcopy(callback)
    train([worker], tmp_path, epochs=1)
    worker._in_worker = True
    worker.teardown(worker_trainer := trainer(), Ordinary(), "fit")
    assert worker_trainer.is_global_zero and callback._returned.exists()
    file = callback._returned
    del callback
    assert not file.exists()


def test_state_without_results_is_restored_as_well():
    callback = LyapunovCallback("rnn", probe())
    fresh = copy.deepcopy(callback)
    fresh.load_state_dict(callback.state_dict())
    assert same(callback, fresh) and fresh.spectra == {}


def test_chances_and_losses_survive_a_checkpoint_of_populations_and_of_one(tmp_path):
    lyapunov = LyapunovCallback("rnn", probe())
    losses = np.linspace(0.1, 1, 40)
    made = AeLLE(0.5, epochs=1, latent_size=2).fit(np.outer(losses, [0.0, -1, -2]), losses)
    callback, other = PredictionCallback(made, lyapunov), PredictionCallback(made, lyapunov)
    callback._chances = {0: 0.5, 1: np.array([0.25, np.nan])}
    callback._outside = {0: "", 1: ["", "p=4: known is 0 to 1"]}
    callback._losses = {1: np.array([0.1, np.inf])}
    torch.save(callback.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert other.chances[0] == 0.5 and isinstance(other.chances[0], float)
    np.testing.assert_array_equal(other.chances[1], callback.chances[1])
    np.testing.assert_array_equal(other.losses[1], callback.losses[1])
    assert other.outside == callback.outside


def test_the_last_measured_network_is_that_of_the_end(tmp_path):
    callback = LyapunovCallback("encoder.rnn", probe())
    model = train([callback], tmp_path, epochs=2)
    assert torch.equal(callback.spectra[2].exponents, lyapunov_spectrum(model.encoder.rnn, probe()).exponents)
