"""Character prediction: what a population, its lookup, its dropout and its loss must be equal to."""

import math

import pytest
import torch

from aelle.data.text import characters
from aelle.tasks import CharacterPrediction
from aelle.tasks.initialization import Initialization
from aelle.tasks.module import ShuffledBatches
from aelle.tasks.population import Population
from aelle.variants import Variant
from trainings import trainer

TEXT = "It was in July, 1805, and the speaker was the well-known Anna Pavlovna Scherer. " * 60


@pytest.fixture(autouse=True)
def _one_thread():
    """Networks of five units only lose by a second one."""
    torch.set_num_threads(1)


def variant(number: int, p: float = 0.3, **changes) -> Variant:
    hyperparameters = {"cell": "lstm", "hidden_size": 5, "p": p, "learning_rate": 0.01, "batch_size": 8}
    hyperparameters |= {"keep": 0.6, "dropout": 0.3, **changes}
    return Variant(number, hyperparameters, {"init": 100 + number, "shuffle": 200 + number})


def train(variants: list[Variant], predict: str = "every", **options) -> CharacterPrediction:
    module = CharacterPrediction(characters(TEXT, predict), variants).double()
    trainer(max_epochs=6, **options).fit(module)
    return module


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_population_equals_its_members(cell):
    """Eighteen steps of Adam in float64, with dropout, each variant on its own share of the sequences."""
    variants = [variant(n, p, cell=cell) for n, p in enumerate((0.1, 0.3, 0.8))]
    together = train(variants)
    assert len(together.batches) == 3
    for v, one in enumerate(variants):
        alone = train([one])
        for (name, a), (_, b) in zip(together.named_parameters(), alone.named_parameters(), strict=True):
            torch.testing.assert_close(a[v], b[0], rtol=1e-9, atol=1e-11, msg=lambda m, name=name: f"{name}: {m}")
        for name, values in together.metrics.items():
            torch.testing.assert_close(values[v], alone.metrics[name][0], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_lookup_equals_its_one_hot_form_and_its_gradient(cell):
    network = Population(
        cell, 7, 4, 7, [Initialization(p=0.5), Initialization(p=0.9)], [1, 2], recurrent_bias=False
    ).double()
    torch.nn.init.normal_(network.bias_ih_l0)
    x = torch.randint(7, (2, 3, 6), generator=torch.Generator().manual_seed(0))
    gradients = []
    for form in (x, torch.nn.functional.one_hot(x, 7).double()):
        network.zero_grad()
        logits = network(form)
        logits.square().sum().backward()
        gradients.append([logits, *(p.grad.clone() for p in network.parameters())])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("predict", ["every", "last"])
def test_a_readout_of_zeros_has_the_loss_of_guessing(predict):
    module = CharacterPrediction(characters(TEXT, predict), [variant(0), variant(1)]).double()
    module.network.readout_weight.data.zero_()
    module.network.readout_bias.data.zero_()
    trainer().validate(module, verbose=False)
    guessing = math.log(len(module.data.alphabet))
    torch.testing.assert_close(module.metrics["val_loss"], torch.full((2,), guessing, dtype=torch.float64))


def test_the_loss_is_the_mean_over_every_character():
    module = train([variant(0)])
    data = module.data.val
    logits = module(data.x[None])[0]
    mean = torch.nn.functional.cross_entropy(logits.flatten(0, 1), data.y.flatten())
    torch.testing.assert_close(module.metrics["val_loss"][0], mean.detach())
    last = train([variant(0)], "last")
    assert last(data.x[None]).shape == (1, len(data.x), len(module.data.alphabet))


def test_the_recurrent_bias_stays_zero_and_the_other_is_trained():
    module = train([variant(0)])
    assert not module.network.bias_hh_l0.any() and module.network.bias_ih_l0.any()


def test_dropout_leaves_its_share_and_depends_on_variant_epoch_and_batch_alone():
    module = CharacterPrediction(characters(TEXT, "every"), [variant(0), variant(1)])
    trainer(max_epochs=1).fit(module)
    h = torch.ones(2, 8, 100, 5)
    mask = module.dropped(h, 0)
    assert (mask > 0).double().mean().item() == pytest.approx(0.7, abs=0.03)
    assert mask.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert torch.equal(mask, module.dropped(h, 0)) and not torch.equal(mask, module.dropped(h, 1))
    assert not torch.equal(mask[0], mask[1])
    alone = CharacterPrediction(characters(TEXT, "every"), [variant(1)])
    trainer(max_epochs=1).fit(alone)
    assert torch.equal(alone.dropped(h[:1], 0)[0], mask[1])


def test_each_variant_keeps_a_share_of_its_own():
    epoch = 0
    batches = ShuffledBatches(50, 8, [1, 2], lambda: epoch, keep=0.2)
    first = torch.cat(list(batches), dim=1)
    assert len(batches) == 2 and first.shape == (2, 10)
    assert set(first[0].tolist()) != set(first[1].tolist())
    epoch = 1
    second = torch.cat(list(batches), dim=1)
    assert not torch.equal(first, second) and torch.equal(first.sort(1).values, second.sort(1).values)


def test_variants_that_are_left_visit_the_samples_that_they_would_visit_alone():
    """After those with more samples were taken out, further batches are empty."""
    batches = ShuffledBatches(50, 8, [1, 2, 3], lambda: 1, keep=[1.0, 0.5, 0.3])
    whole = list(batches)
    assert len(whole) == len(batches) == 7 and batches.steps == [7, 4, 2]
    assert [int((batch[1] >= 0).sum()) for batch in whole] == [8, 8, 8, 1, 0, 0, 0]
    batches.take([1, 2])
    left, alone = list(batches), list(ShuffledBatches(50, 8, [2, 3], lambda: 1, keep=[0.5, 0.3]))
    assert len(left) == len(batches) == 7 and len(alone) == 4
    assert all(torch.equal(a, b) for a, b in zip(left, alone, strict=False))
    assert all((batch == -1).all() for batch in left[4:])
    assert [batches.incomplete(number) for number in range(7)] == [True] * 7
    batches.take([1])
    assert [batches.incomplete(number) for number in range(7)] == [False, False, *[True] * 5]


def test_the_example_is_a_text_and_how_well_each_character_was_foreseen():
    module = train([variant(0), variant(1)])
    example = module.example_outputs()
    assert example["input"][0][1:] == example["right"][0][:-1] and example["input"][1] in TEXT
    assert example["probability"].shape == (2, 100)
    mean = -example["probability"].log().mean(1)
    logits = module(module.val_x[:1].expand(2, 1, -1))[:, 0]
    for v in range(2):
        torch.testing.assert_close(mean[v], torch.nn.functional.cross_entropy(logits[v], module.val_y[0]).detach())
