"""Recurrent cells: weights, an input and a state in; the next state and its slopes out.

Sequences, Jacobians and populations are derived from these one-step maps.
"""

from aelle.cells.cell import Cell, State, Weights, driven, looked_up
from aelle.cells.gru import GRU
from aelle.cells.lstm import LSTM
from aelle.cells.rnn import RNN

CELLS: dict[str, Cell] = {"lstm": LSTM(), "gru": GRU(), "rnn": RNN(), "rnn_relu": RNN(relu=True)}
"""By the names that the tasks' option `cell` takes."""

__all__ = ["CELLS", "GRU", "LSTM", "RNN", "Cell", "State", "Weights", "driven", "looked_up"]
