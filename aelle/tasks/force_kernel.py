"""FORCE for one network at a time, compiled for the CPU, where P and M stay in the cache.

Axes: N unit, T step. Precision: that of the arrays, float32 or float64.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt

from aelle.lyapunov.compiled import compiled

LANES = 4
"""Rows of M are padded with zeros to a multiple of this, the number of independent sums computed in parallel."""


class Network(NamedTuple):
    """The constants: M row by row without its zeros, w_f, dt. Indices are unsigned: numba wraps signed ones around."""

    starts: UInt[np.ndarray, "N+1"]
    columns: UInt[np.ndarray, "entries"]
    values: Float[np.ndarray, "entries"]
    w_f: Float[np.ndarray, "N"]
    dt: np.floating


def network(M: Float[np.ndarray, "N N"], w_f: Float[np.ndarray, "N"], dt: float) -> Network:
    row, column = M.nonzero()
    counts = np.bincount(row, minlength=len(M))
    padded = -(-counts // LANES) * LANES
    starts = np.concatenate([[0], padded.cumsum()])
    at = np.arange(len(row)) + (starts[:-1] - (counts.cumsum() - counts))[row]
    columns, values = np.zeros(starts[-1], np.uint16), np.zeros(starts[-1], M.dtype)
    columns[at], values[at] = column, M[row, column]
    return Network(starts.astype(np.uint64), columns, values, w_f, M.dtype.type(dt))


@compiled
def _tanh(x, r):
    """Lambert's continued fraction at x/4, then twice tanh 2a = 2 tanh a / (1 + tanh² a): error 2e-7, as float32."""
    if x.itemsize == 8:
        for i in range(len(x)):
            r[i] = np.tanh(x[i])
        return
    one, two, quarter, bound = np.float32(1), np.float32(2), np.float32(0.25), np.float32(9)
    n0, n1, n2 = np.float32(135135), np.float32(17325), np.float32(378)
    d1, d2, d3 = np.float32(62370), np.float32(3150), np.float32(28)
    for i in range(len(x)):
        a = min(max(x[i], -bound), bound) * quarter
        s = a * a
        a = a * (n0 + s * (n1 + s * (n2 + s))) / (n0 + s * (d1 + s * (d2 + s * d3)))
        a = two * a / (one + a * a)
        r[i] = two * a / (one + a * a)


@compiled
def _step(network, x, r, z):
    """x ← (1−dt) x + dt (M r + w_f z), where r = tanh x becomes that of the new x."""
    starts, columns, values, w_f, dt = network
    one, two, three, four = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
    stays = x.dtype.type(1) - dt
    for i in range(len(x)):
        a = b = c = d = x.dtype.type(0)
        j, end = starts[i], starts[i + 1]
        while j < end:
            a += values[j] * r[columns[j]]
            b += values[j + one] * r[columns[j + one]]
            c += values[j + two] * r[columns[j + two]]
            d += values[j + three] * r[columns[j + three]]
            j += four
        x[i] = stays * x[i] + dt * (a + b + (c + d) + w_f[i] * z)
    _tanh(x, r)


@compiled
def _downdate(P, c, k, r, y):
    """P ← P − c k kᵀ on and below the diagonal, and y ← P r with the new P, in one pass through memory."""
    for i in range(len(r)):
        row, r_i, c_i = P[i], r[i], c * k[i]
        total = r.dtype.type(0)
        for j in range(i):
            p = row[j] - c_i * k[j]
            row[j] = p
            total += p * r[j]
            y[j] += p * r_i
        row[i] -= c_i * k[i]
        y[i] = total + row[i] * r_i


@compiled
def learn(network, x, z, w, P, f, every):
    """`aelle.tasks.force_network.RankOne.learn` for one network: x, w and P change in place. Returns z."""
    r, k, y = np.empty_like(x), np.zeros_like(x), np.empty_like(x)
    one = x.dtype.type(1)
    c = one - one
    _tanh(x, r)
    for t in range(len(f)):
        _step(network, x, r, z)
        z = np.dot(w, r)
        if (t + 1) % every == 0:
            # P lags by one downdate, which is done in the pass that computes the next P r.
            _downdate(P, c, k, r, y)
            k, y = y, k
            c = one / (one + np.dot(r, k))
            w -= (z - f[t]) * c * k
    _downdate(P, c, k, r, y)
    for i in range(len(x)):
        P[:i, i] = P[i, :i]
    return z


@compiled
def run_free(network, x, z, w, outputs):
    """`aelle.tasks.force_network.RankOne.run_free` for one network: x changes in place, `outputs` [T] become z."""
    r = np.empty_like(x)
    _tanh(x, r)
    for t in range(len(outputs)):
        _step(network, x, r, z)
        z = np.dot(w, r)
        outputs[t] = z
