"""Arrays, tensors and whole numbers as users give them: read, or refused in one line that names them."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from aelle import AeLLE, EarlyPredictor
from aelle.errors import UserError
from aelle.lyapunov.arrays import as_array, as_floats
from sweeps import ROOT

ROWS = np.random.default_rng(0)
SPECTRA, LOSSES, GRID = ROWS.normal(size=(40, 8)), ROWS.uniform(0.1, 1, 40), ROWS.uniform(0.1, 1, (40, 4))
NESTED = torch.nested.nested_tensor([torch.ones(3), torch.ones(4)])
REFUSED = [
    (NESTED, "is a nested tensor: give a dense one, of sequences of the same length"),
    (torch.nested.nested_tensor([torch.ones(3), torch.ones(4)], layout=torch.jagged), "is a nested tensor"),
    (torch.empty(40, 4, device="meta"), "is on the meta device, without values: give a tensor on a device"),
    (torch.ones(40, 4).to_sparse(), "is torch.sparse_coo: give a dense tensor of numbers"),
    (torch.quantize_per_tensor(torch.ones(40, 4), 0.1, 0, torch.qint8), "is torch.qint8: give a dense tensor"),
    (
        np.array([[None] * 4] * 40, dtype=object),
        "contains None: give an array of numbers, NaN where they are not known",
    ),
    (np.array([["a"] * 4] * 40), "contains 'a': give an array of numbers"),
    (np.array([["0.5"] * 4] * 40), "contains '0.5': give an array of numbers"),
    (np.ones((40, 4), complex), "in complex128: Complex data not supported; give real"),
    ([[1.0], [1.0, 2.0]], "setting an array element with a sequence"),
    (np.array([[{}] * 4] * 40, dtype=object), "give an array or a tensor of numbers"),
]


@pytest.mark.parametrize(("values", "says"), REFUSED)
def test_what_is_no_array_of_numbers_is_refused_by_name(values, says):
    for name, call in (
        ("losses", lambda: EarlyPredictor(0.5).fit(values)),
        ("spectra", lambda: EarlyPredictor(0.5).fit(GRID, values)),
        ("mine", lambda: as_floats("mine", values)),
    ):
        with pytest.raises(UserError, match=f"^{name}.*{says}") as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("values", "says"), REFUSED[:8])
def test_aelle_names_the_array_that_it_refuses(values, says):
    column = values if values is NESTED or isinstance(values, torch.Tensor) else values[:, 0]
    for name, call in (
        ("spectra", lambda: AeLLE(0.5).fit(values, LOSSES)),
        ("y", lambda: AeLLE(0.5).fit(SPECTRA, column)),
        ("covariates", lambda: AeLLE(0.5).fit(SPECTRA, LOSSES, covariates=values)),
    ):
        if name == "covariates" and not isinstance(values, torch.Tensor):
            continue  # words are answered by how they become numbers
        words = name == "y" and not isinstance(values, torch.Tensor)
        said = "(of .*: give final losses as floats, or classes|has no value in row 0: )" if words else says
        with pytest.raises(UserError, match=f"^{name} {said}") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_groups_that_cannot_be_told_apart_are_refused():
    for groups in (np.array([None, 1] * 20, dtype=object), np.array([1, "a"] * 20, dtype=object)):
        with pytest.raises(UserError, match=r"^groups contains values of different types: give numbers, or words$"):
            AeLLE(0.5).fit(SPECTRA, LOSSES, groups=groups)


def test_numbers_of_every_kind_are_read():
    values = [[1, 2], [3, 4]]
    for given in (
        values,
        np.array(values),
        np.array(values, dtype=object),
        np.array(values, np.float16),
        torch.tensor(values),
        torch.tensor(values, dtype=torch.bfloat16, requires_grad=False),
        torch.tensor(values, dtype=torch.float64, requires_grad=True),
    ):
        assert as_floats("mine", given).tolist() == values
    assert as_floats("mine", []).shape == (0,) and as_array("word") == "word" and as_floats("mine", 3).shape == ()
    assert np.isnan(as_floats("mine", [np.nan, 1.0])[0])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([object()] * 40), "object"),
        (np.array([{}, []] * 20, dtype=object), "dict"),
        (np.array(["a", b"b"] * 20, dtype=object), "bytes"),
        (np.zeros(40, "datetime64[s]"), "datetime64"),
        (np.ones(40, complex), "complex128"),
    ],
)
def test_hyperparameters_of_other_types_are_refused_by_name(values, kind):
    with pytest.raises(UserError, match=f"^hyperparameter q has values of type {kind}.*: give numbers or words$"):
        EarlyPredictor(0.5).fit(GRID, None, {"p": np.arange(40), "q": values})
    with pytest.raises(UserError, match=r"^hyperparameter q is on the meta device"):
        EarlyPredictor(0.5).fit(GRID, None, {"q": torch.empty(40, device="meta")})


@pytest.mark.parametrize("values", [np.array(["a", None] * 20, dtype=object), [True, False] * 20, [1, np.nan] * 20])
def test_words_with_gaps_and_truth_values_are_hyperparameters(values):
    assert EarlyPredictor(0.5).fit(GRID, None, {"q": values}).encoding_.varied == ["q"]


WHOLE_NUMBERS = """
import numpy as np, torch
from torch import nn
from aelle import AeLLE, EarlyPredictor, LyapunovCallback, lyapunov_spectrum
from aelle.data import adding
net, x = nn.LSTM(2, 3, batch_first=True), torch.randn(2, 6, 2)
still = dict(state=torch.ones(2))
a = lyapunov_spectrum(net, x, k=np.int64(2), warmup=np.int32(1), orthonormalize_every=np.uint8(2))
b = lyapunov_spectrum(net, x, k=2, warmup=1, orthonormalize_every=2)
assert torch.equal(a.exponents, b.exponents) and type(a.steps) is int and a.steps == 5
c = lyapunov_spectrum(lambda x, s: torch.tanh(s), steps=np.int64(3), warmup=np.int8(1), **still)
assert type(c.steps) is int and c.steps == 3
assert LyapunovCallback("rnn", x, every_n_epochs=np.int64(2)).every_n_epochs == 2
for epochs in ([np.int64(0), np.int64(2)], np.array([0, 2]), range(0, 4, 2)):
    assert LyapunovCallback("rnn", x, every_n_epochs=epochs).every_n_epochs == {0, 2}
