"""Train a GRU with Lightning and plot its Lyapunov spectrum per epoch: `python examples/spectrum_per_epoch.py`.

The task is to classify the sign of the sum of a noisy sequence, which requires memory. The LightningModule does not use
aelle; the callback finds the GRU by its attribute name. The plot is written to `spectrum_per_epoch.html`.
"""

import argparse
from pathlib import Path

import plotly.graph_objects as go
import pytorch_lightning as pl
import torch
from plotly.colors import sample_colorscale
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import aelle


class SignOfSum(pl.LightningModule):
    def __init__(self, hidden_size: int = 24):
        super().__init__()
        self.rnn = nn.GRU(1, hidden_size, batch_first=True)
        self.readout = nn.Linear(hidden_size, 1)

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        x, y = batch
        logits = self.readout(self.rnn(x)[0][:, -1])[:, 0]
        loss = nn.functional.binary_cross_entropy_with_logits(logits, y)
        self.log("train_loss", loss, on_epoch=True, on_step=False)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def figure(spectra: dict[int, aelle.Spectrum]) -> go.Figure:
    """One line per epoch: exponent against its index fraction."""
    colors = sample_colorscale("Viridis", [epoch / max(1, *spectra) for epoch in spectra])
    lines = []
    for (epoch, spectrum), color in zip(spectra.items(), colors, strict=True):
        K = len(spectrum.exponents)
        fraction = [i / (K - 1) for i in range(K)]
        error = {"type": "data", "array": spectrum.stderr.tolist(), "thickness": 1}
        lines.append(
            go.Scatter(
                x=fraction, y=spectrum.exponents.tolist(), error_y=error, name=f"epoch {epoch}", line_color=color
            )
        )
    return go.Figure(lines, {"xaxis_title": "index fraction", "yaxis_title": "Lyapunov exponent (nats per step)"})


def main(epochs: int, output: Path) -> dict[int, aelle.Spectrum]:
    pl.seed_everything(0, verbose=False)
    x = torch.randn(1024, 30, 1)
    loader = DataLoader(TensorDataset(x, (x.sum((1, 2)) > 0).float()), batch_size=64, shuffle=True)
    lyapunov = aelle.LyapunovCallback("rnn", probe=torch.randn(16, 30, 1))
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[lyapunov],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(SignOfSum(), loader)
    for epoch, spectrum in lyapunov.spectra.items():
        largest, error = spectrum.maximum.item(), spectrum.stderr[0].item()
        print(f"epoch {epoch}: largest exponent {largest:+.3f} ± {error:.3f} nats per step")
    figure(lyapunov.spectra).write_html(output, include_plotlyjs="cdn")
    return lyapunov.spectra


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("spectrum_per_epoch.html"))
    arguments = parser.parse_args()
    main(arguments.epochs, arguments.output)
