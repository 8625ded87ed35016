"""Spectra of cells that are modules: member by member, and against the analytic derivatives of built-in cells."""

import pytest
import torch
from torch import Tensor, nn

import own_cells
from aelle import lyapunov_spectrum
from aelle.cells import CELLS, Weights
from aelle.cells.library import cell_class, library_cells
from aelle.cells.module_cell import ModuleCell, ModuleStack, tensors_of
from aelle.cells.module_checks import checked_cell
from aelle.cells.stack import Stack
from aelle.lyapunov.driven_cells import DrivenCells
from aelle.lyapunov.estimate import population_spectrum

B, T, H = 2, 7, 3


def stack(cell: type[nn.Module], V: int = 2, layers: int = 1, I: int = H) -> ModuleStack:
    """V networks of H units, in double precision."""
    torch.manual_seed(0)
    members = [[cell(I if l == 0 else H, H).double() for l in range(layers)] for _ in range(V)]
    cells = [checked_cell([cell(I if l == 0 else H, H)], I if l == 0 else H, H) for l in range(layers)]
    tensors = [[tensors_of(member[l]) for member in members] for l in range(layers)]
    stacked = ({n: torch.stack([t[n] for t in layer]).detach() for n in layer[0]} for layer in tensors)
    return ModuleStack(tuple(cells), tuple(stacked))


