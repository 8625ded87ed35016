"""A task of one's own: 24 GRUs, trained side by side on one's own data, each with its own learning rate and weights.

    python examples/own_task.py

A sweep does the same from a file in conf/task, in packs that can be resumed (docs/own-task.md). The picture is written
to `own_task.svg`.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import pytorch_lightning as pl
import torch

import aelle
from aelle.data import Part, Sequences
from aelle.tasks import SequenceClassification
from aelle.variants import draw, values_of

SPACE = {
    **{"cell": "gru", "hidden_size": 12, "batch_size": 50},
    **{"learning_rate": "log_uniform(1e-4, 1)", "p": "log_uniform(0.1, 3)"},
}


def signs(n: int) -> Part:
    """Noisy sequences x [n, T, I], and their classes y [n]: is the sum above zero?"""
    x = torch.randn(n, 12, 1)
    return Part(x, (x.sum((1, 2)) > 0).long())


def main() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    data = Sequences(signs(400), signs(200), signs(200), classes=2)
    variants = [draw(SPACE, seed=0, number=number) for number in range(24)]
    lyapunov = aelle.LyapunovCallback("network", probe=data.probe(8))
    module = SequenceClassification(data, variants)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    pl.Trainer(max_epochs=8, callbacks=[lyapunov], **quiet).fit(module)
    rates, losses = torch.tensor(values_of(variants, "learning_rate")), module.metrics["val_loss"]  # [V]
    largest = lyapunov.spectra[0].maximum  # [V], before training
    plt.style.use(Path(__file__).with_name("gallery.mplstyle"))
    figure, (left, right) = plt.subplots(1, 2, sharey=True)
    left.scatter(rates, losses, c=largest)
    left.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="final loss (nats)")
    points = right.scatter(largest, losses, c=rates.log10())
    right.set(xlabel="largest exponent before training")
    figure.colorbar(points, label="log₁₀ learning rate")
    figure.savefig("own_task.svg")
    print(f"{int((losses < 0.15).sum())} of 24 networks end below 0.15 nats; the best has {losses.min():.3f}")
    return rates, losses, largest


if __name__ == "__main__":
    main()
