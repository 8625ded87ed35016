"""The compiled competitor of `bench/lyapunov.py`: a scan in JAX, with the analytic Jacobian and a QR at every step.

It takes part where JAX is installed: `pip install '.[bench]'`. Axes: B sequence, T step, I input, N unit.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn


def jax_scan(
    net: nn.LSTM, x: Float[Tensor, "B T I"], dtype: torch.dtype
) -> Callable[[], Float[np.ndarray, "B N"]] | None:
    """Measures the exponents of an LSTM over h, nats per step, already compiled; None without JAX."""
    try:
        import jax
        import jax.numpy as jnp
    except ImportError:
        return None
    jax.config.update("jax_enable_x64", True)

    def array(tensor: Tensor):
        return jnp.asarray(tensor.detach().to(dtype).numpy())

    W_ih, W_hh, bias = array(net.weight_ih_l0), array(net.weight_hh_l0), array(net.bias_ih_l0 + net.bias_hh_l0)
    (B, T, _), N = x.shape, net.hidden_size

    def step(carry, x_t):
        h, c, Q, total = carry
        z = x_t @ W_ih.T + h @ W_hh.T + bias
        i, f, g, o = jnp.split(z, 4, -1)
        i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
        W_i, W_f, W_g, W_o = jnp.split(W_hh, 4)
        new_c = f * c + i * g
        tanh_c = jnp.tanh(new_c)
        dc = (g * i * (1 - i))[..., None] * W_i + (c * f * (1 - f))[..., None] * W_f
        dc = dc + (i * (1 - g**2))[..., None] * W_g
        J = (o * (1 - tanh_c**2))[..., None] * dc + (tanh_c * o * (1 - o))[..., None] * W_o
        Q, R = jnp.linalg.qr(J @ Q)
        total = total + jnp.log(jnp.abs(jnp.diagonal(R, axis1=-2, axis2=-1)))
        return (o * tanh_c, new_c, Q, total), None

    @jax.jit
    def exponents(inputs):
        zeros = jnp.zeros((B, N), W_hh.dtype)
        start = (zeros, zeros, jnp.broadcast_to(jnp.eye(N, dtype=W_hh.dtype), (B, N, N)), zeros)
        return jax.lax.scan(step, start, jnp.swapaxes(inputs, 0, 1))[0][-1] / T

    inputs = array(x)
    exponents(inputs).block_until_ready()
    return lambda: np.asarray(exponents(inputs))
