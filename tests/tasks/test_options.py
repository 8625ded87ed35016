"""Every hyperparameter that a task declares is read; what differs within a pack trains as each member alone would."""

import math
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from aelle.data.images import Part, Sequences
from aelle.data.sines import FourSines
from aelle.data.text import characters
from aelle.errors import UserError
from aelle.hyperparameters import HYPERPARAMETERS
from aelle.seeds import seed_for
from aelle.tasks import CharacterPrediction, SequenceClassification, SequenceRegression, TargetLearning
from aelle.variants import Variant, draw
from trainings import small_data, trainer, variant

TEXT = "".join(chr(97 + (i * i) % 7) for i in range(101 * 24))

OTHERWISE = {
    "cell": "gru",
    "hidden_size": 5,
    "layers": 2,
    "readout": "mean",
    "init": "xavier",
    "p": 0.7,
    "spectral_radius": 0.5,
    "gain": 1.1,
    "forget_bias": 1.0,
    "optimizer": "adamw",
    "learning_rate": 0.02,
    "schedule": "cosine",
    "warmup": 0.9,
    "weight_decay": 0.1,
    "momentum": 0.5,
    "beta1": 0.5,
    "beta2": 0.9,
    "gradient_clip": 0.01,
    "dropout": 0.3,
    "label_smoothing": 0.1,
    "batch_size": 7,
    "keep": 0.5,
    "variant_seed": 3,
    "g": 1.2,
    "target": "fixed",
}
"""Another value for each hyperparameter than that of BASE, or the default."""

BASE = {"cell": "lstm", "hidden_size": 6, "p": 0.5, "learning_rate": 0.01, "batch_size": 8, "weight_decay": 0.01}
WHERE = {"spectral_radius": {"init": "spectral"}, "momentum": {"optimizer": "sgd"}}
"""What else a hyperparameter needs to be read."""


def regression_data(every: bool = True) -> Sequences:
    def part(n: int, seed: int) -> Part:
        x = torch.rand(n, 5, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return Part(x, x.cumsum(1)[..., :2] if every else x.sum(1)[:, :2])

    return Sequences(part(40, 0), part(20, 1), part(20, 2))


TASKS = {
    "classification": (SequenceClassification, small_data),
    "characters": (CharacterPrediction, lambda: characters(TEXT, "every")),
    "regression": (SequenceRegression, lambda: regression_data(every=False)),
    "target": (TargetLearning, FourSines),
}


def train(task: str, variants: list[Variant], epochs: int = 2):
    kind, data = TASKS[task]
    module = kind(data(), variants)
    module = module if task == "target" else module.double()
    trainer(max_epochs=epochs).fit(module)
    return module


def weights(module) -> dict[str, torch.Tensor]:
    found = dict(module.network.named_buffers() if isinstance(module, TargetLearning) else module.named_parameters())
    return {name: tensor.detach() for name, tensor in found.items()}


CASES = [(task, name) for task, (kind, _) in TASKS.items() for name in (*kind.reads, "variant_seed")]


@pytest.mark.parametrize(("task", "name"), CASES)
def test_another_value_of_a_declared_hyperparameter_is_another_training(task, name):
    base = {"hidden_size": 20, "g": 1.3, "target": "random"} if task == "target" else BASE | WHERE.get(name, {})
    if base.get("init", "uniform") != "uniform":
        base = {key: value for key, value in base.items() if key != "p"}
    changed = base | {name: OTHERWISE[name]}
    if name == "init":
        changed.pop("p")
    pair = [train(task, [draw(space, 0, 1)], epochs=1) for space in (base, changed)]
    one, other = (weights(module) for module in pair)
    assert any(one[n].shape != other[n].shape or not torch.equal(one[n], other[n]) for n in one if n in other)


def test_every_hyperparameter_is_declared_by_some_task():
    declared = {name for kind, _ in TASKS.values() for name in kind.reads} | {"variant_seed"}
    assert declared == set(HYPERPARAMETERS) == set(OTHERWISE)


MIXED = [
    {"schedule": "cosine", "warmup": 0.1, "weight_decay": 0.1, "gradient_clip": 0.05, "dropout": 0.4},
    {"schedule": "step", "keep": 0.4, "label_smoothing": 0.2, "init": "orthogonal", "forget_bias": 1.0},
    {"learning_rate": 0.05, "keep": 0.7, "readout": "mean", "init": "default", "gain": 0.9, "beta1": 0.8},
    {"init": "spectral", "spectral_radius": 0.8, "gradient_clip": math.inf, "dropout": 0.2, "keep": 0.6},
]


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "rnn_relu"])
def test_a_pack_that_differs_in_everything_equals_its_members(task, cell, layers):
    own = [{k: x for k, x in mix.items() if task == "classification" or k != "label_smoothing"} for mix in MIXED]
    variants = [variant(n, cell=cell, layers=layers, **mix) for n, mix in enumerate(own)]
    together = train(task, variants)
    for v, one in enumerate(variants):
        alone = train(task, [one])
        for (name, a), (_, b) in zip(together.named_parameters(), alone.named_parameters(), strict=True):
            torch.testing.assert_close(a[v], b[0], rtol=1e-9, atol=1e-11, msg=lambda m, name=name: f"{name}: {m}")
        for name, values in together.metrics.items():
            torch.testing.assert_close(values[v], alone.metrics[name][0], rtol=1e-9, atol=1e-11)


