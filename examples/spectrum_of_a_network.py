"""When a random network becomes chaotic: its Lyapunov spectrum at four gains of its recurrent weights.

    python examples/spectrum_of_a_network.py

Without inputs, a large tanh network with independent weights of standard deviation g / √H is chaotic for g > 1
(Sompolinsky, Crisanti & Sommers 1988). The picture is written to `spectrum_of_a_network.svg`.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import nn

import aelle


@torch.no_grad()
def main() -> dict[float, aelle.Spectrum]:
    torch.manual_seed(0)
    network, inputs = nn.RNN(4, 100, bias=False, batch_first=True), 0.1 * torch.randn(8, 400, 4)  # [B, T, I]
    weights = torch.randn(100, 100) / 10
    spectra = {}
    plt.style.use(Path(__file__).with_name("gallery.mplstyle"))
    figure, axes = plt.subplots()
    for gain in (0.5, 1.0, 1.5, 2.0):
        network.weight_hh_l0.copy_(gain * weights)
        spectra[gain] = spectrum = aelle.lyapunov_spectrum(network, inputs, warmup=200)
        axes.plot(range(1, 101), spectrum.exponents, label=f"g = {gain}")
        print(f"g = {gain}: largest exponent {spectrum.maximum:+.3f} ± {spectrum.stderr[0]:.3f} nats per step")
    axes.axhline(0, color="0.5", linewidth=0.8)
    axes.set(xlabel="index", ylabel="Lyapunov exponent (nats per step)", ylim=(-3, 0.5))
    axes.legend()
    figure.savefig("spectrum_of_a_network.svg")
    return spectra


if __name__ == "__main__":
    main()
