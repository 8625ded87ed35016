"""The callback in an ordinary LightningModule that has nothing of ours in it."""

import csv

import pytest
import torch

from aelle import LyapunovCallback, lyapunov_spectrum
from aelle.tasks.initialization import Initialization
from aelle.tasks.population import Population
from trainings import Ordinary, probe, train


def test_spectra_of_every_epoch_and_their_log(tmp_path):
    callback = LyapunovCallback("encoder.rnn", probe(), test_probe=probe(6), over="full")
    untrained = lyapunov_spectrum(Ordinary().encoder.rnn, probe(), over="full")
    model = train([callback], tmp_path)
    assert sorted(callback.spectra) == sorted(callback.test_spectra) == [0, 1, 2, 3]
    assert torch.equal(callback.spectra[0].exponents, untrained.exponents)
    trained = lyapunov_spectrum(model.encoder.rnn, probe(), over="full")
    assert torch.equal(callback.spectra[3].exponents, trained.exponents)
    assert not torch.equal(callback.spectra[1].exponents, trained.exponents)
    tested = lyapunov_spectrum(model.encoder.rnn, probe(6), over="full")
    assert torch.equal(callback.test_spectra[3].exponents, tested.exponents)
    with next(tmp_path.rglob("metrics.csv")).open() as file:
        last = list(csv.DictReader(file))[-1]
    for name, value in (("maximum", trained.maximum), ("mean", trained.exponents.mean())):
        assert float(last[f"lyapunov/{name}"]) == pytest.approx(value.item(), rel=1e-5)


def test_training_is_the_same_with_and_without_it_bit_for_bit(tmp_path):
    """With dropout and shuffling, which draw from the global random state."""
    watched = train([LyapunovCallback("encoder.rnn", probe())], tmp_path)
    alone = train([], tmp_path)
    for (name, p), q in zip(watched.named_parameters(), alone.parameters(), strict=True):
        assert torch.equal(p, q), name


def test_every_other_epoch_and_the_last(tmp_path):
    callback = LyapunovCallback("encoder.rnn", probe(), every_n_epochs=2)
    train([callback], tmp_path, epochs=5)
    assert sorted(callback.spectra) == [0, 2, 4, 5]


def test_it_takes_a_population(tmp_path):
    class Members(Ordinary):
        def __init__(self):
            super().__init__()
            self.network = Population("rnn", 2, 6, 1, [Initialization(p=p) for p in (0.2, 0.5, 0.8)], [1, 2, 3])

        def training_step(self, batch, _):
            x, y = batch
            return (self.network(x.expand(3, -1, -1, -1)) - y).square().sum()

    callback = LyapunovCallback("network", probe())
    train([callback], tmp_path, epochs=1, model=Members())
    assert callback.spectra[1].exponents.shape == (3, 6)


@pytest.mark.parametrize(
    "path, message", [("rnn", "is not an attribute of Ordinary.*encoder.rnn"), ("head", "is a Linear of Ordinary")]
)
def test_a_wrong_path_is_told_the_right_ones(tmp_path, path, message):
    with pytest.raises(ValueError, match=message):
        train([LyapunovCallback(path, probe())], tmp_path, epochs=1)


def test_a_wrong_rhythm_is_named():
    with pytest.raises(ValueError, match="every_n_epochs=0"):
        LyapunovCallback("rnn", probe(), every_n_epochs=0)


@pytest.mark.parametrize(
    "every, options, measured",
    [(4, dict(max_steps=5), [0, 2]), (5, dict(max_steps=6, epochs=-1), [0, 2]), (1, dict(max_steps=5), [0, 1, 2])],
)
def test_the_last_epoch_is_measured_however_training_ends(every, options, measured, tmp_path):
    callback = LyapunovCallback("encoder.rnn", probe(), every_n_epochs=every)
    train([callback], tmp_path, **options)
    assert sorted(callback.spectra) == measured
    (log,) = tmp_path.rglob("metrics.csv")
    logged = [row for row in csv.DictReader(log.open()) if row.get("lyapunov/maximum")]
    assert float(logged[-1]["lyapunov/maximum"]) == pytest.approx(float(callback.spectra[2].maximum))


def test_a_network_that_diverges_has_a_spectrum_of_nan_and_goes_on(tmp_path):
    class Exploding(Ordinary):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=1e30)

    callback = LyapunovCallback("encoder.rnn", probe())
    train([callback], tmp_path, epochs=2, model=Exploding())
    assert callback.spectra[0].exponents.isfinite().all() and callback.spectra[2].exponents.isnan().all()


@pytest.mark.parametrize("every", [0, True, [1, -1]])
def test_epochs_that_are_no_whole_numbers_are_refused(every):
    with pytest.raises(ValueError, match=r"every_n_epochs=.*whole number"):
        LyapunovCallback("rnn", probe(), every_n_epochs=every)
