"""Random networks trained by FORCE: their output is fed back, a rank-one perturbation of their connections.

x ← (1−dt) x + dt (M r + w_f z), r = tanh x, z = w·r (Sussillo & Abbott 2009).

Axes: V variant, N unit, T step.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from aelle.data.sines import DT
from aelle.lyapunov.chunks import work_off
from aelle.lyapunov.closed_loop import closed_loop_spectrum
from aelle.lyapunov.spectrum import Spectrum
from aelle.seeds import generator

if TYPE_CHECKING:
    # numba takes a second to import, and only training on a CPU needs it.
    from aelle.tasks.force_kernel import Network

DENSITY = 0.1
"""Share of the entries of M that are not zero."""

EVERY = 2
"""Steps from one recursive least squares update to the next."""


class RankOne(nn.Module):
    """V networks of N units, stored as buffers: nothing has a gradient, and what FORCE changes is in the checkpoint.

    M [V, N, N] has density 0.1 and entries N(0, 1) g_v / √(0.1 N); w_f [V, N] is uniform on [−1, 1]; x [V, N] and
    z [V] start at 0.5 N(0, 1), w [V, N] at 0 and P [V, N, N] at I. Variant v's are drawn from `seeds[v]` alone.
    """

    M: Tensor
    w_f: Tensor
    x: Tensor
    z: Tensor
    w: Tensor
    P: Tensor

    def __init__(self, units: int, g: Sequence[float], seeds: Sequence[int]):
        super().__init__()
        drawn = [_drawn(units, g_v, seed) for g_v, seed in zip(g, seeds, strict=True)]
        M, w_f, x, z = (torch.as_tensor(np.stack(arrays)).float() for arrays in zip(*drawn, strict=True))
        self.register_buffer("M", M, persistent=False)
        self.register_buffer("w_f", w_f, persistent=False)
        self.register_buffer("x", x)
        self.register_buffer("z", z)
        self.register_buffer("w", torch.zeros_like(x))
        self.register_buffer("P", torch.eye(units).repeat(len(x), 1, 1))

    def __len__(self) -> int:
        return len(self.x)

    def finite(self) -> Bool[Tensor, "V"]:
        """Which networks contain no NaN and no infinity."""
        return torch.stack([part.flatten(1).isfinite().all(1) for part in (self.x, self.w, self.P)]).all(0)

    def learn(self, f: Float[Tensor, "V T"]) -> None:
        """Train for T steps towards f; after every second k = P r / (1 + rᵀ P r), P ← P − (P r) kᵀ, w ← w − (z − f) k.

        x, z, w and P change in place.
        """
        if self.x.device.type != "cpu":
            self.learn_side_by_side(f)
            return
        from aelle.tasks.force_kernel import learn

        def of_one(v: int) -> None:
            x, w, P, f_v = (part[v].numpy() for part in (self.x, self.w, self.P, f))
            self.z[v] = float(learn(networks[v], x, self.z[v].numpy()[()], w, P, f_v, EVERY))

        networks = self.compressed()
        work_off(of_one, range(len(self)), self.x.device, torch.get_num_threads())

    def run_free(self, steps: int) -> Float[Tensor, "V T"]:
        """z over that many steps without learning; the states of the networks are not changed."""
        if self.x.device.type != "cpu":
            return self.run_free_side_by_side(steps)
        from aelle.tasks.force_kernel import run_free

        def of_one(v: int) -> None:
            x, z = self.x[v].clone().numpy(), self.z[v].numpy()[()]
            run_free(networks[v], x, z, self.w[v].numpy(), outputs[v].numpy())

        outputs, networks = self.x.new_empty(len(self), steps), self.compressed()
        work_off(of_one, range(len(self)), self.x.device, torch.get_num_threads())
        return outputs

    def learn_side_by_side(self, f: Float[Tensor, "V T"]) -> None:
        """`learn` by batched products, for devices on which they are faster."""
        r = self.x.tanh()
        for t, f_t in enumerate(f.unbind(1), start=1):
            r = self._step(self.x, r, self.z)
            if t % EVERY == 0:
                Pr = torch.einsum("vij,vj->vi", self.P, r)
                k = Pr / (1 + (r * Pr).sum(1, keepdim=True))
                self.P.baddbmm_(Pr[:, :, None], k[:, None], alpha=-1)
                self.w -= (self.z - f_t)[:, None] * k

    def run_free_side_by_side(self, steps: int) -> Float[Tensor, "V T"]:
        """`run_free` by batched products."""
        x, z = self.x.clone(), self.z.clone()
        r, outputs = x.tanh(), x.new_empty(len(self), steps)
        for t in range(steps):
            r = self._step(x, r, z)
            outputs[:, t] = z
        return outputs

    def _step(self, x: Tensor, r: Tensor, z: Tensor) -> Tensor:
        """Returns the new r; x and z change in place."""
        push = torch.einsum("vij,vj->vi", self.M, r) + self.w_f * z[:, None]
        x.mul_(1 - DT).add_(push, alpha=DT)
        r = x.tanh()
        z.copy_((self.w * r).sum(1))
        return r

    def compressed(self) -> list["Network"]:
        """M and w_f of each network, as the compiled loops take them."""
        from aelle.tasks.force_kernel import network

        return [network(M, w_f, DT) for M, w_f in zip(self.M.numpy(), self.w_f.numpy(), strict=True)]

    def spectrum(self, probe: None, *, over: str, dtype: torch.dtype, steps: int | None, k: int | None) -> Spectrum:
        """The spectrum of the closed loop, from each network's current state: see `closed_loop_spectrum`."""
        return closed_loop_spectrum(self.M, self.w_f, self.w, self.x, dt=DT, steps=steps, k=k, dtype=dtype)


def _drawn(N: int, g: float, seed: int) -> tuple[np.ndarray, ...]:
    rng = generator(seed, "rank-one network")
    M = np.where(rng.random((N, N)) < DENSITY, rng.normal(0, g / np.sqrt(DENSITY * N), (N, N)), 0)
    return M, rng.uniform(-1, 1, N), rng.normal(0, 0.5, N), rng.normal(0, 0.5, ())
