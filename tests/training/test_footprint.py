"""What a pack needs, as estimated from one variant and a few sequences, and as counted while it trains."""

import numpy as np
import pytest
import torch

from aelle.data.memory import adding, recall
from aelle.data.sines import FourSines
from aelle.memory import TooLargeError, limited
from aelle.tasks import SequenceClassification, SequenceRegression, TargetLearning
from aelle.training import footprint as module
from aelle.training.footprint import MODULE_SLACK, SLACK, Footprint, Live, footprint, variants_together
from aelle.training.parts import Parts
from trainings import variant

V = 4


def recalled(n: int):
    return recall(12, 0.0, train=n)


def added(n: int):
    return adding(12, train=n)


def parts(task, data, **trainer) -> Parts:
    """What an estimate reads of them."""
    made = object.__new__(Parts)
    made.config = {
        "trainer": {"precision": "32-true", **trainer},
        "lyapunov": {"over": "hidden", "k": None},
    }
    made.data, made.module, made.device = data, task, torch.device("cpu")
    return made


def counted(made: Parts, variants, steps: int = 3) -> int:
    """The most bytes of a pack's own tensors at any time of some steps."""
    with Live() as live:
        pack = made.module(made.data, variants)
        optimizer = pack.configure_optimizers()
        for number, batch in zip(range(steps), pack.train_dataloader(), strict=False):
            loss = pack.training_step(batch, number)
            optimizer.zero_grad()
            loss.backward()
            del loss
            pack.configure_gradient_clipping(optimizer)
            optimizer.step()
    return live.peak


@pytest.mark.parametrize(
    "changes",
    [
        {"cell": "lstm", "hidden_size": 32},
        {"cell": "gru", "hidden_size": 48, "layers": 2},
        {"cell": "rnn", "hidden_size": 128, "batch_size": 4},
        {"cell": "lstm", "hidden_size": 16, "layers": 2, "dropout": 0.2},
        {"cell": "mgu", "hidden_size": 24},
        {"cell": "rnn", "hidden_size": 64, "optimizer": "sgd"},
    ],
)
@pytest.mark.parametrize("task, data", [(SequenceClassification, recalled), (SequenceRegression, added)])
def test_an_estimate_is_close_to_what_is_taken(task, data, changes):
    changes = {"batch_size": 40, **changes}
    made, variants = parts(task, data(400)), [variant(n, **changes) for n in range(V)]
    needed = footprint(made, variants[0])
    slack = MODULE_SLACK if changes["cell"] == "mgu" else SLACK
    estimated = needed.shared / SLACK + V * (needed.kept + needed.step) / slack
    assert 0.9 < estimated / counted(made, variants) < 1.6


def test_nothing_is_changed_by_estimating():
    made = parts(SequenceClassification, recall(4, 0.0))
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    footprint(made, variant(0, cell="mgu", dropout=0.5))
    assert torch.equal(torch.get_rng_state(), before[0]) and (np.random.get_state()[1] == before[1]).all()


def test_double_precision_takes_twice_the_memory():
    data, one = recall(6, 0.0), variant(0, cell="lstm", hidden_size=64, batch_size=40)
    single, double = (footprint(parts(SequenceClassification, data, precision=p), one) for p in ("32-true", "64-true"))
    assert double.step / single.step == pytest.approx(2, rel=0.2)


def test_a_network_without_gradients_needs_what_it_keeps():
    made = parts(TargetLearning, FourSines())
    needed = footprint(made, variant(0, hidden_size=100, g=1.5, target=0))
    assert needed.step == 0 and needed.kept > 2 * 4 * 100**2


def test_a_step_that_only_a_trainer_can_make_counts_by_its_weights():
    class Own(SequenceClassification):
        def trial_loss(self, sequences):
            return self.trainer.current_epoch * super().trial_loss(sequences)

    needed = footprint(parts(Own, recall(4, 0.0)), variant(0, hidden_size=64))
    assert needed.step == 0 and needed.kept > 6 * 4 * 4 * 64**2


def test_a_step_that_fails_by_a_mistake_of_the_task_s_counts_by_its_weights():
    class Mistaken(SequenceClassification):
        def losses(self, outputs, y):
            raise KeyError("no such thing")

    needed = footprint(parts(Mistaken, recalled(64)), variant(0))
    assert needed.kept > 0 and needed.step == 0


def test_as_many_variants_fit_as_leave_an_eighth():
    needed = Footprint(shared=100, kept=10, step=40, spectrum=20, recorded=False)
    assert needed.most(1000) == (875 - 100) // 50 and needed.of(3) == 100 + 30 + 120 and needed.lasting(3) == 130
    assert needed._replace(step=0).most(150) == 3 and needed._replace(spectrum=1000).most(1120) == 2
    on_gpu = needed._replace(recorded=True)
    assert on_gpu.lasting(3) == 250 and on_gpu.of(3) == 270 and on_gpu.most(1000) == 15


def test_a_pack_takes_what_fits_and_an_error_says_what_one_needs():
    needed, made = Footprint(0, 10**6, 10**7, 10**5, False), parts(SequenceClassification, recall(4, 0.0))
    with limited(10**8):
        assert variants_together(needed, 20, made) == 7 and variants_together(needed, 5, made) == 5
    with limited(1.15 * 10**7):
        assert variants_together(needed, 20, made) == 1
    message = r"one network needs about 11 MB .*step 10 MB.* 1.0 MB are available on cpu: .*trainer.memory"
    with limited(10**6), pytest.raises(TooLargeError, match=message):
        variants_together(needed, 20, made)


def test_on_a_gpu_what_is_left_there_decides(monkeypatch):
    """The tensors of a pack before may be in the way until they are collected."""
    made, free = parts(SequenceClassification, recall(4, 0.0)), iter([2 * 10**7, 10**8])
    made.device = torch.device("cuda", 0)
    monkeypatch.setattr(module, "available", lambda device: next(free))
    assert variants_together(Footprint(0, 10**6, 10**7, 10**5, True), 20, made) == 7
