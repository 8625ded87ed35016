import json

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from aelle import AeLLE
from aelle.errors import UserError
from aelle.model.autoencoder import Autoencoders, Training
from aelle.model.autoencoder_training import AutoencoderTraining, Quantiles, Trainees
from aelle.model.fitting import fit_side_by_side
from aelle.model.samples import Sample, checked, held_back
from aelle.model.views import folds

M = 24


def spectra_and_losses(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Curves whose depth decides the loss."""
    rng = np.random.default_rng(seed)
    depth = rng.uniform(1, 6, n)
    spectra = -depth[:, None] * np.linspace(0, 1, M) ** 2 + 0.02 * rng.standard_normal((n, M))
    return spectra, np.exp(depth - 3.5) * 0.5


@pytest.fixture(scope="module")
def fitted() -> AeLLE:
    return AeLLE(0.5, epochs=80).fit(*spectra_and_losses(200))


def test_it_learns_what_can_be_learnt(fitted):
    spectra, losses = spectra_and_losses(100, seed=1)
    assert (fitted.predict(spectra) == (losses < 0.5)).mean() > 0.9
    assert np.corrcoef(np.log(fitted.predict_loss(spectra)), np.log(losses))[0, 1] > 0.95
    assert np.abs(fitted.reconstruct(spectra) - spectra).mean() < 0.25 * np.abs(spectra - spectra.mean(0)).mean()


def test_pc1_rises_towards_low_error(fitted):
    spectra, losses = spectra_and_losses(100, seed=1)
    assert np.corrcoef(fitted.transform(spectra)[:, 0], losses)[0, 1] < -0.5


def test_shapes_and_conventions(fitted):
    spectra, _ = spectra_and_losses(7, seed=2)
    assert fitted.latent(spectra).shape == (7, 32) and fitted.transform(spectra).shape == (7, 2)
    chance = fitted.predict_proba(spectra)
    np.testing.assert_allclose(chance.sum(1), 1)
    assert ((chance[:, 1] > 0.5) == fitted.predict(spectra)).all()
    assert fitted.n_features_in_ == M and list(fitted.classes_) == [0, 1]
    np.testing.assert_array_equal(fitted.latent(torch.as_tensor(spectra)), fitted.latent(spectra))


def test_it_is_a_scikit_learn_estimator(fitted):
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(np.zeros((2, M)))


def test_the_same_seed_gives_the_same_model(fitted):
    again = clone(fitted).fit(*spectra_and_losses(200))
    spectra, _ = spectra_and_losses(20, seed=3)
    np.testing.assert_array_equal(again.transform(spectra), fitted.transform(spectra))
    other = clone(fitted).set_params(seed=1).fit(*spectra_and_losses(200))
    assert not np.allclose(other.transform(spectra), fitted.transform(spectra))


def test_side_by_side_gives_what_each_gives_alone():
    models = [AeLLE(0.5, epochs=8, seed=s) for s in range(3)]
    samples = [Sample(*spectra_and_losses(n, seed=n)) for n in (60, 75, 140)]
    fit_side_by_side(models, samples)
    probe, _ = spectra_and_losses(9, seed=4)
    # The longest member sets the steps of an epoch, so that one is what it would be alone.
    alone = AeLLE(0.5, epochs=8, seed=2).fit(*samples[2][:2])
    np.testing.assert_allclose(models[2].predict_loss(probe), alone.predict_loss(probe), rtol=1e-4)


def test_a_member_of_the_autoencoders_is_an_ordinary_network():
    networks = Autoencoders.drawn(M, 4, [torch.Generator().manual_seed(s) for s in range(3)])
    x = torch.randn(3, 5, M)
    layer = networks.encoder[0]
    for s in range(3):
        hidden = torch.nn.functional.linear(x[s], layer.weight[s].T, layer.bias[s, 0])
        torch.testing.assert_close(layer(x)[s], hidden)
    single = networks.part(slice(1, 2))
    torch.testing.assert_close(single.encode(x[1:2])[0], networks.encode(x)[1])


def trainees(n: int, weights: np.ndarray) -> Trainees:
    ones = torch.ones(len(weights), M)
    weights = torch.as_tensor(weights, dtype=torch.float32)
    return Trainees(torch.randn(n, M), torch.randn(n), weights, ones, 0 * ones, ones / M)


def test_alpha_rises_in_stages():
    options = Training(alphas=(0.0, 100.0), epochs=4, batch_size=10)
    module = AutoencoderTraining([trainees(10, np.ones((1, 10)))], [0], 4, options)
    (batch,) = module.train_dataloader()

    class AtStep:
        global_step = 0

    def loss(step: int) -> float:
        AtStep.global_step = step
        module._trainer = AtStep
        return module.training_step(batch, 0).item()

    assert loss(0) == loss(1) < loss(2) == loss(3)


def test_each_member_visits_its_own_rows_by_their_weights():
    weights = np.array([[1.0, 1, 1, 0], [0, 3, 0, 1]])
    module = AutoencoderTraining([trainees(4, weights), trainees(2, np.ones((1, 2)))], [0, 1], 4, Training())
    batch = torch.cat(list(Quantiles(1200, 64, module.random)))
    at = torch.searchsorted(module.cumulative, batch.expand(3, -1).contiguous(), right=True)
    visits = np.stack([np.bincount(row, minlength=4) for row in at.numpy()])
    np.testing.assert_array_equal(visits, [[400, 400, 400, 0], [0, 900, 0, 300], [600, 600, 0, 0]])


def test_a_diverged_variant_is_high_error_and_spoils_nothing():
    spectra, losses = spectra_and_losses(120)
    losses[:10] = [np.nan, np.inf] * 5
    model = AeLLE(0.5, epochs=10).fit(spectra, losses)
    assert np.isfinite(model.predict_loss(spectra)).all()


def test_rows_of_one_group_are_never_torn_apart():
    spectra, losses = spectra_and_losses(40)
    tripled = np.repeat(spectra, 3, 0), np.repeat(losses, 3)
    groups = np.repeat(np.arange(40), 3)
    rows = checked(Sample(*tripled, groups=groups))
    back = held_back(rows, 0.5, seed=0)
    train, held = rows.take(~back), rows.take(back)
    assert not set(train.groups) & set(held.groups)
    assert len(train.losses) % 3 == len(held.losses) % 3 == 0 and len(train.losses) + len(held.losses) == 120
    fold = folds(rows.losses, rows.groups, 0).reshape(40, 3)
    assert (fold == fold[:, :1]).all() and set(np.bincount(fold[:, 0])) <= {13, 14}


def test_the_validation_part_alone_sets_the_threshold():
    spectra, losses = spectra_and_losses(80)
    v = spectra_and_losses(30, seed=5)
    one = AeLLE(0.5, epochs=10).fit(spectra, losses, validation=v)
    other = AeLLE(0.5, epochs=10).fit(spectra, losses, validation=(v[0], v[1] * 1.8))
    np.testing.assert_array_equal(one.latent(spectra), other.latent(spectra))
    cuts = [-model.region_.intercept / model.region_.linear[0] for model in (one, other)]
    assert cuts[0] < cuts[1] and one.region_.linear[1] == 0 and (one.region_.quadratic == 0).all()


def test_saved_and_loaded_it_is_the_same(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    loaded = AeLLE.load(tmp_path / "model")
    spectra, _ = spectra_and_losses(20, seed=6)
    np.testing.assert_array_equal(loaded.predict_proba(spectra), fitted.predict_proba(spectra))
    np.testing.assert_array_equal(loaded.predict_loss(spectra), fitted.predict_loss(spectra))
    assert loaded.get_params() == fitted.get_params()


def test_a_model_of_another_version_is_refused_by_its_format(fitted, tmp_path):
    fitted.save(tmp_path)
    description = json.loads((tmp_path / "aelle.json").read_text())
    (tmp_path / "aelle.json").write_text(json.dumps({**description, "format": 5}))
    with pytest.raises(UserError, match=r"its format is 5, and this version reads format 6$"):
        AeLLE.load(tmp_path)


def test_a_seed_of_numpys_is_saved(tmp_path):
    model = AeLLE(0.5, epochs=2, committee=False).fit(*spectra_and_losses(40))
    model.seed = np.int64(2)  # pyright: ignore[reportAttributeAccessIssue]
    model.check_parameters()
    model.save(tmp_path)
    assert AeLLE.load(tmp_path).seed == 2


@pytest.mark.parametrize("damage", ["missing", "truncated", "no json"])
def test_a_damaged_model_is_refused(fitted, tmp_path, damage):
    fitted.save(tmp_path)
    if damage == "missing":
        (tmp_path / "aelle.json").unlink()
    elif damage == "no json":
        (tmp_path / "aelle.json").write_text("{")
    else:
        whole = (tmp_path / "arrays.npz").read_bytes()
        (tmp_path / "arrays.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="contains no complete AeLLE model"):
        AeLLE.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x, y: (x, np.full_like(y, 0.1)), "too few"),
        (lambda x, y: (x, np.full_like(y, np.nan)), "too few"),
        (lambda x, y: (np.where(x > -1, np.nan, x), y), "NaN in row 0"),
        (lambda x, y: (np.where(x < -1, np.inf, x), y), "infinity"),
        (lambda x, y: (x, y - 0.2), "not positive"),
        (lambda x, y: (x[:, 0], y), "2D"),
        (lambda x, y: (x[:5], y), "inconsistent"),
        (lambda x, y: (x[:1], y[:1]), "minimum"),
    ],
)
def test_what_cannot_be_fitted_is_refused(change, says):
    with pytest.raises(ValueError, match=says):
        AeLLE(0.5, epochs=2).fit(*change(*spectra_and_losses(40)))


def test_one_class_in_the_validation_part_is_refused():
    spectra, losses = spectra_and_losses(40)
    with pytest.raises(ValueError, match="all high-error"):
        AeLLE(0.5, epochs=2).fit(spectra, losses, validation=(spectra[losses > 1], losses[losses > 1]))


@pytest.mark.parametrize("wrong", [{"embedding": "lda"}, {"classifier": "oracle"}, {"epochs": 0}, {"alphas": []}])
def test_a_wrong_parameter_is_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AeLLE(0.5, **wrong).fit(*spectra_and_losses(40))


def test_the_wrong_number_of_points_is_refused(fitted):
    with pytest.raises(ValueError, match=f"{M} features"):
        fitted.predict(np.zeros((3, M + 1)))
