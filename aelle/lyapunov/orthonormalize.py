"""One step of orthonormalisation, without orthogonality.

Only the diagonal of R in J_T ··· J_1 Q_0 = Q R is wanted, so what is carried from step to step need not be
orthogonal: any M with A = M U, U upper triangular, spans the same flag (the nested spaces of the leading columns) as Q
and gives the same R in the end, as long as M is well conditioned. LU with row pivoting gives such an M, a row-permuted
unit lower triangle, at a fraction of the price of QR; and where the rows of A differ in size by many orders of
magnitude, as behind saturated gates, it keeps the digits that Householder's QR loses. On a device Cholesky factors come
first, and LU where they do not do.

Tangent vectors are rows here, as PyTorch's layers have it: an array [..., K, N] holds A transposed, which is what
LAPACK wants to be handed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


class Factors(NamedTuple):
    """A = M U: `basis` is M (rows are its columns) and `log_diagonal` log |diag U|, −∞ where A is singular.

    `error` is the relative error to expect in each entry of the diagonal, ∞ for an entry that is zero; `condition`
    estimates that of M.
    """

    basis: Float[Tensor, "V B K N"]
    log_diagonal: Float[Tensor, "V B K"]
    error: Float[Tensor, "V B K"]
    condition: Float[Tensor, "V B"]


MAX_SKEW = 0.5
"""‖MᵀM − I‖ from which a Cholesky factor is not taken: its M has a condition of up to 1.8 below."""

CHOLESKY_SHIFT, MAX_CHOLESKY_FACTORS = 4, 3
"""Of AᵀA with columns of length 1, in units of N ε; and how many factors are tried."""

CHOLESKY_CAUTION = 8
"""By how much the error by Cholesky factors may exceed what its formula says: measured on products of a wide spread."""

MAX_CHOLESKY_PAUSE = 64
"""Factorisations that are left to LU once there was no Cholesky factor; the first time one, then twice as many."""


class Factorizer:
    """LU with row pivoting of stacks of one shape, in buffers of its own."""

    def __init__(self, like: Float[Tensor, "V B K N"]):
        V, B, K, N = like.shape
        self.pivots = torch.empty(V, B, K, dtype=torch.int32, device=like.device)
        self.info = torch.empty(V, B, dtype=torch.int32, device=like.device)
        # PyTorch tells a permutation as a matrix only: here in single precision, from a factor that only has a shape.
        self.shape = torch.empty((), device=like.device).expand(V, B, N, K)
        self.P, self.unused = self.shape.new_empty(V, B, N, N), (self.shape.new_empty(0), self.shape.new_empty(0))
        self.numbers = torch.arange(N, dtype=self.P.dtype, device=like.device)
        self.identity = torch.eye(K, dtype=like.dtype, device=like.device)

    def __call__(self, trail: Sequence[Float[Tensor, "V B K N"]], out: Float[Tensor, "V B K N"]) -> Factors:
        """Of the last of `trail`, which began at a well-conditioned basis and took one step from each to the next.

        M is written to `out`, and the last of `trail` is used up. The error of pivot i is judged after rows and columns
        of A have been scaled to the same size, which neither the pivots' relative errors nor the flag depend on:
        ε |column i| / |pivot i| × condition of L × max(N, 32) / 32; the last factor is what was measured, as rounding
        in LU grows. Where a product cancels, rounding is of the size of its terms: so much is added as the first step
        stretched a tangent vector at most and the last one at least.
        """
        A, cancelled = trail[-1], _cancelled(trail)
        column, row = self.sizes(A, out)
        torch.linalg.lu_factor_ex(A.mT, out=(A.mT, self.pivots, self.info))
        diagonal, row, condition = self.unpack(A, row, out)
        return _judged(out, diagonal, column, row, condition, cancelled)

    def sizes(self, A: Float[Tensor, "V B K N"], spare: Float[Tensor, "V B K N"]) -> tuple[Tensor, Tensor]:
        """The length of each tangent vector [V, B, K], and the size of each dimension over all of them once they have
        one length [V, B, N]."""
        tiny = torch.finfo(A.dtype).tiny
        column = torch.linalg.vector_norm(A, dim=-1)
        weight = column.clamp(min=tiny**0.5).square().reciprocal()
        row = (weight[..., None, :] @ torch.mul(A, A, out=spare))[..., 0, :].clamp(min=tiny).sqrt()
        return column, row

    def unpack(
        self, LU: Float[Tensor, "V B K N"], row: Float[Tensor, "V B N"], out: Float[Tensor, "V B K N"]
    ) -> tuple[Float[Tensor, "V B K"], Float[Tensor, "V B K"], Float[Tensor, "V B"]]:
        """|diag U|, the sizes of the rows of its pivots, and the condition of L with rows of one size; M to `out`."""
        K = LU.shape[-2]
        torch.lu_unpack(self.shape, self.pivots, unpack_data=False, out=(self.P, *self.unused))
        row_of_L = (self.P @ self.numbers).long()
        diagonal = LU.diagonal(0, -2, -1).abs()
        row = torch.empty_like(row).scatter_(-1, row_of_L, row)[..., :K, None]
        solved = torch.linalg.solve_triangular(LU.mT[..., :K, :], row, upper=False, unitriangular=True)
        condition = (solved / row).abs().amax((-2, -1))
        L = LU.triu_(1)
        L.diagonal(0, -2, -1).fill_(1)
        torch.gather(L, -1, row_of_L[..., None, :].expand_as(L), out=out)
        return diagonal, row[..., 0], condition


class CholeskyFactorizer(Factorizer):
    """By Cholesky factors R of AᵀA, in the products that a GPU is fast at, where it factorises small matrices slowly.

    M = A R⁻¹, and AᵀA is shifted so that a factor exists for a condition of A up to 1/ε, once its columns have one
    length; how nearly orthonormal M is, is measured, and mended by one more factor or two. Rounding in R takes nothing
    from A = M R: the error is as that of QR. Where even so one of a stack's matrices has no such M, LU takes over for
    all of them. Each factor costs a round trip to the device.
    Source: shifted CholeskyQR, Fukaya et al. 2020.
    """

    def __init__(self, like: Float[Tensor, "V B K N"]):
        super().__init__(like)
        self.next_pause, self.pause = 1, 0

    def __call__(self, trail: Sequence[Float[Tensor, "V B K N"]], out: Float[Tensor, "V B K N"]) -> Factors:
        if self.pause == 0:
            factors = self.try_factors(trail, out)
            if factors is not None:
                self.next_pause = 1
                return factors
            self.pause, self.next_pause = self.next_pause, min(2 * self.next_pause, MAX_CHOLESKY_PAUSE)
        else:
            self.pause -= 1
        return super().__call__(trail, out)

    def try_factors(self, trail: Sequence[Float[Tensor, "V B K N"]], out: Float[Tensor, "V B K N"]) -> Factors | None:
        """None, and A as it was, where a matrix has no such M."""
        A = trail[-1]
        # The square of a large entry may be too large.
        largest = A.abs().amax(-1)
        torch.div(A, largest[..., None], out=out)
        norm = torch.linalg.vector_norm(out, dim=-1)
        out.div_(norm[..., None])
        column = largest.double() * norm
        diagonal, lost = column, ~largest.isfinite().all(-1)
        gram = out @ out.mT
        gram.diagonal(0, -2, -1).add_(CHOLESKY_SHIFT * A.shape[-1] * torch.finfo(A.dtype).eps)
        for _ in range(MAX_CHOLESKY_FACTORS):
            R, info = torch.linalg.cholesky_ex(gram)
            out.copy_(torch.linalg.solve_triangular(R, out, upper=False))
            diagonal = diagonal * R.diagonal(0, -2, -1)
            gram = out @ out.mT
            apart = torch.linalg.matrix_norm(gram - self.identity)
            broken, done = torch.stack([(info != 0) & ~lost, (apart < MAX_SKEW) | lost]).flatten(1).tolist()
            if any(broken):
                break
            if all(done):
                condition = torch.where(lost, torch.nan, ((1 + apart) / (1 - apart)).sqrt())
                cancelled = CHOLESKY_CAUTION * _cancelled(trail)
                return _judged(out, diagonal, column, torch.ones_like(column), condition, cancelled)
        return None


class CompiledFactorizer(Factorizer):
    """The same on a CPU, where passes over matrices cost more than what is computed in them.

    numba takes a second to import, which only those pay who measure on a CPU.
    """

    def sizes(self, A: Float[Tensor, "V B K N"], spare: Float[Tensor, "V B K N"]) -> tuple[Tensor, Tensor]:
        from aelle.lyapunov import orthonormalize_cpu as flag_kernel

        column, row = A.new_empty(A.shape[:-1]), A.new_empty(*A.shape[:2], A.shape[-1])
        flag_kernel.sizes(*_batches(A, column, row))
        return column, row

    def unpack(
        self, LU: Float[Tensor, "V B K N"], row: Float[Tensor, "V B N"], out: Float[Tensor, "V B K N"]
    ) -> tuple[Float[Tensor, "V B K"], Float[Tensor, "V B K"], Float[Tensor, "V B"]]:
        diagonal, sizes, condition = (
            torch.empty_like(LU[..., 0]),
            torch.empty_like(LU[..., 0]),
            LU.new_empty(LU.shape[:2]),
        )
        from aelle.lyapunov import orthonormalize_cpu as flag_kernel

        flag_kernel.unpack(*_batches(LU, self.pivots, row, out, diagonal, sizes, condition))
        return diagonal, sizes, condition


def factorizer(like: Float[Tensor, "V B K N"]) -> Factorizer:
    return (CompiledFactorizer if like.device.type == "cpu" else CholeskyFactorizer)(like)


def _judged(
    basis: Float[Tensor, "V B K N"],
    diagonal: Float[Tensor, "V B K"],
    column: Float[Tensor, "V B K"],
    row: Float[Tensor, "V B K"],
    condition: Float[Tensor, "V B"],
    cancelled: Float[Tensor, "V B 1"] | float,
) -> Factors:
    N, tiny, eps = basis.shape[-1], torch.finfo(basis.dtype).tiny, torch.finfo(basis.dtype).eps
    # Some LAPACKs multiply by the reciprocal of a pivot, which is infinite where the pivot is subnormal.
    condition = torch.where(column.isfinite().all(-1), condition.nan_to_num(torch.inf, torch.inf), condition)
    error = column * row / diagonal * (eps * max(N, 32) / 32 * condition[..., None] * cancelled)
    # Squares of shorter columns have lost digits, and with them the estimate.
    known = (diagonal > tiny / eps) & (column > (tiny / eps) ** 0.5)
    error = torch.where(known, error, torch.inf).nan_to_num(torch.inf, torch.inf)
    return Factors(basis, diagonal.double().log(), error, condition)


def _cancelled(trail: Sequence[Float[Tensor, "V B K N"]]) -> Float[Tensor, "V B 1"] | float:
    """By how much rounding may be larger than what is left of a product."""
    if len(trail) < 3:
        return 1.0
    most, least = _stretches(trail[0], trail[1]).amax(-1), _stretches(trail[-2], trail[-1]).amin(-1)
    return (most / least).clamp(min=1)[..., None]


def _batches(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.flatten(0, 1).numpy() for tensor in tensors]


def _stretches(before: Float[Tensor, "V B K N"], after: Float[Tensor, "V B K N"]) -> Float[Tensor, "V B some"]:
    """Of some eight tangent vectors by a step: enough to tell how large its Jacobian is."""
    few = slice(None, None, max(1, before.shape[-2] // 8))
    return torch.linalg.vector_norm(after[..., few, :], dim=-1) / torch.linalg.vector_norm(before[..., few, :], dim=-1)


def orthonormalize(A: Float[Tensor, "... K N"]) -> tuple[Float[Tensor, "... K N"], Float[Tensor, "... K"]]:
    """A = Q R: Q (rows are its columns) and log |diag R|."""
    Q, R = torch.linalg.qr(A.mT)
    return Q.mT.contiguous(), R.diagonal(0, -2, -1).abs().double().log()


def log_diagonal(A: Float[Tensor, "... K N"]) -> Float[Tensor, "... K"]:
    """log |diag R|."""
    R = torch.linalg.qr(A.mT, mode="r").R
    return R.diagonal(0, -2, -1).abs().double().log()
