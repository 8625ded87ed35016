"""What `bench/device.py` compares with: a plain loop with QR, a parallel prefix scan, and a cuDNN LSTM.

Axes: V variant, B sequence, T step, I input, N state dimension (units), n segment of steps.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from aelle.cells import Weights

SEGMENT = 4
"""Steps of one scan of the prefix products: in float64, longer products lose the smaller exponents of an LSTM."""


def jacobians(weights: Weights, x: Float[Tensor, "B T I"]) -> Float[Tensor, "T V B N N"]:
    """∂h_t/∂h_{t−1} of V LSTMs, with the cell state held fixed."""
    V, N, (B, T, _) = len(weights.weight_hh), weights.weight_hh.shape[-1], x.shape
    h = c = x.new_zeros(V, B, N)
    J = x.new_empty(T, V, B, N, N)
    for t in range(T):
        J[t], h, c = step(weights, x[:, t], h, c)
    return J


def step(weights: Weights, x: Float[Tensor, "B I"], h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The Jacobian [V, B, N, N], and the next h and c, by the definition."""
    W_i, W_f, W_g, W_o = weights.weight_hh[:, None].chunk(4, -2)
    z = x @ weights.weight_ih.mT + h @ weights.weight_hh.mT + (weights.bias_ih + weights.bias_hh)[:, None]
    i, f, g, o = z.chunk(4, -1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    new_c = f * c + i * g
    tanh_c = new_c.tanh()
    by_i, by_f, by_g = g * i * (1 - i), c * f * (1 - f), i * (1 - g**2)
    dc = by_i[..., None] * W_i + by_f[..., None] * W_f + by_g[..., None] * W_g
    J = (o * (1 - tanh_c**2))[..., None] * dc + (tanh_c * o * (1 - o))[..., None] * W_o
    return J, o * tanh_c, new_c


def qr_loop(weights: Weights, x: Float[Tensor, "B T I"]) -> Float[Tensor, "V B N"]:
    """Exponents, nats per step, by a QR after every step."""
    V, N, (B, T, _) = len(weights.weight_hh), weights.weight_hh.shape[-1], x.shape
    h = c = x.new_zeros(V, B, N)
    Q, total = torch.eye(N, dtype=x.dtype, device=x.device).expand(V, B, N, N), x.new_zeros(V, B, N)
    for t in range(T):
        J, h, c = step(weights, x[:, t], h, c)
        Q, R = torch.linalg.qr(J @ Q)
        total += R.diagonal(0, -2, -1).abs().log()
    return total / T


def prefix_scan(weights: Weights, x: Float[Tensor, "B T I"], segment: int = SEGMENT) -> Float[Tensor, "V B N"]:
    """Exponents, nats per step, from prefix products within segments of steps, all segments at once.

    Each segment is scanned by Hillis and Steele's algorithm in log2(segment) products, with every product scaled to a
    largest entry of 1. One QR per segment, in turn, makes the directions orthonormal again: log |diag R| of a product
    is the sum of its steps'.
    """
    J = jacobians(weights, x)
    pieces = J.split(segment)
    whole = torch.stack([piece for piece in pieces if len(piece) == segment], 1)  # [segment, n, V, B, N, N]
    products, scales = scan(whole)
    pairs = list(zip(products[-1], scales[-1], strict=True))
    if len(pieces[-1]) < segment:
        products, scales = scan(pieces[-1][:, None])
        pairs.append((products[-1, 0], scales[-1, 0]))
    N = J.shape[-1]
    Q, total = torch.eye(N, dtype=J.dtype, device=J.device).expand_as(J[0]), J.new_zeros(J.shape[1:-1])
    for product, scale in pairs:
        Q, R = torch.linalg.qr(product @ Q)
        total += R.diagonal(0, -2, -1).abs().log() + scale[..., None]
    return total / len(J)


def scan(J: Float[Tensor, "T n V B N N"]) -> tuple[Float[Tensor, "T n V B N N"], Float[Tensor, "T n V B"]]:
    """P_t with J_t ··· J_1 = exp(scale_t) P_t, for every t at once."""
    largest = J.abs().amax((-2, -1))
    P, scale, reach = J / largest[..., None, None], largest.log(), 1
    while reach < len(P):
        product = P[reach:] @ P[:-reach]
        largest = product.abs().amax((-2, -1))
        P = torch.cat([P[:reach], product / largest[..., None, None]])
        scale = torch.cat([scale[:reach], scale[reach:] + scale[:-reach] + largest.log()])
        reach *= 2
    return P, scale


def cudnn_step(
    x: Float[Tensor, "n T I"], y: Tensor, hidden_size: int, batch_size: int, classes: int
) -> Callable[[], None]:
    """One training step of an `nn.LSTM`, which cuDNN runs on a GPU, with Adam, as in an ordinary script."""
    rnn = nn.LSTM(x.shape[-1], hidden_size, batch_first=True).to(x.device)
    readout = nn.Linear(hidden_size, classes).to(x.device)
    optimizer = torch.optim.Adam([*rnn.parameters(), *readout.parameters()], lr=0.01)
    at = torch.randperm(len(x), device=x.device)[:batch_size]

    def train() -> None:
        loss = F.cross_entropy(readout(rnn(x[at])[0][:, -1]), y[at])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return train
