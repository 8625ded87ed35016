"""What a population of any cell saves: `python bench/cells.py`. On one thread.

25 networks of 32 units (batches of 50 sequences of 8 steps, 8 inputs, Adam) are trained as a population by `vmap`, and
one by one, each the cell's own module in a loop over the steps with its own optimizer. Both take turns in one run,
after a check in double precision that they do the same.
"""

import argparse
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aelle.cells.library import cell_class
from aelle.tasks.cell_population import CellPopulation
from aelle.tasks.initialization import Initialization

CELLS = ("co_rnn", "lem", "mgu", "antisymmetric_rnn", "li_gru", "nas", "LipschitzRNN", "OrthogonalRNN")
B, T, I, C = 50, 8, 8, 10


def named(name: str) -> type[nn.Module]:
    """Of torchrecurrent, or of docs/own-cell.md."""
    if name.islower():
        return cell_class(name)
    page = Path(__file__).resolve().parents[1] / "docs" / "own-cell.md"
    (source,) = re.findall(r"```python\n# my_cells\.py\n(.*?)```", page.read_text(), re.DOTALL)
    own: dict[str, Any] = {}
    exec(compile(source, str(page), "exec"), own)
    return own[name]


class Member(nn.Module):
    """A cell's module and a readout with the weights of a population's member v."""

    def __init__(self, cell: type[nn.Module], network: CellPopulation, v: int):
        super().__init__()
        self.cell, self.readout = cell(I, network.hidden_size), nn.Linear(network.hidden_size, C)
        stacked = network.state_dict()
        of_cell = {name: stacked[f"{name.replace('.', '__')}_l0"][v] for name in self.cell.state_dict()}
        self.cell.load_state_dict(of_cell)
        self.readout.load_state_dict({part: stacked[f"readout_{part}"][v] for part in ("weight", "bias")})

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), self.readout.in_features)
        if getattr(self.cell, "uses_double_state", bool)():
            state = (state, torch.zeros_like(state))
        for x_t in x.unbind(1):
            state = self.cell(x_t, state)
        return self.readout(state[0] if isinstance(state, tuple) else state)


def together(network: nn.Module, x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    """A training step of the population, which returns its losses [V]."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def step() -> Tensor:
        losses = F.cross_entropy(network(x).flatten(0, 1), y.flatten(), reduction="none").view_as(y).mean(1)
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
        return losses.detach()

    return step


def one_by_one(members: Sequence[nn.Module], x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    optimizers = [torch.optim.Adam(member.parameters(), lr=1e-3) for member in members]

    def step() -> Tensor:
        losses = []
        for member, optimizer, x_v, y_v in zip(members, optimizers, x, y, strict=True):
            loss = F.cross_entropy(member(x_v), y_v)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    return step


def measure(name: str, V: int, H: int, rounds: int) -> str:
    cell, generator = named(name), torch.Generator().manual_seed(0)
    network = CellPopulation(cell, I, H, C, [Initialization("default")] * V, range(V))
    x, y = torch.randn(V, B, T, I, generator=generator), torch.randint(C, (V, B), generator=generator)
    for dtype in (torch.float64, torch.float32):
        network = network.to(dtype)
        members = [Member(cell, network, v).to(dtype) for v in range(V)]
        # The members have copied the weights before the population's first step changes them.
        steps = SimpleNamespace(together=together(network, x.to(dtype), y), apart=one_by_one(members, x.to(dtype), y))
        losses = [torch.stack([step() for _ in range(3)]) for step in (steps.together, steps.apart)]
        if dtype == torch.float64 and (losses[0] - losses[1]).abs().max() > 1e-6:
            raise SystemExit(f"{name}: the population and its members do not do the same")
    times = [(seconds(steps.together), seconds(steps.apart)) for _ in range(rounds)]
    ratios = sorted(apart / joint for joint, apart in times)
    at_once = 1000 * min(joint for joint, _ in times)
    return f"| {name} | {at_once:.1f} | {median(ratios):.1f}× | {ratios[0]:.1f} to {ratios[-1]:.1f} |"


def seconds(step: Callable[[], Tensor]) -> float:
    since = time.perf_counter()
    step()
    return time.perf_counter() - since


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="*", default=CELLS)
    parser.add_argument("--variants", type=int, default=25)
    parser.add_argument("--units", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| {given.variants} networks of {given.units} | ms per step | one by one over together | range |")
    print("|---|---|---|---|")
    for name in given.cells:
        print(measure(name, given.variants, given.units, given.rounds), flush=True)


if __name__ == "__main__":
    main()
