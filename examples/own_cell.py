"""A cell of one's own: how its leak sets what a network forgets, before and after it has learned to add.

    python examples/own_cell.py

In `train.py` the same cell is `cell=own_cell.LeakyRNN`, with this folder on PYTHONPATH (docs/own-cell.md). The picture
is written to `own_cell.svg`.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

import aelle
from aelle.data import adding
from aelle.tasks import SequenceRegression
from aelle.variants import draw


class LeakyRNN(nn.Module):
    """h' = (1 − leak) h + leak tanh(W h + U x + b), one step."""

    def __init__(self, input_size: int, hidden_size: int, leak: float = 1.0):
        super().__init__()
        self.leak, self.W, self.U = (
            leak,
            nn.Linear(hidden_size, hidden_size, bias=False),
            nn.Linear(input_size, hidden_size),
        )

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return (1 - self.leak) * h + self.leak * torch.tanh(self.W(h) + self.U(x))


def main(epochs: int = 20) -> tuple[dict[int, aelle.Spectrum], Tensor]:
    space = {"cell": "own_cell.LeakyRNN", "leak": [0.05, 0.2, 0.8], "hidden_size": 32, "init": "default"}
    variants = [draw({**space, "learning_rate": 0.02, "batch_size": 50}, seed=0, number=number) for number in range(3)]
    data = adding(steps=20, train=1000)
    lyapunov = aelle.LyapunovCallback("network", probe=data.probe(8), every_n_epochs=epochs)
    module = SequenceRegression(data, variants)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    pl.Trainer(max_epochs=epochs, callbacks=[lyapunov], **quiet).fit(module)
    plt.style.use(Path(__file__).with_name("gallery.mplstyle"))
    figure, panels = plt.subplots(1, 2, sharey=True)
    for axes, (epoch, spectrum) in zip(panels, lyapunov.spectra.items(), strict=True):
        for variant, exponents in zip(variants, spectrum.exponents, strict=True):
            axes.plot(range(1, 33), exponents, label=f"leak {variant.value('leak')}")
        axes.set(title=f"after epoch {epoch}" if epoch else "before training", xlabel="index", ylim=(-3, 0.3))
    panels[0].set_ylabel("Lyapunov exponent\n(nats per step)")
    panels[1].legend()
    figure.savefig("own_cell.svg")
    for variant, loss in zip(variants, module.metrics["val_loss"], strict=True):
        print(f"leak {variant.value('leak')}: mean squared error {loss:.4f}")
    return lyapunov.spectra, module.metrics["val_loss"]


if __name__ == "__main__":
    main()
