"""A variant's spectra over the epochs, drawn as a heat map."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from aelle.tracking.tracker import Picture

NAME = "lyapunov/spectrum"

LINEAR, LIMIT = 0.1, 10.0
"""Nats per step. Colours are linear up to the one and logarithmic up to the other; they mean the same in every picture,
white being zero."""

TICKS = (-10, -1, -0.1, 0, 0.1, 1, 10)

MAX_LABELS = 8
"""Of the epochs."""


def heat_maps(tables: Sequence[pa.Table]) -> Iterator[Picture]:
    """A picture of each variant whose spectrum was measured, from the tables of its epochs.

    A column of the heat map is an epoch at which it was measured, a row an exponent, the greatest at the top. Where the
    network has diverged it is grey.
    """
    measured: dict[int, list[tuple[int, np.ndarray]]] = {}
    last: dict[int, int] = {}
    for table in tables:
        spectra = table["spectrum"] if "spectrum" in table.column_names else pa.nulls(len(table))
        for number, epoch, spectrum in zip(
            table["variant"].to_pylist(), table["epoch"].to_pylist(), spectra, strict=True
        ):
            last[number] = epoch
            if spectrum.is_valid and len(spectrum):
                measured.setdefault(number, []).append((epoch, spectrum.values.to_numpy(zero_copy_only=False)))
    if measured:
        draw = _Drawing()
        for number, columns in measured.items():
            spectra = np.full((max(len(spectrum) for _, spectrum in columns), len(columns)), np.nan)
            for column, (_, spectrum) in enumerate(columns):
                spectra[: len(spectrum), column] = spectrum
            yield Picture(number, last[number], NAME, draw(spectra, [epoch for epoch, _ in columns]))


class _Drawing:
    """One figure for all variants: to make one for each takes longer than to fill it."""

    def __init__(self) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.colors import SymLogNorm
        from matplotlib.figure import Figure

        self.canvas = FigureCanvasAgg(Figure(figsize=(4.8, 3.2), dpi=100))
        figure = self.canvas.figure
        self.axes: Any = figure.add_axes((0.12, 0.15, 0.68, 0.81))
        colours = SymLogNorm(LINEAR, vmin=-LIMIT, vmax=LIMIT, base=10)
        self.image: Any = self.axes.imshow([[0.0]], cmap="RdBu_r", norm=colours, aspect="auto", interpolation="nearest")
        self.axes.set(xlabel="epoch", ylabel="exponent")
        self.axes.set_facecolor("0.8")
        figure.colorbar(
            self.image,
            figure.add_axes((0.83, 0.15, 0.03, 0.81)),
            label="nats per step",
            extend="both",
            ticks=list(TICKS),
            format="%g",
        )

    def __call__(self, spectra: np.ndarray, epochs: Sequence[int]) -> np.ndarray:
        """The pixels for spectra [K, E]."""
        K, E = spectra.shape
        self.image.set(data=np.ma.masked_invalid(spectra), extent=(-0.5, E - 0.5, K + 0.5, 0.5))
        labelled = range(0, E, -(-E // MAX_LABELS))
        self.axes.set_xticks(list(labelled), [str(epochs[e]) for e in labelled])
        self.canvas.draw()
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()