class NoisyCell(nn.Module):
    """A scalar parameter, an option, and noise."""

    def __init__(self, input_size, hidden_size, scale=0.1):
        super().__init__()
        self.scale, self.slope = scale, nn.Parameter(torch.tensor(0.5))
        self.W, self.U = nn.Linear(hidden_size, hidden_size), nn.Linear(input_size, hidden_size)

    def forward(self, x, h, noise=0.0):
        return torch.tanh(self.slope * self.W(h) + self.U(x)) + self.scale * noise


@pytest.mark.parametrize("cell", ["janet", "scrn", "co_rnn", f"{__name__}.NoisyCell"])
def test_a_pack_of_any_cell_that_differs_in_everything_equals_its_members(cell, monkeypatch):
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or SimpleNamespace(NoisyCell=NoisyCell))
    own = [{"scale": 0.1}, {"scale": 0.3}, {"scale": 0.1}, {"scale": 0.0}] if "Noisy" in cell else [{}] * 4
    mixed = [{k: x for k, x in mix.items() if k != "forget_bias"} for mix in MIXED]
    variants = [variant(n, cell=cell, layers=2, **mix, **o) for n, (mix, o) in enumerate(zip(mixed, own, strict=True))]
    together = train("classification", variants, epochs=2)
    for v, one in enumerate(variants):
        alone = train("classification", [one], epochs=2)
        for (name, a), (_, b) in zip(together.named_parameters(), alone.named_parameters(), strict=True):
            torch.testing.assert_close(a[v], b[0], rtol=1e-8, atol=1e-10, msg=lambda m, name=name: f"{name}: {m}")


