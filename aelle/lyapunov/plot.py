"""A spectrum as a figure."""

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aelle.lyapunov.spectrum import Spectrum

MAX_CURVES = 64
"""Exponents whose convergence is drawn, evenly chosen: more cannot be told apart."""


def plot(spectrum: Spectrum, axes: Any = None) -> Figure:
    """Exponents of one network against their index, and their running means; see `Spectrum.plot`."""
    if spectrum.exponents.ndim != 1:
        raise ValueError(
            f"a spectrum of {len(spectrum.exponents)} networks: plot one, as spectrum.of_variant(0).plot()"
        )
    panels = 1 if spectrum.history is None else 2
    if axes is None:
        figure = Figure(figsize=(5 * panels, 3.5), layout="constrained")
        axes = figure.subplots(1, panels)
    drawn = np.ravel(axes)
    if len(drawn) != panels or not all(isinstance(one, Axes) for one in drawn):
        raise ValueError(f"axes={axes!r}: give {panels} matplotlib Axes, or none")
    unit = "nats per step" if spectrum.dt == 1 else "nats per unit of time"
    exponents, stderr = spectrum.exponents.cpu(), spectrum.stderr.cpu()
    index = torch.arange(1, len(exponents) + 1)
    known = None if stderr.isnan().all() else stderr
    drawn[0].errorbar(index, exponents, known, fmt="o-", markersize=3, linewidth=1, capsize=2)
    drawn[0].set(xlabel="index", ylabel=f"Lyapunov exponent ({unit})")
    if spectrum.history is not None:
        history = spectrum.history.cpu()
        chosen = np.unique(np.linspace(0, history.shape[1] - 1, min(MAX_CURVES, history.shape[1])).astype(int))
        drawn[1].plot(spectrum.dt * torch.arange(1, len(history) + 1), history[:, chosen], linewidth=1)
        drawn[1].set(xlabel="steps" if spectrum.dt == 1 else "time", ylabel=f"running mean ({unit})", xscale="log")
    for one in drawn:
        one.axhline(0, color="0.7", linewidth=0.8, zorder=0)
    return drawn[0].figure
