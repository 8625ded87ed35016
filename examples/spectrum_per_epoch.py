"""The spectrum of a GRU after every epoch of its training, measured by a callback.

    python examples/spectrum_per_epoch.py

The GRU learns the sign of the sum of a noisy sequence, which takes memory. Its LightningModule does not use aelle; the
callback finds it by its attribute name. The picture is written to `spectrum_per_epoch.svg`.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import aelle


class SignOfSum(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.rnn, self.readout = nn.GRU(1, 24, batch_first=True), nn.Linear(24, 1)

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        x, y = batch
        return nn.functional.binary_cross_entropy_with_logits(self.readout(self.rnn(x)[0][:, -1])[:, 0], y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def main(epochs: int = 5) -> dict[int, aelle.Spectrum]:
    pl.seed_everything(0, verbose=False)
    x = torch.randn(1024, 30, 1)
    loader = DataLoader(TensorDataset(x, (x.sum((1, 2)) > 0).float()), batch_size=64, shuffle=True)
    lyapunov = aelle.LyapunovCallback("rnn", probe=torch.randn(16, 30, 1))
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    pl.Trainer(max_epochs=epochs, callbacks=[lyapunov], **quiet).fit(SignOfSum(), loader)
    plt.style.use(Path(__file__).with_name("gallery.mplstyle"))
    figure, axes = plt.subplots()
    for epoch, spectrum in lyapunov.spectra.items():
        color = plt.get_cmap("viridis")(0.25 + 0.7 * epoch / epochs)
        axes.errorbar(range(1, 25), spectrum.exponents, spectrum.stderr, color=color, label=f"epoch {epoch}")
        print(f"epoch {epoch}: largest exponent {spectrum.maximum:+.3f} ± {spectrum.stderr[0]:.3f} nats per step")
    axes.set(xlabel="index", ylabel="Lyapunov exponent (nats per step)")
    axes.legend()
    figure.savefig("spectrum_per_epoch.svg")
    return lyapunov.spectra


if __name__ == "__main__":
    main()
