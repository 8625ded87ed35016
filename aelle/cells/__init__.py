"""Recurrent cells: each is its one-step map; sequences, Jacobians and populations are derived from it."""

from aelle.cells.cell import Cell, State, Weights, driven, looked_up
from aelle.cells.gru import GRU
from aelle.cells.lstm import LSTM
from aelle.cells.rnn import RNN

CELLS: dict[str, Cell] = {"lstm": LSTM(), "gru": GRU(), "rnn": RNN()}
"""By the names that the tasks' option `cell` takes."""

__all__ = ["CELLS", "GRU", "LSTM", "RNN", "Cell", "State", "Weights", "driven", "looked_up"]
