"""A population equals its members, the callback changes nothing, a diverged variant spoils nothing."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from aelle.data.images import Part, Sequences
from aelle.memory import limited
from aelle.seeds import seed_for
from aelle.tasks import SequenceClassification
from aelle.tasks.module import ShuffledBatches
from aelle.training.lyapunov_callback import LyapunovCallback
from aelle.variants import Variant
from trainings import small_data, trainer, variant


def train(variants: list[Variant], callbacks=(), epochs: int = 4, data: Sequences | None = None, **options):
    module = SequenceClassification(data or small_data(), variants).double()
    trainer(callbacks, max_epochs=epochs, **options).fit(module)
    return module


@pytest.mark.parametrize(
    "options", [{}, {"gradient_clip_val": 0.05}, {"gradient_clip_val": 1e-3, "gradient_clip_algorithm": "value"}]
)
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_population_equals_its_members(cell, options):
    """Thirty-two steps of Adam in float64."""
    variants = [variant(n, p, cell=cell) for n, p in enumerate((0.3, 0.8, 2.5))]
    together = train(variants, **options)
    for v, one in enumerate(variants):
        alone = train([one], **options)
        for (name, a), (_, b) in zip(together.named_parameters(), alone.named_parameters(), strict=True):
            torch.testing.assert_close(a[v], b[0], rtol=1e-9, atol=1e-11, msg=lambda m, name=name: f"{name}: {m}")
        for name, values in together.metrics.items():
            torch.testing.assert_close(values[v], alone.metrics[name][0], rtol=1e-9, atol=1e-11)


def test_a_member_trains_as_an_ordinary_network_does():
    """The same variant, trained by a loop over nn.LSTM, nn.Linear and torch.optim.Adam."""
    one = variant(5, p=1.5)
    data = small_data()
    start = SequenceClassification(data, [one]).double().network
    lstm, readout = nn.LSTM(3, 6, batch_first=True).double(), nn.Linear(6, 3).double()
    with torch.no_grad():
        for name, parameter in lstm.named_parameters():
            parameter.copy_(getattr(start, name)[0])
        readout.weight.copy_(start.readout_weight[0])
        readout.bias.copy_(start.readout_bias[0])
    adam = torch.optim.Adam([*lstm.parameters(), *readout.parameters()], lr=0.01)
    for epoch in range(4):
        order = torch.randperm(60, generator=torch.Generator().manual_seed(seed_for(one.seeds["shuffle"], epoch)))
        total = 0.0
        for batch in order.split(8):
            loss = nn.functional.cross_entropy(readout(lstm(data.train.x[batch])[0][:, -1]), data.train.y[batch])
            adam.zero_grad()
            loss.backward()
            adam.step()
            total += loss.item() * len(batch)
    module = train([one])
    torch.testing.assert_close(module.network.weight_hh_l0[0], lstm.weight_hh_l0, rtol=1e-9, atol=1e-11)
    val = nn.functional.cross_entropy(readout(lstm(data.val.x)[0][:, -1]), data.val.y)
    torch.testing.assert_close(module.metrics["val_loss"][0], val.detach(), rtol=1e-9, atol=1e-11)
    assert module.metrics["train_loss"][0].item() == pytest.approx(total / 60)


def test_training_with_the_callback_equals_training_without_it_bit_for_bit():
    variants = [variant(0), variant(1, 3.0)]
    probe = small_data().probe(4)
    watched = train(variants, [LyapunovCallback("network", probe, test_probe=probe, over="full")])
    plain = train(variants)
    for (name, a), (_, b) in zip(watched.state_dict().items(), plain.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


def test_a_diverged_variant_is_frozen_and_the_others_go_on():
    variants = [variant(0), variant(1), variant(2)]

    class Poison(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.current_epoch == 1 and batch_idx == 2:
                pl_module.network.weight_hh_l0.data[1] = float("nan")

    poisoned = train(variants, [Poison()])
    plain = train([variants[0], variants[2]])
    assert poisoned.diverged().tolist() == [False, True, False]
    for (name, a), (_, b) in zip(poisoned.named_parameters(), plain.named_parameters(), strict=True):
        torch.testing.assert_close(a[[0, 2]], b, rtol=1e-9, atol=1e-11, msg=lambda m, name=name: f"{name}: {m}")
    assert torch.isnan(poisoned.metrics["val_loss"][1]) and poisoned.metrics["val_loss"][[0, 2]].isfinite().all()


def test_an_infinite_gradient_stops_its_variant_alone():
    module = SequenceClassification(small_data(), [variant(0), variant(1)]).double()
    batch = next(iter(ShuffledBatches(60, 8, [1, 2], lambda: 0)))
    module.training_step(batch, 0).backward()
    module.network.weight_ih_l0.grad[0, 0, 0] = float("inf")
    module.configure_gradient_clipping(None)
    assert module.diverged().tolist() == [True, False]
    assert (module.network.weight_hh_l0.grad[0] == 0).all() and (module.network.weight_hh_l0.grad[1] != 0).any()


def test_each_variant_visits_every_sample_once_an_epoch_in_an_order_of_its_own():
    epoch = 0
    batches = ShuffledBatches(23, 5, [1, 2], lambda: epoch)
    first = torch.cat(list(batches), dim=1)
    assert len(batches) == 5 and first.shape == (2, 23)
    assert (first.sort(1).values == torch.arange(23)).all() and not torch.equal(first[0], first[1])
    epoch = 1
    assert not torch.equal(first, torch.cat(list(batches), dim=1))
    alone = ShuffledBatches(23, 5, [2], lambda: 0)
    assert torch.equal(torch.cat(list(alone), dim=1)[0], first[1])


def test_an_untrained_readout_of_zeros_has_the_loss_of_guessing():
    module = SequenceClassification(small_data(), [variant(0), variant(1)]).double()
    module.network.readout_weight.data.zero_()
    module.network.readout_bias.data.zero_()
    trainer().validate(module, verbose=False)
    torch.testing.assert_close(module.metrics["val_loss"], torch.full((2,), 3.0, dtype=torch.float64).log())


def test_the_example_is_what_a_network_thinks_of_one_image_of_each_class():
    module = train([variant(0), variant(1)])
    example = module.example_outputs()
    labels = module.val_y.tolist()
    assert example["classes"] == [[0, 1, 2]] * 2
    for i in range(3):
        x = module.val_x[labels.index(i)]
        logits = module(x.expand(2, 1, *x.shape))[:, 0]
        torch.testing.assert_close(example["class_probabilities"][:, i], logits.softmax(-1).detach())


def test_an_evaluation_is_cut_to_the_memory_that_is_available_and_gives_the_same():
    module = train([variant(0), variant(1)])
    whole, rows = module.evaluated("val"), module.rows
    with limited(3 * module.evaluation_bytes):
        assert module.rows == 3 < rows
        capped = module.evaluated("val")
    with limited(1):
        assert module.rows == 1
    for name, values in whole.items():
        torch.testing.assert_close(capped[name], values)


@pytest.mark.parametrize("steps, inputs, V", [(28, 28, 200), (784, 1, 200), (784, 1, 10), (5, 3000, 4), (1, 3, 1)])
def test_an_evaluation_fits_the_memory_of_a_device(steps, inputs, V):
    """The hidden states of all variants and steps, or their inputs, and a step's preactivations are bounded."""
    part = Part(torch.zeros(2, steps, inputs), torch.zeros(2, dtype=torch.long))
    H, data = 64, Sequences(part, part, part, classes=2)
    variants = [variant(n, hidden_size=H, batch_size=2) for n in range(V)]
    module = SequenceClassification(data, variants)
    assert module.rows == max(1, 2**20 // (V * 4 * H))
    rows = module.to("meta").rows
    assert V * rows * steps * max(H, inputs) <= 2**28 and V * rows * 4 * H <= 2**25
    assert V * (rows + 1) * steps * max(H, inputs) > 2**28 or V * (rows + 1) * 4 * H > 2**25
