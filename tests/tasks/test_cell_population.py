"""Populations of torchrecurrent's cells and of users' own, against their members one by one."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchrecurrent.base import RecurrentCellBase

import own_cells
from aelle.cells.library import cell_class, library_cells
from aelle.errors import UserError
from aelle.tasks.cell_population import CellPopulation, drawn_noise
from aelle.tasks.initialization import Initialization
from aelle.tasks.population import Population

DEFAULT = Initialization("default")
DOCUMENTED = ("LipschitzRNN", "OrthogonalRNN", "NoisyRNN")
OWN = [own_cells.Elman, own_cells.LSTM, own_cells.FastWeights, own_cells.Reservoir, own_cells.Surrogate]
OWN += [getattr(own_cells.documented(), name) for name in DOCUMENTED]


def width(cell: type[nn.Module]) -> int:
    """Inputs: those of the one cell that has as many as units."""
    return 4 if cell.__name__ == "IntersectionRNNCell" else 3


def population(cell: type[nn.Module], V: int = 3, I: int | None = None, H: int = 4, C: int = 2, **options: Any):
    I = width(cell) if I is None else I
    return CellPopulation(cell, I, H, C, [DEFAULT] * V, range(10, 10 + V), **options)


class Member(nn.Module):
    """The modules of one member, step by step, without aelle."""

    def __init__(self, made: CellPopulation, cell: type[nn.Module], v: int, layers: int = 1, **options: Any):
        super().__init__()
        sizes = [made.inputs, *[made.hidden_size] * (layers - 1)]
        self.cells = nn.ModuleList(cell(size, made.hidden_size, **options) for size in sizes)
        self.readout = nn.Linear(made.hidden_size, made.readout_bias.shape[1])
        self.to(made.readout_bias.dtype)
        state = made.state_dict()
        for l, module in enumerate(self.cells):
            names = [*dict(module.named_parameters()), *dict(module.named_buffers())]
            module.load_state_dict({name: state[f"{name.replace('.', '__')}_l{l}"][v] for name in names}, strict=True)
        self.readout.load_state_dict({"weight": made.readout_weight[v], "bias": made.readout_bias[v]})

    def hidden(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """[B, T, I] -> [T, B, H]"""
        for cell in self.cells:
            state, outputs = None, []
            for t in range(x.shape[1]):
                if state is None and not self.accepts_none(cell):
                    state = x.new_zeros(len(x), self.readout.in_features)
                result = cell(x[:, t], state, **({} if noise is None else {"noise": noise[t]}))
                output, state = result if self.separate(result, cell) else (result, result)
                outputs.append(output[0] if isinstance(output, tuple) else output)
            x = torch.stack(outputs, 1)
        return x.transpose(0, 1)

    @staticmethod
    def accepts_none(cell: nn.Module) -> bool:
        return isinstance(cell, (own_cells.LSTM, own_cells.FastWeights, RecurrentCellBase))

    @staticmethod
    def separate(result: Any, cell: nn.Module) -> bool:
        return type(cell).__name__ in ("IntersectionRNNCell", "MCLSTMCell", "TLSTMCell")

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.hidden(x)[-1])


@pytest.mark.parametrize("cell", [*map(cell_class, library_cells()), *OWN], ids=lambda cell: cell.__name__)
def test_every_cell_trains_as_a_population_as_its_members_do_alone(cell):
    """Adam, three steps, in double precision: logits and weights."""
    made = population(cell, V=2).double()
    alone = [Member(made, cell, v) for v in range(2)]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 4, width(cell), dtype=torch.float64, generator=generator)
    y = torch.randint(2, (2, 5), generator=generator)
    together = torch.optim.Adam(made.parameters(), lr=0.01)
    apart = [torch.optim.Adam(member.parameters(), lr=0.01) for member in alone]
    for _ in range(3):
        together.zero_grad()
        losses = [F.cross_entropy(logits, y_v) for logits, y_v in zip(made(x), y, strict=True)]
        torch.stack(losses).sum().backward()
        together.step()
        for v, (member, optimizer) in enumerate(zip(alone, apart, strict=True)):
            optimizer.zero_grad()
            F.cross_entropy(member(x[v]), y[v]).backward()
            optimizer.step()
    logits = made(x)
    for v, member in enumerate(alone):
        torch.testing.assert_close(logits[v], member(x[v]), atol=1e-8, rtol=1e-8)
        trained = Member(made, cell, v)
        for (name, ours), theirs in zip(trained.named_parameters(), member.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-7, msg=name)


@pytest.mark.parametrize("name", ["lem", "mclstm", "tau_gru", "LSTM"])
def test_layers_read_the_outputs_of_those_below(name):
    cell = own_cells.LSTM if name == "LSTM" else cell_class(name)
    made, x = population(cell, layers=3).double(), torch.randn(3, 5, 6, 3, dtype=torch.float64)
    for v in range(3):
        torch.testing.assert_close(made.hidden(x)[:, v], Member(made, cell, v, layers=3).hidden(x[v]))
    seen = []

    def between(h: Tensor, layer: int) -> Tensor:
        seen.append((tuple(h.shape), layer))
        return 2 * h

    changed = made.hidden(x, between)
    assert seen == [((6, 3, 5, 4), 0), ((6, 3, 5, 4), 1)] and not torch.allclose(changed, made.hidden(x))


def test_a_member_does_not_depend_on_its_population():
    for cell in (cell_class("lem"), own_cells.documented().OrthogonalRNN):
        together, alone = population(cell, V=4, layers=2), CellPopulation(cell, 3, 4, 2, [DEFAULT], [12], layers=2)
        for name, tensor in alone.state_dict().items():
            assert torch.equal(together.state_dict()[name][2], tensor[0]), name
        torch.manual_seed(12)
        made = [cell(3, 4), cell(4, 4), nn.Linear(4, 2)]
        assert torch.equal(made[2].weight, alone.readout_weight[0])
        for l in range(2):
            for name, tensor in made[l].named_parameters():
                assert torch.equal(tensor, getattr(alone, f"{name.replace('.', '__')}_l{l}")[0])


def test_making_and_running_one_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    population(own_cells.Elman)(torch.zeros(3, 2, 2, 3))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("cell, kind", [(own_cells.Elman, "rnn"), (own_cells.LSTM, "lstm")])
def test_an_own_class_of_a_built_in_cell_is_the_built_in_one(cell, kind):
    made = population(cell).double()
    built_in = Population(kind, 3, 4, 2, [DEFAULT] * 3, [0, 1, 2]).double()
    built_in.load_state_dict(made.state_dict())
    x = torch.randn(3, 5, 6, 3, dtype=torch.float64)
    torch.testing.assert_close(made(x), built_in(x))
    characters = torch.randint(3, (3, 5, 6))
    torch.testing.assert_close(made(characters), built_in(characters))


@pytest.mark.parametrize("H, B, T", [(1, 1, 1), (1, 3, 2), (4, 1, 5), (4, 3, 1)])
def test_sizes_of_one(H, B, T):
    for cell in (cell_class("lem"), cell_class("mgu"), own_cells.documented().OrthogonalRNN, own_cells.FastWeights):
        made = CellPopulation(cell, 1, H, 1, [DEFAULT], [0])
        assert made(torch.randn(1, B, T, 1)).shape == (1, B, 1)
        assert made.hidden(torch.zeros(1, B, T, dtype=torch.long)).shape == (T, 1, B, H)


def test_noise_is_given_in_training_drawn_from_the_seeds_and_zero_otherwise():
    cell = own_cells.documented().NoisyRNN
    made, x = population(cell, layers=2, options={"additive": 0.3}), torch.randn(3, 5, 6, 3)
    still = population(own_cells.documented().LipschitzRNN, layers=2)
    still.load_state_dict(made.state_dict())
    assert made.noisy and not still.noisy
    torch.testing.assert_close(made.hidden(x), still.hidden(x))
    noise = drawn_noise([5, 6, 7], 2, 40, like=x)
    drawn = noise(0, (6, 5, 4))
    assert drawn.shape == (3, 6, 5, 4) and drawn.std().sub(1).abs() < 0.2
    assert torch.equal(drawn, noise(0, (6, 5, 4))) and not torch.equal(drawn, noise(1, (6, 5, 4)))
    assert torch.equal(drawn[1:2], drawn_noise([6], 2, 40, like=x)(0, (6, 5, 4)))
    assert not torch.equal(drawn, drawn_noise([5, 6, 7], 2, 41, like=x)(0, (6, 5, 4)))
    noisy = made.hidden(x, noise=noise)
    assert not torch.allclose(noisy, made.hidden(x)) and torch.equal(noisy, made.hidden(x, noise=noise))
    one = population(cell, options={"additive": 0.3})
    alone = Member(one, cell, 1, additive=0.3)
    torch.testing.assert_close(one.hidden(x, noise=noise)[:, 1], alone.hidden(x[1], drawn[1]))


def test_evaluation_is_the_modules_own():
    class Doubling(own_cells.Elman):
        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            return super().forward(x, h) * (1 if self.training else 2)

    made, x = population(Doubling), torch.randn(3, 5, 1, 3)
    learned = made.hidden(x)
    torch.testing.assert_close(made.eval().hidden(x), 2 * learned)
    torch.testing.assert_close(made.train().hidden(x), learned)


def test_options_are_passed_on_and_numbers_may_differ_between_members():
    cell, x = cell_class("co_rnn"), torch.randn(3, 5, 6, 3, dtype=torch.float64)
    made = population(cell, options={"gamma": 2.0, "cell_bias": False}).double()
    own = population(
        cell, options={"gamma": 2.0, "cell_bias": False}, member_options=[{"dt": 0.1 * (v + 1)} for v in range(3)]
    ).double()
    assert own.dt_l0.shape == (3,) and not hasattr(made, "dt_l0")
    for v in range(3):
        alone = Member(made, cell, v, gamma=2.0, cell_bias=False, dt=0.1 * (v + 1))
        torch.testing.assert_close(own.hidden(x)[:, v], alone.hidden(x[v]), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(made.hidden(x)[:, 0], Member(made, cell, 0, gamma=2.0, cell_bias=False).hidden(x[0]))
    for name, option in (
        ("lem", "dt"),
        ("un_icornn", "dt"),
        ("janet", "beta"),
        ("scrn", "alpha"),
        ("mi_ru2", "reset_coefficient"),
        ("antisymmetric_rnn", "epsilon"),
    ):
        made = population(cell_class(name), member_options=[{option: value} for value in (0.1, 0.2, 0.3)])
        assert not torch.allclose(made.hidden(torch.ones(3, 1, 4, 3))[:, 0], made.hidden(torch.ones(3, 1, 4, 3))[:, 1])


def test_a_copy_and_a_loaded_state_are_the_same_networks():
    made, x = population(cell_class("un_icornn"), layers=2), torch.randn(3, 5, 6, 3)
    other = CellPopulation(cell_class("un_icornn"), 3, 4, 2, [DEFAULT] * 3, [1, 2, 3], layers=2)
    other.load_state_dict(made.state_dict())
    assert torch.equal(made(x), other(x)) and torch.equal(made(x), copy.deepcopy(made)(x))


def test_the_rows_of_some_variants_are_their_networks():
    """What pruning does, and what a variant with weights that are not finite does to the others."""
    made, x = population(cell_class("lem")), torch.randn(3, 5, 6, 3)
    before = made(x)
    with torch.no_grad():
        made.weight_hh_l0[1] = torch.nan
    after = made(x)
    assert torch.equal(after[::2], before[::2]) and after[1].isnan().all()
    for tensor in (*made.parameters(), *made.buffers()):
        tensor.data = tensor[[0, 2]]
    torch.testing.assert_close(made(x[::2]), before[::2])
    assert len(made) == 2


def test_initial_weights_by_name_are_for_matrices_of_the_cells_own():
    with pytest.raises(UserError, match=r"init=orthogonal, gain=1.0: Reservoir has no weight matrices of its own"):
        CellPopulation(own_cells.Reservoir, 3, 4, 2, [Initialization("orthogonal")], [0])
    with pytest.raises(UserError, match=r"gain=2.0: Reservoir"):
        CellPopulation(own_cells.Reservoir, 3, 4, 2, [DEFAULT._replace(gain=2.0)], [0])
    with pytest.raises(UserError, match=r"forget_bias=1.0: which bias of Elman"):
        CellPopulation(own_cells.Elman, 3, 4, 2, [DEFAULT._replace(forget_bias=1.0)], [0])
    made, twice = (
        CellPopulation(own_cells.documented().OrthogonalRNN, 3, 4, 2, [DEFAULT._replace(gain=gain)], [0])
        for gain in (1.0, 2.0)
    )
    torch.testing.assert_close(twice.U__weight_l0, 2 * made.U__weight_l0)
    assert torch.equal(twice.Q__parametrizations__weight__original_l0, made.Q__parametrizations__weight__original_l0)


def test_matrices_follow_their_rule_and_the_variants_seed():
    rules = [Initialization("orthogonal", gain=0.5), Initialization("identity"), Initialization("uniform", p=3.0)]
    made = CellPopulation(own_cells.LSTM, 3, 4, 2, rules, [1, 2, 3])
    blocks = made.weight_hh_l0.detach().unflatten(1, (4, 4))
    torch.testing.assert_close(blocks[0] @ blocks[0].mT, 0.25 * torch.eye(4).expand(4, 4, 4), atol=1e-5, rtol=0)
    assert torch.equal(blocks[1], torch.eye(4).expand(4, 4, 4)) and 2 < blocks[2].abs().max() <= 3
    again = CellPopulation(own_cells.LSTM, 3, 4, 2, rules[::-1], [3, 2, 1])
    for name, tensor in made.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name].flip(0)), name
    assert made.preactivations == 3 * 16 and population(own_cells.FastWeights).preactivations == 3 * 20


def test_an_orthogonal_matrix_stays_orthogonal():
    made = population(own_cells.documented().OrthogonalRNN)
    optimizer, x = torch.optim.Adam(made.parameters(), lr=0.1), torch.randn(3, 5, 6, 3)
    for _ in range(3):
        made(x).square().sum().backward()
        optimizer.step()
    for v in range(3):
        Q = Member(made, own_cells.documented().OrthogonalRNN, v).cells[0].Q.weight
        torch.testing.assert_close(Q @ Q.T, torch.eye(4), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "cell, message",
    [
        (own_cells.Branching, "Branching does not run for many members at once.*no branch on the values"),
        (own_cells.Dropping, "Dropping draws random numbers in a step.*`noise`"),
        (own_cells.Normalised, "Normalised changes its own norm.running_mean.*batch normalisation"),
        (own_cells.Mixing, "Mixing gives a sequence another result beside others"),
        (own_cells.Remembering, "Remembering gives two results for the same input"),
        (own_cells.Loose, r"Loose.mask is a tensor that is neither.*self.register_buffer\('mask'"),
        (own_cells.Unregistered, "Unregistered: members differ in something else"),
        (
            own_cells.Growing,
            r"Growing returns a state of .*\[3, 4\]\] for one of \[\[3, 4\], \[3, 2\]\].*must keep its shape",
        ),
        (own_cells.Narrow, r"Narrow returns the output \[3, 2\] for 3 sequences.*\[B, 4\]"),
        (own_cells.Wordy, "Wordy returns the state of type str"),
        (own_cells.Single, "Single does not run .* double precision"),
        (own_cells.Undefined, "Undefined returns NaN or infinite numbers for zeros"),
        (own_cells.Empty, "Empty has no parameters and no buffers"),
        (own_cells.NeedsRank, "NeedsRank requires rank"),
        (own_cells.NoSizes, r"NoSizes\(3, 4\) cannot be made"),
        (own_cells.NumPyWeights, "NumPyWeights draws its initial weights from another generator"),
        (nn.Linear, r"Linear.forward\(x, state\) fails for x \[B, 3\]"),
        (nn.Identity, "Identity"),
        (cell_class("intersection_rnn"), "IntersectionRNNCell.*requires input_size == hidden_size"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_no_cell_is_refused_by_name_before_training(cell, message):
    before = torch.get_rng_state()
    with pytest.raises(UserError, match=message) as refused:
        CellPopulation(cell, 3, 4, 2, [DEFAULT] * 3, [1, 2, 3])
    assert "\n" not in str(refused.value)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "given, message",
    [
        ({"layers": 0}, "layers=0: give a whole number from 1 to 4"),
        ({"layers": 5}, "layers=5"),
        ({"options": {"width": 2}}, "width=2: Elman has no such option; it has gain, power"),
        ({"member_options": [{"width": 2.0}] * 3}, "width=2.0: Elman has no such option"),
        (
            {"member_options": [{"power": 1.0}, {"power": 2.0}, {"power": 3.0}]},
            "power of Elman has the default 1: only",
        ),
    ],
)
def test_options_that_cannot_be_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        population(own_cells.Elman, **given)


def test_huge_weights_are_the_networks_own_matter():
    made = population(cell_class("lem"))
    with torch.no_grad():
        made.weight_hh_l0 *= 1e30
    assert made(torch.full((3, 2, 4, 3), 1e30)).shape == (3, 2, 2)
