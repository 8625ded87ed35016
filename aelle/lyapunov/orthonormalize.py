"""One step of orthonormalisation, without orthogonality.

Only the diagonal of R in J_T ··· J_1 Q_0 = Q R is needed, so the matrix carried from step to step need not be
orthogonal: any M with A = M U, U upper triangular, spans the same flag (the nested spaces of the leading columns) as Q
and gives the same R in the end, as long as M is well conditioned. LU with row pivoting gives such an M, a row-permuted
unit lower triangle, at a fraction of the cost of QR; and if the rows of A differ in size by many orders of magnitude,
as with saturated gates, it keeps the digits that Householder's QR loses. Where Q itself is needed, a GPU finds it by
Cholesky factors.

Tangent vectors are rows here, as in PyTorch's layers: an array [..., K, N] contains A transposed, the layout that
LAPACK expects.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


class Factors(NamedTuple):
    """A = M U: `basis` is M (rows are its columns) and `log_diagonal` log |diag U|, −∞ where A is singular.

    `ratio` is the size of the terms of each entry of the diagonal over that of the entry. `error` is the entry's
    expected relative error, ∞ for one that is zero; `condition` estimates the condition number of M.
    """

    basis: Float[Tensor, "V B K N"]
    log_diagonal: Float[Tensor, "V B K"]
    ratio: Float[Tensor, "V B K"]
    error: Float[Tensor, "V B K"]
    condition: Float[Tensor, "V B"]


CHOLESKY_SHIFT, CHOLESKY_FACTORS = 4, 3
"""Of `cholesky_qr`: the shift of AᵀA with columns of length 1, in units of N ε, and the number of factors."""

MAX_ORTHONORMALITY_ERROR = 1e-12
"""Of `cholesky_qr`: the largest entry of |QᵀQ − I|; matrices that exceed it are left to Householder's QR."""


class Factorizer:
    """LU with row pivoting of stacks of one shape, with its own buffers."""

    def __init__(self, like: Float[Tensor, "V B K N"]):
        V, B, K, N = like.shape
        self.pivots = torch.empty(V, B, K, dtype=torch.int32, device=like.device)
        self.info = torch.empty(V, B, dtype=torch.int32, device=like.device)
        # PyTorch gives a permutation only as a matrix: here in single precision, from a factor that has only a shape.
        self.shape = torch.empty((), device=like.device).expand(V, B, N, K)
        self.P, self.unused = self.shape.new_empty(V, B, N, N), (self.shape.new_empty(0), self.shape.new_empty(0))
        self.numbers = torch.arange(N, dtype=self.P.dtype, device=like.device)

    def __call__(self, trail: Sequence[Float[Tensor, "V B K N"]], out: Float[Tensor, "V B K N"]) -> Factors:
        """Factorise the last of `trail`, which starts at a well-conditioned basis and has one step between entries.

        M is written to `out`, and the last of `trail` is overwritten. The error of pivot i is estimated after rows and
        columns of A have been scaled to the same size, which changes neither the pivots' relative errors nor the flag:
        ε |column i| / |pivot i| × condition of L × max(N, 32) / 32; the last factor is the measured growth of rounding
        errors in LU. If a product cancels, rounding errors are of the size of its terms: the estimate is multiplied by
        the largest stretch of a tangent vector in the first step over the smallest in the last.
        """
        A, cancelled = trail[-1], _cancelled(trail)
        column, row = self.sizes(A, out)
        torch.linalg.lu_factor_ex(A.mT, out=(A.mT, self.pivots, self.info))
        diagonal, row, condition = self.unpack(A, row, out)
        return _judged(out, diagonal, column, row, condition, cancelled)

    def sizes(self, A: Float[Tensor, "V B K N"], spare: Float[Tensor, "V B K N"]) -> tuple[Tensor, Tensor]:
        """The length of each tangent vector [V, B, K], and the size of each dimension over all of them, scaled to the
        same length [V, B, N]."""
        tiny = torch.finfo(A.dtype).tiny
        column = torch.linalg.vector_norm(A, dim=-1)
        weight = column.clamp(min=tiny**0.5).square().reciprocal()
        row = (weight[..., None, :] @ torch.mul(A, A, out=spare))[..., 0, :].clamp(min=tiny).sqrt()
        return column, row

    def unpack(
        self, LU: Float[Tensor, "V B K N"], row: Float[Tensor, "V B N"], out: Float[Tensor, "V B K N"]
    ) -> tuple[Float[Tensor, "V B K"], Float[Tensor, "V B K"], Float[Tensor, "V B"]]:
        """|diag U|, the sizes of the pivots' rows, and the condition of L with rows of one size; writes M to `out`."""
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


class CompiledFactorizer(Factorizer):
    """LU on a CPU, with compiled loops: there, passes over matrices cost more than the arithmetic in them.

    numba takes a second to import, and only measuring on a CPU needs it.
    """

    def sizes(self, A: Float[Tensor, "V B K N"], spare: Float[Tensor, "V B K N"]) -> tuple[Tensor, Tensor]:
        from aelle.lyapunov import orthonormalize_cpu

        column, row = A.new_empty(A.shape[:-1]), A.new_empty(*A.shape[:2], A.shape[-1])
        orthonormalize_cpu.sizes(*_batches(A, column, row))
        return column, row

    def unpack(
        self, LU: Float[Tensor, "V B K N"], row: Float[Tensor, "V B N"], out: Float[Tensor, "V B K N"]
    ) -> tuple[Float[Tensor, "V B K"], Float[Tensor, "V B K"], Float[Tensor, "V B"]]:
        diagonal, sizes, condition = (
            torch.empty_like(LU[..., 0]),
            torch.empty_like(LU[..., 0]),
            LU.new_empty(LU.shape[:2]),
        )
        from aelle.lyapunov import orthonormalize_cpu

        orthonormalize_cpu.unpack(*_batches(LU, self.pivots, row, out, diagonal, sizes, condition))
        return diagonal, sizes, condition


