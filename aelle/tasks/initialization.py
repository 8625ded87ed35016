"""Initial weights: the rules that the hyperparameter `init` chooses from.

Axes: I input, H hidden unit. A matrix [R, C] is a column of blocks [H, C], one per gate.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from aelle.hyperparameters import not_read
from aelle.variants import Variant


class Initialization(NamedTuple):
    """How one network's weights begin; see `initialized`. `forget_bias` is added to the bias of the gate that keeps the
    state: an LSTM's forget gate, a GRU's update gate."""

    name: str = "uniform"
    p: float | None = None
    gain: float = 1.0
    forget_bias: float = 0.0
    spectral_radius: float = 1.0

    @classmethod
    def of(cls, variant: Variant) -> "Initialization":
        p = variant.value("p")
        rest = {name: float(variant.value(name)) for name in ("gain", "forget_bias", "spectral_radius")}
        return cls(variant.value("init"), None if not_read(p) else float(p), **rest)


def initialized(
    matrix: Float[Tensor, "R C"],
    hidden_size: int,
    initialization: Initialization,
    generator: Generator,
    recurrent: bool,
) -> Float[Tensor, "R C"]:
    """New values for a weight matrix, times the gain.

    uniform: on [−p, p], p = 1/√H unless it is given. default: `matrix` as it is. xavier: uniform on ±√(6 / (H + C)),
    block by block (Glorot & Bengio 2010). The others concern recurrent matrices, of blocks [H, H], and are xavier
    elsewhere: orthogonal (Saxe et al. 2014); identity (Le et al. 2015); spectral: normal, scaled so that the largest
    |eigenvalue| of each block is `spectral_radius` (Jaeger 2001).
    """
    (R, C), H = matrix.shape, hidden_size
    name, gain = initialization.name, initialization.gain
    if name == "default":
        return gain * matrix

    def uniform(bound: float) -> Tensor:
        return torch.empty(R, C).uniform_(-bound, bound, generator=generator)

    if name == "uniform":
        new = uniform(1 / math.sqrt(H) if initialization.p is None else initialization.p)
    elif name == "xavier" or not recurrent:
        new = uniform(math.sqrt(6 / (min(R, H) + C)))
    elif name == "identity":
        new = torch.eye(H).repeat(R // H, 1)
    else:
        blocks = torch.randn(R // H, H, H, generator=generator, dtype=torch.float64)
        if name == "orthogonal":
            new = torch.cat([_orthogonal(block) for block in blocks])
        else:
            assert name == "spectral"
            new = torch.cat([_scaled(block, initialization.spectral_radius) for block in blocks])
    return (gain * new).to(matrix)


def _orthogonal(block: Float[Tensor, "H H"]) -> Float[Tensor, "H H"]:
    """Uniform over the orthogonal matrices: the signs of R's diagonal are made unique (Mezzadri 2007)."""
    Q, R = torch.linalg.qr(block)
    return Q * R.diagonal().sign()


def _scaled(block: Float[Tensor, "H H"], radius: float) -> Float[Tensor, "H H"]:
    return block * (radius / torch.linalg.eigvals(block).abs().max())
