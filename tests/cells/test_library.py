"""Cells by name."""

import inspect
import sys

import pytest
import torch
import torchrecurrent

from aelle.cells.library import cell_class, cell_name, cell_options, check_option_names, library_cells
from aelle.errors import UserError
from own_cells import Elman, NeedsRank, documented
from sweeps import ROOT


def test_every_cell_of_the_library_has_its_name():
    classes = {getattr(torchrecurrent, name) for name in torchrecurrent.__all__ if name.endswith("Cell")}
    assert len(library_cells()) == len(classes) >= 41
    for cls in classes:
        found = {cell_class(name) for name in (cls.__name__, cls.__name__.removesuffix("Cell"), cell_name(cls))}
        assert len(found) == 1 and issubclass(found.pop(), cls)
    assert {"antisymmetric_rnn", "co_rnn", "un_icornn", "lem", "mi_ru1", "tau_gru"} <= set(library_cells())
    assert cell_class("unicornn") is cell_class("UnICORNN") is cell_class("un_icornn")
    assert cell_class("ligru") is cell_class("Li-GRU") is torchrecurrent.LiGRUCell


def test_the_documentation_lists_them():
    page = (ROOT / "docs" / "own-cell.md").read_text()
    assert [name for name in library_cells() if f"`{name}`" not in page] == []


def test_own_classes_are_imported():
    assert cell_class("own_cells.Elman") is Elman and cell_class("torch.nn.Linear") is torch.nn.Linear


@pytest.mark.parametrize(
    "name, message",
    [
        ("lemm", r"nearest: lem\).*lstm, gru, rnn, rnn_relu.*my_module.MyCell"),
        ("antisymetric", "nearest: antisymmetric_rnn"),
        ("lsmt", "nearest: .*lstm"),
        ("qqqqq", "no such cell; choose"),
        ("", "no such cell; choose"),
        ("nowhere.Cell", "no module nowhere; put nowhere.py into the working directory"),
        ("nowhere.inner.Cell", "no module nowhere.inner; put nowhere.py"),
        ("own_cells.Elmann", r"own_cells has no Elmann \(nearest: Elman\)"),
        ("own_cells.Qqqqqqq", "own_cells has no Qqqqqqq; give"),
        ("own_cells.documented", "it is of type function; give a subclass of torch.nn.Module"),
        ("own_cells.NOT_A_CLASS", "it is of type int"),
        ("aelle.errors.UserError", "it is the class UserError"),
        (
            "broken_cells.Cell",
            "importing broken_cells fails with ModuleNotFoundError: No module named 'nowhere'; mend it",
        ),
        ("wrong_cells.Cell", "importing wrong_cells fails with SyntaxError"),
        ("torch.nn.GRU", "use cell=gru"),
        ("torch.nn.LSTMCell", "use cell=lstm"),
        (".Cell", "cell='.Cell'"),
    ],
)
def test_what_is_no_cell_is_refused_in_one_line(name, message, tmp_path, monkeypatch):
    (tmp_path / "broken_cells.py").write_text("import nowhere\n")
    (tmp_path / "wrong_cells.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=message) as refused:
        cell_class(name)
    assert "\n" not in str(refused.value)


def test_without_the_library_its_names_say_how_to_get_it(monkeypatch):
    from aelle.cells import library

    library._library.cache_clear()
    monkeypatch.setitem(sys.modules, "torchrecurrent", None)
    with pytest.raises(UserError, match="pip install 'torchrecurrent"):
        cell_class("lem")
    assert cell_class("own_cells.Elman") is Elman


def test_options_are_the_constructors():
    assert cell_options(cell_class("co_rnn")) == {
        "recurrent_bias": True,
        "cell_bias": True,
        "dt": 0.1,
        "gamma": 1.0,
        "epsilon": 1.0,
    }
    assert cell_options(cell_class("li_gru")) == {
        "recurrent_bias": True,
        "nonlinearity": "relu",
        "gate_nonlinearity": "sigmoid",
    }
    assert cell_options(cell_class("tau_gru"))["delay"] == 1 and "nonlinearity" in cell_options(cell_class("tau_gru"))
    assert cell_options(NeedsRank) == {"rank": inspect.Parameter.empty}
    assert cell_options(documented().OrthogonalRNN) == {}
    both = {"additive": 0.02, "multiplicative": 0.02, "dt": 0.1, "beta": 0.75, "gamma": 0.001}
    assert cell_options(documented().NoisyRNN) == both


def test_options_that_do_not_fit_are_named():
    check_option_names(Elman, {"gain": 2.0})
    with pytest.raises(UserError, match=r"dtt=0.1: coRNNCell has no such option; it has recurrent_bias, .*dt"):
        check_option_names(cell_class("co_rnn"), {"dtt": 0.1})
    with pytest.raises(UserError, match="OrthogonalRNN has no such option; it has none"):
        check_option_names(documented().OrthogonalRNN, {"dt": 0.1})
    with pytest.raises(UserError, match="NeedsRank requires rank"):
        check_option_names(NeedsRank, {})