def factorizer(like: Float[Tensor, "V B K N"]) -> Factorizer:
    return (CompiledFactorizer if like.device.type == "cpu" else Factorizer)(like)


def _judged(
    basis: Float[Tensor, "V B K N"],
    diagonal: Float[Tensor, "V B K"],
    column: Float[Tensor, "V B K"],
    row: Float[Tensor, "V B K"],
    condition: Float[Tensor, "V B"],
    cancelled: Float[Tensor, "V B 1"] | float,
) -> Factors:
    N, precision = basis.shape[-1], torch.finfo(basis.dtype)
    tiny, eps = precision.tiny, precision.eps
    # Some LAPACKs multiply by the reciprocal of a pivot, which is infinite for a subnormal pivot.
    condition = torch.where(column.isfinite().all(-1), condition.nan_to_num(torch.inf, torch.inf), condition)
    ratio = column * row / diagonal
    error = ratio * (eps * max(N, 32) / 32 * condition[..., None] * cancelled)
    # Squares of shorter columns lose digits, which makes the estimate useless.
    known = (diagonal > tiny / eps) & (column > (tiny / eps) ** 0.5)
    error = torch.where(known, error, torch.inf).nan_to_num(torch.inf, torch.inf)
    return Factors(basis, diagonal.double().log(), ratio, error, condition)


def _cancelled(trail: Sequence[Float[Tensor, "V B K N"]]) -> Float[Tensor, "V B 1"] | float:
    """How much larger rounding errors may be if a product cancels, as a factor."""
    if len(trail) < 3:
        return 1.0
    most, least = _stretches(trail[0], trail[1]).amax(-1), _stretches(trail[-2], trail[-1]).amin(-1)
    return (most / least).clamp(min=1)[..., None]


def _batches(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.flatten(0, 1).numpy() for tensor in tensors]


def _stretches(before: Float[Tensor, "V B K N"], after: Float[Tensor, "V B K N"]) -> Float[Tensor, "V B some"]:
    """How much a step stretches about eight of the tangent vectors: enough to estimate the size of its Jacobian."""
    few = slice(None, None, max(1, before.shape[-2] // 8))
    return torch.linalg.vector_norm(after[..., few, :], dim=-1) / torch.linalg.vector_norm(before[..., few, :], dim=-1)


def orthonormalize(A: Float[Tensor, "... K N"]) -> tuple[Float[Tensor, "... K N"], Float[Tensor, "... K"]]:
    """A = Q R: Q (rows are its columns) and log |diag R|."""
    return householder(A) if A.device.type == "cpu" else cholesky_qr(A)


def log_diagonal(A: Float[Tensor, "... K N"]) -> Float[Tensor, "... K"]:
    """log |diag R|, in float64."""
    if A.device.type != "cpu":
        return cholesky_qr(A)[1]
    R = torch.linalg.qr(A.double().mT, mode="r").R
    return R.diagonal(0, -2, -1).abs().log()


def householder(A: Float[Tensor, "... K N"]) -> tuple[Float[Tensor, "... K N"], Float[Tensor, "... K"]]:
    """`orthonormalize` by LAPACK's QR in float64."""
    Q, R = torch.linalg.qr(A.double().mT)
    return Q.mT.to(A.dtype).contiguous(), R.diagonal(0, -2, -1).abs().log()


def cholesky_qr(A: Float[Tensor, "... K N"]) -> tuple[Float[Tensor, "... K N"], Float[Tensor, "... K"]]:
    """`orthonormalize` by Cholesky factors of AᵀA in float64, and by LAPACK's QR for the matrices that have none.

    PyTorch's QR on a GPU forms one Q after the other, 50 µs each for N = 64. Three factors, the first one of AᵀA
    shifted, make the columns orthonormal if the condition of A is below 1/ε. One round trip to the device.
    Source: shifted CholeskyQR3, Fukaya et al. 2020.
    """
    # Scaled first, because the square of a large entry may overflow.
    largest = A.abs().amax(-1, keepdim=True).double()
    Q = A.double() / largest
    norm = torch.linalg.vector_norm(Q, dim=-1, keepdim=True)
    Q, diagonal = Q / norm, (largest * norm)[..., 0]
    identity = torch.eye(A.shape[-2], dtype=Q.dtype, device=Q.device)
    gram = Q @ Q.mT + CHOLESKY_SHIFT * A.shape[-1] * torch.finfo(Q.dtype).eps * identity
    for _ in range(CHOLESKY_FACTORS):
        R, info = torch.linalg.cholesky_ex(gram)
        # A factorisation that broke off may still lead to an orthonormal Q, with a diagonal that is not that of R.
        R = torch.where(info[..., None, None] == 0, R, torch.nan)
        Q = torch.linalg.solve_triangular(R, Q, upper=False)
        diagonal = diagonal * R.diagonal(0, -2, -1)
        gram = Q @ Q.mT
    found, logs = Q.to(A.dtype), diagonal.log()
    # NaN, of a matrix without a factor, is not below the limit.
    without = ~((gram - identity).abs().amax((-2, -1)) < MAX_ORTHONORMALITY_ERROR) & A.isfinite().all(-1).all(-1)
    if without.any():
        found[without], logs[without] = householder(A[without])
    return found, logs
