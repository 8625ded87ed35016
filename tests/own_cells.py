"""Cells that a user might write: those of docs/own-cell.md, good ones, and bad ones."""

import re
import sys
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from sweeps import ROOT


def documented() -> ModuleType:
    """The file my_cells.py of docs/own-cell.md, as a module."""
    if "my_cells" not in sys.modules:
        (source,) = re.findall(
            r"```python\n(# my_cells\.py\n.*?)```", (ROOT / "docs" / "own-cell.md").read_text(), re.S
        )
        module = ModuleType("my_cells")
        exec(compile(source, "my_cells.py", "exec"), vars(module))
        sys.modules["my_cells"] = module
    return sys.modules["my_cells"]


class Elman(nn.Module):
    """tanh(W_ih x + b_ih + W_hh h + b_hh), with `nn.RNNCell`'s names."""

    def __init__(self, input_size: int, hidden_size: int, gain: float = 1.0, power: int = 1):
        super().__init__()
        self.gain, self.power = gain, power
        self.weight_ih = nn.Parameter(torch.randn(hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.randn(hidden_size, hidden_size) / hidden_size**0.5)
        self.bias_ih, self.bias_hh = (nn.Parameter(torch.randn(hidden_size)) for _ in range(2))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return self.gain * torch.tanh(x @ self.weight_ih.T + self.bias_ih + h @ self.weight_hh.T + self.bias_hh)


class LSTM(nn.Module):
    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.weight_ih = nn.Parameter(torch.randn(4 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.randn(4 * hidden_size, hidden_size) / hidden_size**0.5)
        self.bias_ih, self.bias_hh = (nn.Parameter(torch.randn(4 * hidden_size)) for _ in range(2))

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        h, c = state or (x.new_zeros(len(x), self.weight_hh.shape[1]),) * 2
        i, f, g, o = (x @ self.weight_ih.T + self.bias_ih + h @ self.weight_hh.T + self.bias_hh).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


class FastWeights(nn.Module):
    """Its state has a matrix [B, H, H]."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.U, self.W = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        H = self.W.in_features
        h, A = state or (x.new_zeros(len(x), H), x.new_zeros(len(x), H, H))
        h = torch.tanh(self.U(x) + self.W(h) + torch.einsum("bij,bj->bi", A, h))
        return h, 0.9 * A + 0.5 * h[:, :, None] * h[:, None, :]


class Reservoir(nn.Module):
    """Nothing in it learns."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.register_buffer("U", torch.randn(hidden_size, input_size))
        self.register_buffer("W", torch.randn(hidden_size, hidden_size) / hidden_size**0.5)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(x @ self.U.T + h @ self.W.T)


class Step(torch.autograd.Function):
    """A sigmoid in steps of a tenth whose derivative is the sigmoid's: reverse mode only."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor) -> Tensor:
        return (10 * z.sigmoid()).round() / 10

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (z,) = ctx.saved_tensors
        return gradient * z.sigmoid() * (1 - z.sigmoid())


class Surrogate(Elman):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return Step.apply(x @ self.weight_ih.T + h @ self.weight_hh.T)  # pyright: ignore[reportReturnType]


class Branching(Elman):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        new = super().forward(x, h)
        return new if new.sum() > 0 else -new


class Dropping(Elman):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(x, h), 0.5, self.training)


class Normalised(Elman):
    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.norm = nn.BatchNorm1d(hidden_size)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return self.norm(super().forward(x, h))


class Mixing(Elman):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return super().forward(x, h - h.mean(0))


class Remembering(Elman):
    """Carries something besides its state."""

    count = 0

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        self.count += 1
        return super().forward(x, h) / self.count


class Loose(Elman):
    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.mask = torch.rand(hidden_size)


class Unregistered(Elman):
    """Its members differ in what is neither parameter nor buffer."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.factors = [float(torch.rand(()))]

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return self.factors[0] * super().forward(x, h)


class NumPyWeights(Elman):
    """Drawn from another generator than PyTorch's."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.bias_ih.data = torch.as_tensor(np.random.randn(hidden_size), dtype=self.bias_ih.dtype)


class Growing(Elman):
    def forward(self, x: Tensor, h: Tensor | None) -> tuple[Tensor, ...]:
        h = (x.new_zeros(len(x), 4), x.new_zeros(len(x), 1)) if h is None else h
        return super().forward(x, h[0]), torch.cat([h[1], h[1]], -1)


class Narrow(Elman):
    def forward(self, x: Tensor, h: Tensor | None) -> Tensor:
        return x.new_zeros(len(x), 2)


class Wordy(Elman):
    def forward(self, x: Tensor, h: Tensor) -> str:
        return "a state"


class Single(Elman):
    """Makes tensors of the default dtype."""

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return super().forward(x, h) @ torch.eye(h.shape[1])


class Undefined(Elman):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return super().forward(x, h) * h / h.norm()


class Empty(nn.Module):
    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(h + x.sum(-1, keepdim=True))


class NeedsRank(Elman):
    def __init__(self, input_size: int, hidden_size: int, rank: int):
        super().__init__(input_size, hidden_size)


class NoSizes(nn.Module):
    pass


NOT_A_CLASS = 3
