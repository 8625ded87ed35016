"""A variant's spectra over the epochs, drawn as a heat map."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, UInt8

from aelle.tracking.tracker import Picture

NAME = "lyapunov/spectrum"

LINEAR, LIMIT = 0.1, 10.0
"""Nats per step. Colours are linear up to the one and logarithmic up to the other; they mean the same in every picture,
white being zero."""

TICKS = (-10, -1, -0.1, 0, 0.1, 1, 10)

MAX_LABELS, MAX_COLUMNS = 8, 320
"""Of the epochs: how many are named, and how many are drawn. The picture has as many pixels there."""


def heat_maps(tables: Sequence[pa.Table]) -> Iterator[Picture]:
    """A picture of each variant whose spectrum was measured, from the tables of a pack's epochs.

    A column of the heat map is an epoch at which spectra were measured, a row an exponent, the greatest at the top. It
    is grey where a variant has none, because it has diverged or was pruned.
    """
    measured: dict[int, dict[int, np.ndarray]] = {}
    last: dict[int, int] = {}
    for table in tables:
        spectra = table["spectrum"] if "spectrum" in table.column_names else pa.nulls(len(table))
        rows = zip(table["variant"].to_pylist(), table["epoch"].to_pylist(), spectra, strict=True)
        for number, epoch, spectrum in rows:
            last[number] = epoch
            if spectrum.is_valid:
                measured.setdefault(number, {})[epoch] = spectrum.values.to_numpy(zero_copy_only=False)
    epochs = sorted({epoch for spectra in measured.values() for epoch in spectra})
    epochs = epochs[:: -(-len(epochs) // MAX_COLUMNS) or 1]
    exponents = max((len(one) for spectra in measured.values() for one in spectra.values()), default=0)
    if not exponents:
        return
    draw = _Drawing(exponents, epochs)
    for number, spectra in measured.items():
        columns = np.full((exponents, len(epochs)), np.nan)
        for column, epoch in enumerate(epochs):
            spectrum = spectra.get(epoch, np.array([]))
            columns[: len(spectrum), column] = spectrum
        yield Picture(number, last[number], NAME, draw(columns))


class _Drawing:
    """Axes, labels and colour bar are drawn once for all variants of a pack: they take most of the time."""

    def __init__(self, exponents: int, epochs: Sequence[int]):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.colors import SymLogNorm
        from matplotlib.figure import Figure

        self.canvas = FigureCanvasAgg(Figure(figsize=(4.8, 3.2), dpi=100))
        figure = self.canvas.figure
        self.axes: Any = figure.add_axes((0.13, 0.15, 0.67, 0.81))
        self.image: Any = self.axes.imshow(
            np.full((exponents, len(epochs)), np.nan),
            cmap="RdBu_r",
            norm=SymLogNorm(LINEAR, vmin=-LIMIT, vmax=LIMIT, base=10),
            aspect="auto",
            interpolation="nearest",
            extent=(-0.5, len(epochs) - 0.5, exponents + 0.5, 0.5),
        )
        labelled = range(0, len(epochs), -(-len(epochs) // MAX_LABELS))
        self.axes.set_xticks(list(labelled), [str(epochs[e]) for e in labelled])
        self.axes.set(xlabel="epoch", ylabel="exponent", facecolor="0.8")
        colours = figure.add_axes((0.83, 0.15, 0.03, 0.81))
        figure.colorbar(self.image, colours, label="nats per step", extend="both", ticks=list(TICKS), format="%g")
        self.canvas.draw()
        self.background = self.canvas.copy_from_bbox(figure.bbox)

    def __call__(self, spectra: Float[np.ndarray, "K E"]) -> UInt8[np.ndarray, "rows columns 3"]:
        self.canvas.restore_region(self.background)
        self.image.set_data(spectra)
        for artist in (self.image, *self.axes.spines.values()):
            self.axes.draw_artist(artist)
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()