def test_a_member_with_options_trains_as_an_ordinary_network_does():
    """nn.LSTM with two layers, AdamW, cosine schedule, clipping by norm, label smoothing and a mean readout."""
    chosen = {"layers": 2, "optimizer": "adamw", "weight_decay": 0.1, "schedule": "cosine", "gradient_clip": 0.05}
    one = variant(5, p=1.5, readout="mean", label_smoothing=0.1, keep=0.5, **chosen)
    data = small_data()
    module = SequenceClassification(data, [one]).double()
    lstm, readout = nn.LSTM(3, 6, 2, batch_first=True).double(), nn.Linear(6, 3).double()
    start = {name: tensor.detach().clone() for name, tensor in module.network.state_dict().items()}
    lstm.load_state_dict({name: tensor[0] for name, tensor in start.items() if not name.startswith("readout")})
    readout.load_state_dict({"weight": start["readout_weight"][0], "bias": start["readout_bias"][0]})
    everything = [*lstm.parameters(), *readout.parameters()]
    adam = torch.optim.AdamW(everything, lr=0.01, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 3 * 4)
    seed = one.seeds["shuffle"]
    kept = torch.randperm(60, generator=torch.Generator().manual_seed(seed_for(seed, "keep")))[:30]
    for epoch in range(3):
        order = kept[torch.randperm(30, generator=torch.Generator().manual_seed(seed_for(seed, epoch)))]
        for batch in order.split(8):
            outputs = readout(lstm(data.train.x[batch])[0].mean(1))
            adam.zero_grad()
            nn.functional.cross_entropy(outputs, data.train.y[batch], label_smoothing=0.1).backward()
            nn.utils.clip_grad_norm_(everything, 0.05)
            adam.step()
            schedule.step()
    trainer(max_epochs=3).fit(module)
    # PyTorch adds 1e-6 to the norm.
    torch.testing.assert_close(module.network.weight_hh_l1[0], lstm.weight_hh_l1, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(module.network.weight_ih_l0[0], lstm.weight_ih_l0, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("error", ["squared", "absolute"])
def test_regression_is_that_of_an_ordinary_network(error, every):
    data = regression_data(every)
    module = SequenceRegression(data, [variant(3, cell="gru", gradient_clip=math.inf)], error=error).double()
    gru, readout = nn.GRU(3, 6, batch_first=True).double(), nn.Linear(6, 2).double()
    start = {name: tensor.detach().clone() for name, tensor in module.network.state_dict().items()}
    gru.load_state_dict({name: tensor[0] for name, tensor in start.items() if not name.startswith("readout")})
    readout.load_state_dict({"weight": start["readout_weight"][0], "bias": start["readout_bias"][0]})
    adam = torch.optim.Adam([*gru.parameters(), *readout.parameters()], lr=0.01)
    criterion = nn.MSELoss() if error == "squared" else nn.L1Loss()

    def loss_on(part: Part, at) -> torch.Tensor:
        h = gru(part.x[at])[0]
        return criterion(readout(h if every else h[:, -1]), part.y[at])

    for epoch in range(3):
        seed = module.variants[0].seeds["shuffle"]
        for batch in torch.randperm(40, generator=torch.Generator().manual_seed(seed_for(seed, epoch))).split(8):
            adam.zero_grad()
            loss_on(data.train, batch).backward()
            adam.step()
    trainer(max_epochs=3).fit(module)
    torch.testing.assert_close(module.network.weight_hh_l0[0], gru.weight_hh_l0, rtol=1e-9, atol=1e-11)
    expected = loss_on(data.val, slice(None)).detach()
    torch.testing.assert_close(module.metrics["val_loss"][0], expected, rtol=1e-9, atol=1e-11)
    example = module.example_outputs()
    assert example["output"].shape == example["target"].shape == ((1, 5) if every else (1, 20))


@pytest.mark.parametrize(
    ("data", "options", "says"),
    [
        (small_data, {}, r"targets of shape \[60\].*\[n, 5, O\]"),
        (regression_data, {"error": "cubed"}, "error=cubed: choose squared or absolute"),
    ],
)
def test_regression_refuses_what_it_cannot_learn(data, options, says):
    with pytest.raises(UserError, match=says):
        SequenceRegression(data(), [variant(0)], **options)


def test_a_mean_over_steps_is_refused_where_every_step_is_asked_for():
    with pytest.raises(UserError, match="readout=mean"):
        SequenceRegression(regression_data(), [variant(0, readout="mean")])


def test_every_step_of_a_sequence_can_be_classified():
    data = small_data()
    parts = [Part(part.x, (part.x.sum(2) > 1.5).long()) for part in (data.train, data.val, data.test)]
    module = SequenceClassification(Sequences(*parts, classes=2), [variant(0), variant(1)]).double()
    trainer(max_epochs=30).fit(module)
    assert (module.metrics["val_accuracy"] > 0.8).all() and module.example_outputs() == {}


def test_dropout_between_layers_leaves_evaluation_alone():
    dropped, plain = (
        SequenceClassification(small_data(), [variant(0, layers=2, dropout=rate)]).double() for rate in (0.5, 0.0)
    )
    x = small_data().val.x[None]
    assert torch.equal(dropped(x), plain(x))
    trainer(max_epochs=1).fit(dropped)
    assert not torch.equal(dropped.training_outputs(x, 0), dropped(x))