def probe(I: int = H) -> Tensor:
    return torch.randn(B, T, I, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def one_member(made: ModuleStack, v: int):
    """It as a step for one sequence, whose state is flat."""
    tensors = made.map(lambda w: w[v]).tensors
    return lambda x, state: made.step(tensors, x[None], state[None])[0]


CHECKED = [cell_class(name) for name in library_cells()]
CHECKED += [own_cells.FastWeights, own_cells.documented().OrthogonalRNN, own_cells.documented().NoisyRNN]


@pytest.mark.parametrize("cell", CHECKED, ids=lambda cell: cell.__name__)
def test_spectra_are_those_of_the_members_alone(cell):
    made = stack(cell)
    together = population_spectrum(made, probe(), over="hidden")
    N = made.dimension()
    assert together.exponents.shape == (2, N)
    alone = lyapunov_spectrum(one_member(made, 1), probe(), state=torch.zeros(N), over="full")
    torch.testing.assert_close(together.per_sequence[1], alone.per_sequence, atol=1e-6, rtol=0)
    assert together.clamped[1] == alone.clamped


def test_the_flat_state_of_a_member_is_that_of_its_module():
    """Against the module itself, for a state of two parts."""
    made = stack(cell_class("lem"))
    module = made.layers[0].module.double()
    module.load_state_dict(made.map(lambda w: w[1]).tensors[0])

    def step(x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = module(x[None], (state[0][None], state[1][None]))
        return h[0], c[0]

    alone = lyapunov_spectrum(step, probe(), state=(torch.zeros(H), torch.zeros(H)), over="full")
    torch.testing.assert_close(population_spectrum(made, probe()).of_variant(1).exponents, alone.exponents)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell, kind", [(own_cells.LSTM, "lstm"), (own_cells.Elman, "rnn")])
def test_they_are_those_of_built_in_cells(cell, kind, layers):
    made = stack(cell, V=3, layers=layers)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    built_in = Stack(CELLS[kind], tuple(Weights(*(layer[name] for name in names)) for layer in made.tensors))
    for k in (None, 2):
        ours, theirs = population_spectrum(made, probe(), k=k), population_spectrum(built_in, probe(), k=k, over="full")
        torch.testing.assert_close(ours.per_sequence, theirs.per_sequence, atol=1e-6, rtol=0)
    torch.testing.assert_close(made.dimension(), built_in.dimension(full=True))


def test_the_leading_exponents_are_those_of_the_whole_spectrum():
    """Few tangent vectors are pushed forward, many are rows of the Jacobian."""
    made = stack(cell_class("lem"), layers=2)
    whole, leading = population_spectrum(made, probe()), population_spectrum(made, probe(), k=3)
    torch.testing.assert_close(leading.per_sequence, whole.per_sequence[..., :3], atol=1e-6, rtol=0)
    system, D = DrivenCells(made, probe()), torch.randn(2, B, 12, 12, dtype=torch.float64)
    out, few = torch.empty_like(D), torch.empty_like(D[:, :, :3])
    with torch.no_grad():
        state = system.advance(0, system.start(None), D, out)
        assert torch.equal(system.advance(0, system.start(None), D[:, :, :3].contiguous(), few), state)
    torch.testing.assert_close(few, out[:, :, :3])


def test_a_cell_without_forward_derivatives_is_measured_too():
    made = stack(own_cells.Surrogate)
    whole, leading = population_spectrum(made, probe()), population_spectrum(made, probe(), k=1)
    assert whole.exponents.isfinite().all()
    torch.testing.assert_close(leading.per_sequence, whole.per_sequence[..., :1], atol=1e-6, rtol=0)


def test_an_orthogonal_network_neither_expands_nor_contracts():
    """Above the threshold of its modrelu the Jacobian is orthogonal."""
    made = stack(own_cells.documented().OrthogonalRNN)
    made.tensors[0]["b"].fill_(10.0)
    exponents = population_spectrum(made, probe()).exponents
    torch.testing.assert_close(exponents, torch.zeros_like(exponents), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_variant_that_is_not_finite_is_nan_and_leaves_the_others_alone(dtype):
    made = stack(own_cells.documented().LipschitzRNN, V=4)
    healthy = population_spectrum(made, probe(), dtype=dtype)
    made.tensors[0]["A"][1, 0, 0] = torch.nan
    made.tensors[0]["A"][2] = 1e200
    spectrum = population_spectrum(made, probe(), dtype=dtype)
    assert spectrum.exponents[1:3].isnan().all() and healthy.exponents.isfinite().all()
    torch.testing.assert_close(spectrum.exponents[::3], healthy.exponents[::3], atol=1e-3, rtol=0)


def test_pieces_are_put_together_in_their_places(monkeypatch):
    made = stack(cell_class("lem"), V=5)
    whole = population_spectrum(made, probe())
    monkeypatch.setattr("aelle.lyapunov.chunks.CPU_CHUNK_NUMBERS", 1)
    monkeypatch.setattr("aelle.lyapunov.chunks.MATRICES_TOGETHER", 1)
    torch.testing.assert_close(population_spectrum(made, probe()).per_sequence, whole.per_sequence, atol=1e-6, rtol=0)


@pytest.mark.parametrize("I, B, T", [(1, 1, 1), (1, 3, 2), (2, 1, 4)])
def test_sizes_of_one(I, B, T):
    spectrum = population_spectrum(stack(cell_class("mgu"), V=1, I=I), torch.zeros(B, T, I))
    assert spectrum.exponents.shape == (1, H) and spectrum.exponents.isfinite().all()


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(inputs=torch.randn(4, 9, 5)), r"give \[B, T, 3\]"),
        (dict(inputs=torch.full((4, 9, 3), torch.nan)), "NaN or infinite"),
        (dict(over="both"), "over='both'"),
        (dict(k=0), "k=0"),
    ],
)
def test_what_a_user_can_mend(change, message):
    with pytest.raises(ValueError, match=message):
        population_spectrum(stack(own_cells.Elman), **{"inputs": probe(), **change})


def test_a_module_cell_is_a_module_of_sequences():
    made = stack(own_cells.Elman)
    cell = made.layers[0]
    assert isinstance(cell, ModuleCell) and cell.size == H
    outputs = cell.outputs(made.tensors[0], probe().expand(2, -1, -1, -1))
    single, last = cell.applied(made.map(lambda w: w[1]).tensors[0], probe(), cell.zeros(probe(), B))
    torch.testing.assert_close(outputs[:, 1], single)
    assert torch.equal(last[0], single[-1])
