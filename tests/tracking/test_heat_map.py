"""Heat maps of spectra: what is where, and in which colour."""

import numpy as np
import pyarrow as pa

from aelle.tracking.heat_map import heat_maps

LEFT, RIGHT, TOP, BOTTOM = 62, 384, 13, 272
"""Pixels of the axes, measured in the picture."""


def cell(pixels: np.ndarray, row: int, rows: int, column: int, columns: int) -> tuple[int, ...]:
    """The colour in the middle of a cell of the heat map."""
    y = TOP + (row + 0.5) / rows * (BOTTOM - TOP)
    x = LEFT + (column + 0.5) / columns * (RIGHT - LEFT)
    return tuple(pixels[round(y), round(x)].tolist())


def test_a_cell_is_an_exponent_at_an_epoch():
    nan = float("nan")
    tables = [
        pa.table({"variant": [7, 8, 9], "epoch": [0] * 3, "spectrum": [[2.0, -0.5], [0.0, -20.0], [nan, nan]]}),
        pa.table({"variant": [7, 8, 9], "epoch": [1] * 3, "spectrum": pa.nulls(3, pa.list_(pa.float64()))}),
        pa.table({"variant": [7, 9], "epoch": [5] * 2, "spectrum": [[-0.5, -2.0], [nan, nan]]}),
    ]
    first, second, third = heat_maps(tables)
    assert [(one.variant, one.epoch) for one in (first, second, third)] == [(7, 5), (8, 1), (9, 5)]
    colours = {(r, c): cell(first.pixels, r, 2, c, 2) for r in range(2) for c in range(2)}
    assert colours[1, 0] == colours[0, 1]
    red, green, blue = colours[0, 0]
    assert red > max(green, blue) + 80
    red, green, blue = colours[1, 1]
    assert blue > red + 80
    # Weaker contraction is paler; zero is white, and beyond the limit the darkest blue.
    assert sum(colours[1, 0]) > sum(colours[1, 1]) + 80
    assert min(cell(second.pixels, 0, 2, 0, 2)) > 240 and sum(cell(second.pixels, 1, 2, 0, 2)) < sum(colours[1, 1])
    grey = {cell(second.pixels, r, 2, 1, 2) for r in range(2)}
    assert grey == {(204, 204, 204)} == {cell(third.pixels, r, 2, c, 2) for r in range(2) for c in range(2)}


def test_there_is_no_picture_of_nothing_and_one_of_many_epochs_and_uneven_lengths():
    assert list(heat_maps([])) == []
    assert list(heat_maps([pa.table({"variant": [0], "epoch": [0], "val_loss": [1.0]})])) == []
    assert list(heat_maps([pa.table({"variant": [0], "epoch": [0], "spectrum": [[]]})])) == []
    many = [pa.table({"variant": [0], "epoch": [e], "spectrum": [[1.0] * (1 + e % 3) + [None]]}) for e in range(1000)]
    (picture,) = heat_maps(many)
    assert picture.epoch == 999
    red, green, blue = cell(picture.pixels, 0, 4, 0, 250)
    assert red > max(green, blue) + 80