assert len(adding(np.int64(5), np.int64(6), 7, 8, np.int64(4)).train.x) == 6
spectra, losses, grid = np.random.randn(40, 8), np.random.rand(40) + 0.01, np.random.rand(40, 4) + 0.01
for name in ("epochs", "batch_size", "latent_size", "seed", "max_steps", "points", "n_components", "prediction_norm"):
    AeLLE(0.5, **{"epochs": 1, name: np.int64(2)}).fit(spectra, losses)
for wrong in (
    lambda: lyapunov_spectrum(net, x, k=np.bool_(True)),
    lambda: lyapunov_spectrum(net, x, k=np.float64(2)),
    lambda: lyapunov_spectrum(net, x, warmup=np.int64(-1)),
    lambda: lyapunov_spectrum(net, x, k=torch.tensor(2)),
    lambda: LyapunovCallback("rnn", x, every_n_epochs=np.int64(0)),
    lambda: LyapunovCallback("rnn", x, every_n_epochs="often"),
    lambda: lyapunov_spectrum(net, torch.nested.nested_tensor([x[0], x[0, :3]])),
    lambda: lyapunov_spectrum(net, x.to("meta")),
    lambda: lyapunov_spectrum(net, x, state=torch.empty(6, device="meta")),
    lambda: lyapunov_spectrum(nn.LSTM(2, 3, device="meta"), x),
    lambda: lyapunov_spectrum(net, x.to_sparse()),
    lambda: EarlyPredictor(0.5).fit(grid).predict_proba(grid, epochs="3"),
):
    try:
        wrong()
    except ValueError as error:
        print(error)
"""


def test_whole_numbers_of_numpy_are_whole_numbers():
    """In a process of its own, without the tests' check of all annotations."""
    done = subprocess.run([sys.executable, "-c", WHOLE_NUMBERS], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = done.stdout.replace("np.", "").splitlines()
    whole = "give a whole number of at least"
    assert [line.partition(":")[0] for line in told[:6]] == [
        *("k=True_" if "True_" in told[0] else "k=True", "k=float64(2.0)", "warmup=int64(-1)", "k=tensor(2)"),
        *("every_n_epochs=int64(0)", "every_n_epochs='often'"),
    ]
    assert all(whole in line for line in told[:6])
    assert told[6:] == [
        "inputs is a nested tensor: give a dense one, of sequences of the same length",
        "inputs is on the meta device, without values: give a tensor on a device that stores them",
        "state is on the meta device, without values: give a tensor on a device that stores them",
        "LSTM.weight_ih_l0 is on the meta device, without values: give a tensor on a device that stores them",
        "inputs is torch.sparse_coo: give a dense tensor of numbers",
        "epochs='3': give how long the trainings are, a whole number of at least 1",
    ]


@pytest.mark.parametrize("threshold", ["0.5", None, True, 0, -1, np.nan, np.inf, np.array([0.5, 0.5]), torch.ones(2)])
def test_a_threshold_that_is_no_number_is_one_line_at_fit(threshold):
    """Set after the tests' check of annotations."""
    model, predictor = AeLLE(0.5).set_params(threshold=threshold), EarlyPredictor(0.5)
    predictor.threshold = threshold
    for fit in (lambda: model.fit(SPECTRA, LOSSES), lambda: predictor.fit(GRID)):
        with pytest.raises(UserError, match=r"^threshold=.*: give a finite loss above 0$") as caught:
            fit()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"alphas": 0.5}, "alphas=0.5: give a list of numbers"),
        ({"alphas": "0.5"}, "alphas='0.5': give a list of numbers"),
        ({"alphas": []}, "give at least one number"),
        ({"prediction_norm": True}, "prediction_norm=True: choose 1 or 2"),
        ({"prediction_norm": np.array([1, 2])}, r"prediction_norm=array\(\[1, 2\]\): choose 1 or 2"),
        ({"committee": 1}, "committee=1: choose True or False"),
        ({"classifier": None}, "classifier=None: choose"),
    ],
)
def test_parameters_of_another_type_are_one_line(parameters, says):
    with pytest.raises(UserError, match=says):
        AeLLE(0.5).set_params(**parameters).fit(SPECTRA, LOSSES)


def test_the_number_of_epochs_is_a_whole_number():
    fitted = EarlyPredictor(0.5).fit(GRID)
    for epochs in (0, -1, True):
        with pytest.raises(
            UserError, match=r"^epochs=.*: give how long the trainings are, a whole number of at least 1"
        ):
            fitted.predict_proba(GRID, epoch=0, epochs=epochs)
